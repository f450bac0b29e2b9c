"""What a language model is asked about a page: versioned instructions, the page's words as data, the form to fill."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources
from typing import Any

from fill_pipeline.extract.charset import decode_body, looks_like_json
from fill_pipeline.extract.cleaning import clean
from fill_pipeline.extract.dom import drop_foreign, drop_hidden, drop_menus, parse, read_words, strip_noise

MAX_TEXT_BYTES = 12_000
FIELDS = (
    "year",
    "make",
    "model",
    "trim",
    "vin",
    "price",
    "mileage",
    "place",
    "body_style",
    "engine",
    "fuel_type",
    "transmission",
    "drivetrain",
    "exterior_color",
)
"""The fields a model is asked for, each in the page's own words."""

# Sentences that speak to a reading machine. They are no facts about a car.
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:previous|prior|above|earlier|all|your|instructions?|rules?)\b|"
    r"\b(?:system|developer) (?:prompt|message)\b|"
    r"\byou are (?:now )?(?:an? )?(?:ai|assistant|language model|chatbot)\b|"
    r"\b(?:ai|language|llm) (?:model|assistant|agent)s?\b.{0,30}\b(?:must|should|please|note|attention|answer)\b|"
    r"\b(?:answer|respond|reply|output|return)\b.{0,30}\bjson\b",
    re.I,
)
_RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "listing",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "one_vehicle": {"type": "boolean"},
                **{field: {"type": ["string", "null"]} for field in FIELDS},
            },
            "required": ["one_vehicle", *FIELDS],
            "additionalProperties": False,
        },
    },
}


@cache
def versions() -> tuple[str, ...]:
    """The names of the prompts there are, oldest first."""
    folder = resources.files(__package__).joinpath("prompts")
    return tuple(sorted(file.name.removesuffix(".md") for file in folder.iterdir() if file.name.endswith(".md")))


@cache
def instructions(version: str) -> str:
    """A prompt's text. Raises LookupError, naming those there are, for a version that does not exist."""
    if version not in versions():
        raise LookupError(f"there is no prompt {version!r}; there are {', '.join(versions())}")
    return resources.files(__package__).joinpath(f"prompts/{version}.md").read_text(encoding="utf-8")


def page_text(body: bytes, content_type: str | None = None, *, limit: int = MAX_TEXT_BYTES) -> str:
    """What a person sees on a page of one vehicle, a line a block, at most ``limit`` bytes of UTF-8; "" for JSON.

    Menus, other vehicles, what the markup hides and sentences that give orders to a machine are left out.
    """
    page = decode_body(body, content_type)
    if looks_like_json(page, content_type):
        return ""
    tree = parse(page)
    title = tree.css_first("title")
    heading = clean(title.text(), 200) if title is not None else ""
    strip_noise(tree)
    drop_hidden(tree, page)
    drop_menus(tree)
    if tree.body is None:
        return ""
    words = read_words([tree.body])
    drop_foreign(tree, words)
    lines: list[str] = []
    left = limit
    for line in [heading, *(line for _, line in words.lines)]:
        if not line or _ORDERS.search(line):
            continue
        left -= len(line.encode()) + 1
        if left < 0:
            break
        lines.append(line)
    return "\n".join(lines)


def request(text: str, *, version: str, model: str, max_tokens: int) -> dict[str, Any]:
    """The body of a chat completion that asks one version of the prompt about a page's text.

    The text stands between marks made from its own hash, which it cannot hold.
    """
    mark = f"PAGE-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return {
        "model": model,
        "temperature": 0,
        "max_tokens": max_tokens,
        "response_format": _RESPONSE_FORMAT,
        "messages": [
            {"role": "system", "content": instructions(version)},
            {"role": "user", "content": f"{mark}\n{text}\n{mark}"},
        ],
    }
