"""JSON bodies, never more of one than memory should be given for."""

from __future__ import annotations

from typing import Any

import orjson

_MAX_VALUES = 2_000_000


def load_json(body: bytes | str) -> Any:
    """What a JSON body says; raises ValueError for one of more values than memory should be given for, or no JSON."""
    if (body.count(b",") if isinstance(body, bytes) else body.count(",")) > _MAX_VALUES:
        raise ValueError(f"more than {_MAX_VALUES} values")
    return orjson.loads(body)
