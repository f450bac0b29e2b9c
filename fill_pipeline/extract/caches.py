"""Application state as frameworks store it: normalised caches whose entries refer to each other, flattened payloads,
and calls that pass the values in as arguments. Each is turned back into plain nested data."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_MAX_ENTRIES = 20_000
_MAX_VISITS = 100_000
_DEEPEST = 12
_CALL = re.compile(
    r"=\s*\(?\s*\(?function\s*\(([\w$,\s]{0,60000})\)\s*\{\s*return\s*(?=\{)|=\s*\(\(([\w$,\s]{0,60000})\)\s*=>\s*\(?\s*(?=\{)"
)


def resolve(data: Any) -> Any:
    """Decoded state with its references followed: ``{"__ref": key}`` and ``{"__refs": [key]}`` of Apollo's and Relay's
    caches, the flat array of Nuxt's payload. Other data comes back as it is. Bounded in size and depth."""
    if isinstance(data, list):
        return _unflatten(data) if _is_flat(data) else data
    cache = _find_cache(data, 3)
    return data if cache is None else _follow(cache)


def _find_cache(data: Any, depth: int) -> dict[str, Any] | None:
    """The object whose entries refer to each other by key, at the top or a few levels below."""
    if not isinstance(data, dict) or len(data) > _MAX_ENTRIES:
        return None
    for value in list(data.values())[:200]:
        for reference in _references(value, 4):
            if reference in data:
                return data
    if depth:
        for value in list(data.values())[:100]:
            found = _find_cache(value, depth - 1)
            if found is not None:
                return found
    return None


def _references(node: Any, depth: int) -> list[str]:
    """A few of the keys that some data refers to."""
    if isinstance(node, dict):
        reference, several = node.get("__ref"), node.get("__refs")
        if isinstance(reference, str):
            return [reference]
        if isinstance(several, list):
            return [key for key in several[:3] if isinstance(key, str)]
        if depth:
            return [key for value in list(node.values())[:60] for key in _references(value, depth - 1)][:20]
    elif isinstance(node, list) and depth:
        return [key for value in node[:5] for key in _references(value, depth - 1)]
    return []


def _follow(cache: dict[str, Any]) -> dict[str, Any]:
    """The cache's entries that no other refers to, with all they refer to inside them."""
    used: set[str] = set()
    visits = 0

    def build(node: Any, path: tuple[str, ...]) -> Any:
        nonlocal visits
        visits += 1
        if visits > _MAX_VISITS or len(path) > _DEEPEST:
            return None
        if isinstance(node, dict):
            reference, several = node.get("__ref"), node.get("__refs")
            if isinstance(reference, str):
                return entry(reference, path)
            if isinstance(several, list):
                return [entry(key, path) for key in several if isinstance(key, str)]
            return {key: build(value, (*path, "")) for key, value in node.items()}
        if isinstance(node, list):
            return [build(value, (*path, "")) for value in node]
        return node

    def entry(key: str, path: tuple[str, ...]) -> Any:
        if key in path or key not in cache:  # a circle: a dealer's cars are its own
            return None
        used.add(key)
        return build(cache[key], (*path, key))

    roots = sorted(cache, key=lambda key: "root" not in key.lower())
    resolved = {key: build(cache[key], (key,)) for key in roots if key not in used}
    return {key: value for key, value in resolved.items() if key not in used}


def _is_flat(data: list[Any]) -> bool:
    """Whether a list is a payload in which objects hold the positions of their values."""
    if len(data) < 4 or not isinstance(data[0], (dict, list)):
        return False
    sample = [item for item in data[:60] if isinstance(item, dict) and item][:12]
    return bool(sample) and all(
        isinstance(value, int) and not isinstance(value, bool) and -7 <= value < len(data)
        for item in sample
        for value in item.values()
    )


def _unflatten(data: list[Any]) -> Any:
    visits = 0

    def build(at: int, depth: int) -> Any:
        nonlocal visits
        visits += 1
        if not 0 <= at < len(data) or depth > 2 * _DEEPEST or visits > _MAX_VISITS:
            return None
        node = data[at]
        if isinstance(node, dict):
            return {key: build(value, depth + 1) for key, value in node.items() if isinstance(value, int)}
        if isinstance(node, list):
            if node and isinstance(node[0], str):  # a marked value: ["Reactive", 3]
                return build(node[1], depth + 1) if len(node) == 2 and isinstance(node[1], int) else None
            return [build(value, depth + 1) for value in node if isinstance(value, int)]
        return node

    return build(0, 0)


def called_state(
    text: str, end_of: Callable[[str, int], int | None], decode: Callable[[str], Any], rewrite: Callable[..., str]
) -> Any | None:
    """The object that a function called on the spot returns (``__NUXT__=(function(a,b){return {…}}("x",1))``), with
    its arguments put in their places; None where a script does nothing of the kind."""
    match = _CALL.search(text[:2_000])
    if match is None:
        return None
    names = [name.strip() for name in (match[1] or match[2] or "").split(",") if name.strip()]
    end = end_of(text, match.end())
    if end is None:
        return None
    opening = text.find("(", end, end + 12)
    closing = text.rfind(")")
    while closing > opening >= 0 and text[closing - 1] in ") ;":
        closing -= 1
    values = decode("[" + text[opening + 1 : closing] + "]") if opening >= 0 else []
    if not isinstance(values, list) or len(values) < len(names):
        return None
    return decode(rewrite(text[match.end() : end], dict(zip(names, values, strict=False))))
