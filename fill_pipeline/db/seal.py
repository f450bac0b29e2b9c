"""Secrets in a source's configuration: sealed in the database with a key from the environment."""

from __future__ import annotations

import hashlib
import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

KEY_VARIABLE = "FILL_SECRETS_KEY"
MIN_KEY_CHARS = 32
_SECRET_HEADER = re.compile(r"auth|cookie|credential|key|passw|secret|session|signature|token", re.IGNORECASE)
_PREFIX = "sealed:"


class SealError(ValueError):
    """A secret cannot be sealed or read; the message names the cure and no secret."""


def is_secret_header(name: str) -> bool:
    """Whether a header of this name has a secret as its value; cookies always are one."""
    return _SECRET_HEADER.search(name) is not None


def is_sealed(value: object) -> bool:
    """Whether a stored value is sealed."""
    return isinstance(value, str) and value.startswith(_PREFIX)


def seal_config(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with its secret headers and cookies sealed; as it is where no key is set.

    Sealing twice changes nothing, and equal secrets seal alike (AES-SIV, RFC 5297), so that declaring a
    source again is no change. A value is bound to its name. Raises SealError on a key too short to be one.
    """
    cipher = _cipher()
    if cipher is None:
        return config
    sealed = dict(config)
    for group in ("headers", "cookies"):
        values = config.get(group)
        if isinstance(values, dict):
            sealed[group] = {name: _sealed(cipher, group, name, value) for name, value in values.items()}
    return sealed


def reveal(group: str, name: str, value: Any) -> Any:
    """The secret a sealed value holds; any other value as it is. Raises SealError without the right key."""
    if not is_sealed(value):
        return value
    cipher = _cipher()
    if cipher is None:
        raise SealError(f"of {name!r} is sealed; set {KEY_VARIABLE} to the key it was sealed with")
    from cryptography.exceptions import InvalidTag

    try:
        data = urlsafe_b64decode(value.removeprefix(_PREFIX))
        return cipher.decrypt(data, [_place(group, name)]).decode()
    except (InvalidTag, ValueError):
        raise SealError(
            f"of {name!r} was sealed with another key; set {KEY_VARIABLE} to that one, or write it anew"
        ) from None


def _sealed(cipher: AESSIV, group: str, name: str, value: Any) -> Any:
    secret = group == "cookies" or is_secret_header(name)
    if not secret or not isinstance(value, str) or not value or is_sealed(value):
        return value
    return _PREFIX + urlsafe_b64encode(cipher.encrypt(value.encode(), [_place(group, name)])).decode()


def _place(group: str, name: str) -> bytes:
    return f"{group}/{name.lower()}".encode()


def _cipher() -> AESSIV | None:
    key = os.environ.get(KEY_VARIABLE, "")
    if not key:
        return None
    if len(key) < MIN_KEY_CHARS:
        raise SealError(f"{KEY_VARIABLE} has {len(key)} characters; use {MIN_KEY_CHARS} or more random ones")
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV  # most installations have no key, and no use for it

    return AESSIV(hashlib.sha512(key.encode()).digest())
