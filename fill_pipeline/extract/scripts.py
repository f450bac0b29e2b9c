"""Structured data inside a page's scripts, found by a scan of the text before any parsing."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson

from fill_pipeline.extract.caches import called_state, resolve

_SCRIPT = re.compile(r"<script\b([^>]{0,2000}+)>", re.I)
_TYPE = re.compile(r"""\btype\s*=\s*["']?([^"'\s>]+)""", re.I)
_ID = re.compile(r"""\bid\s*=\s*["']?([^"'\s>]+)""", re.I)
# "window.STATE = {", "var data = [", "self.__x__=JSON.parse('", "dataLayer.push({"
_ASSIGNMENT = re.compile(
    r"(?:^|[;\s{}(])((?:(?:window|self|globalThis|this)\s*(?:\.|"
    r"\[\s*[\"']))?[A-Za-z_$][\w$.\-]{0,80})(?:[\"']\s*\])?\s*"
    r"(?:=\s*(?P<parse>JSON\.parse\(\s*(?:(?P<coded>decodeURI(?:Component)?|unescape|(?:window\.)?atob)\(\s*)?)?|"
    r"\.push\(\s*)(?=[{\[\"'`])"
)
_VEHICLE_WORD = re.compile(
    r"""["']?(?:vin|make|model|mileage|odometer|price|vehicle\w*|listings?|year|brand|offers|modelYear|"
    r"asking\w*)["']?\s*:""",
    re.I,
)
_SCRIPT_TYPES = ("", "text/javascript", "application/javascript", "module")
_HINTS = ("price", "Price", "mileage", "odometer", "Mileage", "Odometer", "vin", "VIN")
_PARTS_OF_HINTS = ("rice", "ileage", "dometer", "vin", "VIN")  # one of which is in each
_FLIGHT = re.compile(r'self\.__next_f\.push\(\[1,\s*("(?:[^"\\]|\\.)*")\s*\]\)')
_FLIGHT_ROW = re.compile(r"(?:^|\n)[0-9a-f]{1,6}:(?=[\[{])")
_STYLE = "text/css"
_HEAD = 8_000  # characters before which a style sheet begins
_MAX_BLOCKS = 400
_OFTEN_SEEN = 10_000  # characters of a script that is remembered
_MAX_ASSIGNMENTS = 60  # per script
_MAX_SCRIPT = 4_000_000  # characters
_MAX_SCRIPTS = 16_000_000  # characters of all together: those that seem to hold others count again
_MAX_OPENING = 2_100  # characters of a script's opening tag
_CLOSINGS = ("</script", "</SCRIPT", "</Script")


class ScriptData(NamedTuple):
    """A decoded block: where it stood, and what it holds."""

    locator: str
    data: Any


class Script(NamedTuple):
    """One script of a page: its MIME type in lower case, its id, where its text stands in the page, and whether
    another script seems to begin inside."""

    mime: str
    identity: str
    start: int
    end: int
    nested: bool = False


def find_scripts(page: str) -> list[Script]:
    """The scripts of a page that can hold data, in page order; too short or too long ones are left out."""
    found: list[Script] = _style_in_head(page)
    position, end, plain, inner, room = found[0].end if found else 0, -1, False, -1, _MAX_SCRIPTS
    opening = _lower_case_opening if _is_lower_case(page, position) else _SCRIPT.search
    closings = list(_CLOSINGS)
    while len(found) < _MAX_BLOCKS and room > 0 and (match := opening(page, position)):
        attributes, start = match[1], match.end()
        if end < start:
            # Most scripts hold no other sign of this kind, and one sign is found far faster than several.
            end = page.find("<", start)
            plain = end >= 0 and page.startswith("</script", end)
            if not plain:
                end = _end_of_script(page, start, closings)
        if not plain and inner < start:
            inner = page.find("<script", start)
            inner = inner if inner >= 0 else len(page)
        # Another script inside: this one may stand in a comment or an attribute, so the other counts too.
        nested = not plain and inner < end
        position = start if nested else end
        if not 20 <= end - start <= _MAX_SCRIPT:
            continue
        room -= end - start
        found.append(Script(*_named(attributes), start, end, nested))
    return found


def _is_lower_case(page: str, position: int) -> bool:
    """Whether a page writes "script" in lower case, as nearly all do; where it does, "Script" is not looked for."""
    if page.find("<SCRIPT", position) >= 0:
        return False
    return page.find("<script", position) >= 0 or page.find("<Script", position) < 0


def _lower_case_opening(page: str, position: int) -> re.Match[str] | None:
    """The next script's opening tag: a plain search finds it faster than the pattern does."""
    at = page.find("<script", position)
    while at >= 0:
        match = _SCRIPT.match(page, at)
        if match is not None:
            return match
        end = page.find(">", at)  # where it is far, tags that begin before it are too long as well
        at = page.find("<script", max(at + 1, end - _MAX_OPENING)) if end >= 0 else -1
    return None


@lru_cache(maxsize=1024)
def _named(attributes: str) -> tuple[str, str]:
    """The MIME type in lower case and the id that a script's attributes give, "" where they give none."""
    kind, identity = _TYPE.search(attributes), _ID.search(attributes)
    return kind[1].lower() if kind else "", identity[1] if identity else ""


def _style_in_head(page: str) -> list[Script]:
    """The style sheet that stands before all scripts, as one without data: often half of a page is one."""
    start = page.find("<style", 0, _HEAD)
    if start < 0 or "<script" in page[:start].lower():
        return []
    start = page.find(">", start) + 1
    end = page.find("<", start)
    return [Script(_STYLE, "", start, end)] if page.startswith("</style", end) and start else []


def _end_of_script(page: str, start: int, closings: list[str]) -> int:
    """Where a script ends; spellings of its end that come no more are taken out, lest each script look for them."""
    while closings:
        end = page.find(closings[0], start)
        if end >= 0:
            return end
        del closings[0]
    return len(page)


def content_start(scripts: list[Script]) -> int:
    """Where a page goes on after the style sheet that it begins with, 0 where it begins with none."""
    return scripts[0].end if scripts and scripts[0].mime == _STYLE else 0


def without_scripts(page: str, scripts: list[Script]) -> str:
    """The page without the text of its scripts; those that seem to hold another script stay."""
    parts: list[str] = []
    position = 0
    for script in scripts:
        if not script.nested and script.start >= position:
            parts.append(page[position : script.start])
            position = script.end
    parts.append(page[position:])
    return "".join(parts)


def linked_data(page: str, scripts: list[Script]) -> Iterator[ScriptData]:
    """Every JSON-LD block, in page order. A broken block costs only itself."""
    for script in scripts:
        if "ld+json" in script.mime:
            data = parse_tolerant(page[script.start : script.end])
            if data is not None:
                yield ScriptData("json-ld", data)


def state_data(page: str, scripts: list[Script]) -> Iterator[ScriptData]:
    """Every embedded application state that may hold vehicles, in page order."""
    flight: list[str] = []
    for script in scripts:
        mime = script.mime
        if "ld+json" in mime or not (mime in _SCRIPT_TYPES or "json" in mime):
            continue
        text = page[script.start : script.end]
        if "json" in mime:
            data = parse_tolerant(text) if _hints_at_vehicles(text) else None
            if data is not None:
                yield ScriptData(script.identity or "application/json", resolve(data))
        elif not (_known_to_hold_data if len(text) <= _OFTEN_SEEN else _may_hold_data)(text):
            continue
        elif "__next_f" in text:
            flight.extend(found[1] for found in _FLIGHT.finditer(text))
        else:
            called = called_state(text, _closing, parse_tolerant, _to_json) if "function" in text[:300] else None
            if called is not None:
                yield ScriptData("called", called)
                continue
            for state in _assigned(text):
                yield ScriptData(state.locator, resolve(state.data)) if "__ref" in text else state
    if flight:
        yield from _flight_data(flight)


def _may_hold_data(text: str) -> bool:
    """Whether a script's text can give state: a cheap look."""
    return _hints_at_vehicles(text) or "JSON.parse" in text or "__next_f" in text


_known_to_hold_data = lru_cache(maxsize=256)(_may_hold_data)  # the pages of a source have most scripts in common
_OPENINGS = ('="{&quot;', '="[{&quot;', "='{&quot;", "='[{&quot;", "='{\"", "='[{\"", '="{&#34;', '="[{&#34;')
_MAX_ATTRIBUTES = 1_000
_MAX_ATTRIBUTE = 1_000_000  # characters


def attribute_data(page: str) -> Iterator[ScriptData]:
    """State that elements carry in attributes (``data-vehicle="{&quot;vin&quot;: …}"``): what attributes of one name
    hold, together."""
    found: dict[str, list[Any]] = {}
    seen: set[str] = set()
    count = 0
    for opening in _OPENINGS:
        at = page.find(opening)
        while at >= 0 and count < _MAX_ATTRIBUTES:
            count += 1
            start = at + 2
            end = page.find(page[at + 1], start)
            if end < 0:
                break
            text = page[start:end]
            at = page.find(opening, end)
            if len(text) > _MAX_ATTRIBUTE or text in seen or not _hints_at_vehicles(text):
                continue
            seen.add(text)
            try:
                data = orjson.loads(html.unescape(text))
            except orjson.JSONDecodeError:
                continue
            name = page[max(0, start - 42) : start - 2].rpartition(" ")[2]
            found.setdefault(name, []).append(data)
    for name, values in found.items():
        yield ScriptData(name, values if len(values) > 1 else values[0])


def _hints_at_vehicles(text: str) -> bool:
    """A cheap look: words without which a script holds no vehicle."""
    return any(part in text for part in _PARTS_OF_HINTS) and any(hint in text for hint in _HINTS)


def parse_tolerant(text: str) -> Any | None:
    """JSON, or what a careless page calls JSON: comments, trailing commas, single quotes, bare keys, entities.

    None for anything that is still no JSON, or is nested too deep.
    """
    text = text.strip()
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    text = _unwrapped(text)
    if text.startswith("&quot;") or text[:40].count("&quot;") > 1:
        text = text.replace("&quot;", '"').replace("&amp;", "&")
    value = _decode_first(text)
    if value is not None:
        return value
    return _decode_first(_to_json(text))


def _unwrapped(text: str) -> str:
    """A script's text without the comment or CDATA section that hides it from old browsers."""
    text = text.removeprefix("<!--")
    opening = _CDATA.match(text)
    if opening:
        text = text[opening.end() :]
    for _ in range(4):
        text = text.rstrip()
        for tail in ("-->", "*/", "]]>", "//", "/*"):
            text = text.removesuffix(tail)
    return text.strip()


def _decode_first(text: str) -> Any | None:
    """The first JSON value of a text; what follows it is ignored."""
    start = next((at for at, char in enumerate(text[:200]) if char in "{["), -1)
    if start < 0:
        return None
    try:
        return orjson.loads(text[start:])
    except orjson.JSONDecodeError:
        pass
    try:
        return _DECODER.raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


_CDATA = re.compile(r"\s*(?:/\*\s*|//\s*)?<!\[CDATA\[\s*(?:\*/)?")
_DECODER = json.JSONDecoder(strict=False)
_TOKEN = re.compile(
    r"""(?P<double>"(?:[^"\\]|\\.)*")|(?P<single>'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`)|(?P<comment>/\*.*?\*/|//[^\n]*)"""
    r"""|(?P<comma>,\s*(?=(?:/\*.*?\*/\s*|//[^\n]*\s*)*[}\]]))|(?P<word>[A-Za-z_$][\w$.]*(?:\([^()]*\))?)|"
    r"(?P<not>!\s*[01])""",
    re.S,
)
_WORDS = {"true", "false", "null"}


def _to_json(text: str, names: dict[str, Any] | None = None) -> str:
    """A JavaScript literal written as JSON, in one pass over its tokens; ``names`` are variables and their values."""
    if len(text) > 1_000_000:
        return text

    def write(match: re.Match[str]) -> str:
        kind = match.lastgroup
        token = match[0]
        if kind == "double":
            return token
        if kind == "single":
            return json.dumps(token[1:-1].replace("\\'", "'").replace('\\"', '"'))
        if kind in ("comment", "comma"):
            return ""
        if kind == "not":
            return "true" if token.endswith("0") else "false"
        if text[match.end() : match.end() + 8].lstrip().startswith(":"):
            return json.dumps(token)
        if names and token in names:
            return json.dumps(names[token])
        return token if token in _WORDS else "null"

    return _TOKEN.sub(write, text)


def _assigned(text: str) -> Iterator[ScriptData]:
    """Objects assigned to names or pushed onto a data layer."""
    position, found, open_ends = 0, 0, 0
    for _ in range(_MAX_ASSIGNMENTS):
        match = _ASSIGNMENT.search(text, position)
        if match is None:
            return
        start, name = match.end(), match[1]
        position = start + 1
        data: Any = None
        if text[start] in "\"'`":
            if match["parse"]:
                literal = _TOKEN.match(text, start)
                if literal is None:
                    continue
                position = literal.end()
                data = _decode_string(literal[0], match["coded"] or "")
        else:
            try:
                data, position = _decode_at(text, start)
            except (ValueError, RecursionError):
                end = _closing(text, start) if open_ends < 3 else None
                open_ends += end is None
                if end and _VEHICLE_WORD.search(text, start, end):
                    data = _decode_first(_to_json(text[start:end]))
                    position = end if data is not None else position
        if isinstance(data, (dict, list)) and data:
            found += 1
            yield ScriptData(name, data)
            if found >= 20:
                return


def _decode_at(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that starts here and the position after it; the fast decoder first."""
    if len(text) - start > 2_000:
        rest = text[start:].rstrip().rstrip(";")
        try:
            return orjson.loads(rest), len(text)
        except orjson.JSONDecodeError:
            pass
    return _DECODER.raw_decode(text, start)


def _decode_string(literal: str, coded: str) -> Any | None:
    """What ``JSON.parse`` gives for a string literal, decoded first as the call around it says."""
    body = literal[1:-1]
    if literal[0] != '"':
        body = _QUOTE.sub(r'\1\\"', body.replace("\\'", "'"))
    try:
        text = orjson.loads('"' + _HEX.sub(r"\1\\u00\2", body) + '"')
    except orjson.JSONDecodeError:
        text = body.replace('\\"', '"').replace("\\\\", "\\")
    try:
        text = base64.b64decode(text).decode() if coded.endswith("atob") else unquote(text) if coded else text
    except ValueError:
        return None
    return parse_tolerant(text)


_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)"')
_HEX = re.compile(r"(?<!\\)((?:\\\\)*)\\x([0-9a-fA-F]{2})")
_BRACKET = re.compile(r"""["'`{}\[\]]""")


def _closing(text: str, start: int) -> int | None:
    """The end of the bracketed literal that starts here; strings are skipped. None when it never closes."""
    depth, position, limit = 0, start, min(len(text), start + 500_000)
    while position < limit:
        match = _BRACKET.search(text, position, limit)
        if match is None:
            return None
        char, position = match[0], match.end()
        if char in "\"'`":
            literal = _TOKEN.match(text, match.start())
            if literal is None:
                return None
            position = literal.end()
        elif char in "{[":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                return position
    return None


def _flight_data(chunks: list[str]) -> Iterator[ScriptData]:
    """Rows of React's server component stream that hold vehicle data."""
    parts: list[str] = []
    for chunk in chunks[:_MAX_BLOCKS]:
        try:
            parts.append(orjson.loads(chunk))
        except orjson.JSONDecodeError:
            continue
    stream = "".join(parts)
    for match in list(_FLIGHT_ROW.finditer(stream))[:_MAX_BLOCKS]:
        end = stream.find("\n", match.end())
        row = stream[match.end() : end if end >= 0 else len(stream)]
        if _hints_at_vehicles(row):
            data = _decode_first(row)
            if data is not None:
                yield ScriptData("flight", data)
