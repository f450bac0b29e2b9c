"""What can go wrong at a site, as the control API sets it."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate


@dataclass
class Faults:
    """The faults of one site; the default is a healthy one."""

    throttle_rps: float = 0.0
    retry_after: float = 1.0
    retry_format: str = "seconds"  # seconds | date
    block: str = ""  # 403 | captcha | login
    fail_status: int = 0
    fail_rate: float = 1.0
    hang: float = 0.0  # seconds before the answer
    slow: float = 0.0  # bytes a second
    truncate: bool = False
    lie: str = ""  # content-length | content-type | encoding | etag
    bomb: bool = False
    endless: bool = False
    redirect_loop: bool = False
    redirect_to: str = ""
    soft404: bool = False
    empty: bool = False
    closed: bool = False
    robots_body: str | None = None
    robots_status: int = 200
    robots_hang: float = 0.0  # seconds before the answer
    robots_redirect: str = ""
    _tokens: float = 1.0
    _refilled: float = 0.0
    _asked: int = 0

    def over_rate(self, now: float) -> bool:
        """Takes a token of the throttle; True when none was left. ``now`` is monotonic seconds."""
        burst = max(1.0, self.throttle_rps)
        self._tokens = min(burst, self._tokens + (now - self._refilled) * self.throttle_rps)
        self._refilled = now
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False

    def fails_now(self) -> bool:
        """Whether this request fails: evenly spread, so that exactly ``fail_rate`` of them do."""
        self._asked += 1
        return int(self._asked * self.fail_rate) > int((self._asked - 1) * self.fail_rate)

    def retry_header(self, wall: float) -> str:
        """The value of Retry-After, as seconds or as a date after ``wall``."""
        if self.retry_format == "date":
            return formatdate(wall + self.retry_after, usegmt=True)
        return f"{self.retry_after:g}"
