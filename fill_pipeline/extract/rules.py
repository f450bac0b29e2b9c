"""A source's own extraction rules: plain data, applied before anything is guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult
from selectolax.lexbor import LexborNode

from fill_pipeline.extract.cleaning import clean, clean_markup
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.listing import Layer
from fill_pipeline.extract.values import offer_value

RULE_CONFIDENCE = 0.98
_MAX_MATCHED = 5_000  # characters that a rule's regex is run over
_MAX_IMAGES = 60


@dataclass(frozen=True, slots=True)
class Rule:
    """Where one field stands: a CSS selector (with the attribute to read, else the text) or a JMESPath,
    and a regular expression whose first group (else the whole match) is the value."""

    css: str | None = None
    attr: str | None = None
    regex: str | None = None
    jmespath: str | None = None


@dataclass(frozen=True, slots=True)
class ExtractRules:
    """The rules of one source: per field for detail pages and for cards, and how items and links are found."""

    detail: dict[str, Rule] = field(default_factory=dict)
    card: dict[str, Rule] = field(default_factory=dict)
    items_path: str | None = None  # JMESPath to the array of records
    link_selector: str | None = None  # CSS of detail links
    link_pattern: str | None = None  # regex a detail link must match
    url_template: str | None = None  # builds a detail URL from a record's keys: "/listing/{id}"
    next_selector: str | None = None  # CSS of the link to the next page


def apply_css(rules: dict[str, Rule], node: LexborNode, reading: Reading, base_url: str) -> None:
    """Offer what the CSS rules find below a node."""
    for name, rule in rules.items():
        values: list[str] = []
        for match in _matches(rule, node)[: _MAX_IMAGES if name == "images" else 1]:
            words = match.attributes.get(rule.attr) if rule.attr else match.text(separator=" ")
            words = _matched(rule, words)
            if words:
                values.append(words)
        if values:
            offer = list(values) if name == "images" else values[0]
            offer_value(reading, name, offer, Layer.RULES, (rule.css or "")[:80], RULE_CONFIDENCE, base_url)


def stands_once(rule: Rule, node: LexborNode) -> bool:
    """Whether a CSS rule finds exactly one place below a node."""
    return len(_matches(rule, node)) == 1


def _matches(rule: Rule, node: LexborNode) -> list[LexborNode]:
    try:
        return node.css(rule.css) if rule.css else []
    except Exception:  # lexbor raises different errors for a selector it cannot read
        return []


def apply_paths(rules: dict[str, Rule], record: Any, reading: Reading, base_url: str) -> None:
    """Offer what the JMESPath rules find in a record."""
    for name, rule in rules.items():
        if not rule.jmespath:
            continue
        value = search_path(rule.jmespath, record)
        if isinstance(value, str):
            value = _matched(rule, value)
        if value is not None:
            offer_value(reading, name, value, Layer.RULES, rule.jmespath[:80], RULE_CONFIDENCE, base_url)


def search_path(path: str, data: Any) -> Any | None:
    """What a JMESPath finds, None for nothing or for a path that cannot be read."""
    compiled = _compiled_path(path)
    if compiled is None:
        return None
    try:
        return compiled.search(data)
    except (JMESPathError, RecursionError, TypeError, ValueError):
        return None


def fill_template(template: str, record: dict[str, Any]) -> str | None:
    """A URL built from a record's own keys; dotted keys reach inside ("/x/{vehicle.id}"); None if one is missing."""
    out = template
    for name in re.findall(r"\{([\w.\-@]+)\}", template)[:8]:
        value: Any = record
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None or isinstance(value, (dict, list)):
            return None
        out = out.replace("{" + name + "}", str(value)[:200])
    return out


@lru_cache(maxsize=1024)
def compiled_regex(pattern: str) -> re.Pattern[str] | None:
    """A rule's regular expression, None where it cannot be read."""
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return None


@lru_cache(maxsize=1024)
def _compiled_path(path: str) -> ParsedResult | None:
    try:
        return jmespath.compile(path)
    except (JMESPathError, RecursionError, ValueError, TypeError):
        return None


def _matched(rule: Rule, words: str | None) -> str | None:
    if not words:
        return None
    if not rule.regex:
        return clean_markup(words)
    pattern = compiled_regex(rule.regex)
    match = pattern.search(words[:_MAX_MATCHED]) if pattern else None
    if match is None:
        return None
    return clean(match[1] if pattern and pattern.groups and match[1] else match[0], 5_000)
