"""One page to listings: the layers in order, the cheap ones first, the tree parsed at most once."""

from __future__ import annotations

from typing import Any

from fill_pipeline.extract.caches import resolve
from fill_pipeline.extract.charset import decode_body, looks_like_json, strip_json_prefix
from fill_pipeline.extract.choose import best_group
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.finish import finish
from fill_pipeline.extract.html_page import HtmlPage
from fill_pipeline.extract.listing import Layer
from fill_pipeline.extract.pagination import stated_total
from fill_pipeline.extract.record_reader import read_record
from fill_pipeline.extract.records import find_record_groups, is_linked_vehicle, is_vehicle_record, linked_records
from fill_pipeline.extract.result import MAX_LISTINGS, PageKind, PageResult
from fill_pipeline.extract.rules import ExtractRules, apply_paths, fill_template, search_path
from fill_pipeline.extract.scripts import parse_tolerant
from fill_pipeline.extract.urls import absolute

__all__ = ["ExtractRules", "PageKind", "PageResult", "extract_page"]


def extract_page(
    body: bytes,
    *,
    url: str,
    content_type: str | None = None,
    kind: str = "auto",
    rules: ExtractRules | None = None,
    structured: bool = True,
    explain: bool = False,
) -> PageResult:
    """The listings of one page.

    ``body`` is HTML or JSON as received, decompressed; ``url`` its address, against which links are resolved; ``kind``
    is "detail", "search" or "auto". Without ``structured`` only what a person sees is used. Never raises: a page that
    cannot be read gives an empty result with its reason.
    """
    try:
        text = decode_body(body, content_type)
        if not text or text.isspace():
            return PageResult(PageKind.OTHER, reason="the body is empty")
        if looks_like_json(text, content_type):
            return _extract_json(text, url, kind, rules or ExtractRules(), explain)
        return HtmlPage(text, url, rules or ExtractRules(), structured, explain).extract(kind)
    except Exception as error:
        return PageResult(PageKind.OTHER, reason=f"the page cannot be read: {type(error).__name__}: {str(error)[:120]}")


def _extract_json(text: str, url: str, kind: str, rules: ExtractRules, explain: bool) -> PageResult:
    data = parse_tolerant(strip_json_prefix(text))
    if data is None:
        return PageResult(PageKind.OTHER, reason="the body is no JSON")
    if '"__ref' in text:
        data = resolve(data)
    expected = stated_total(data)
    if rules.items_path:
        found = search_path(rules.items_path, data)
        items = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
        groups = [(rules.items_path, items)] if items else []
        if not items and isinstance(found, list):
            return PageResult(PageKind.EMPTY, expected_count=expected, reason="the list of records is empty")
    else:
        linked = [record for record in linked_records(data) if is_linked_vehicle(record)]
        groups = [("json-ld", linked)] if linked else list(find_record_groups(data, "json"))
        if not groups and isinstance(data, dict) and is_vehicle_record(data):
            groups = [("json", [data])]
    if not groups:
        empty = _empty_list(data)
        return PageResult(
            PageKind.EMPTY if empty else PageKind.OTHER,
            expected_count=expected,
            reason="the list of records is empty" if empty else "no record in the JSON has the keys of a vehicle",
        )
    locator, records = best_group(groups, url, kind)
    detail = kind == "detail" or (
        kind == "auto" and len(records) == 1 and "[]" not in locator and not locator.endswith(".*")
    )
    if len(records) == 1 and kind == "auto" and isinstance(data, list):
        detail = False
    readings: list[Reading] = []
    for record in records[: 1 if detail else MAX_LISTINGS]:
        reading = Reading(explain)
        apply_paths(rules.detail if detail else rules.card, record, reading, url)
        if rules.url_template:
            link = fill_template(rules.url_template, record)
            reading.offer("url", absolute(url, link) if link else None, Layer.RULES, rules.url_template, 0.98)
        read_record(record, reading, layer=Layer.STATE, locator=locator, base_url=url)
        readings.append(reading)
    listings = [finish(reading, url=url if detail else None) for reading in readings]
    explanations = [item for reading in readings for item in reading.explanations()] if explain else []
    return PageResult(
        PageKind.DETAIL if detail else PageKind.SEARCH,
        listings,
        links=[] if detail else [listing.url for listing in listings if listing.url],
        expected_count=expected,
        explain=explanations,
    )


def _empty_list(data: Any) -> bool:
    if isinstance(data, list):
        return not data
    return isinstance(data, dict) and any(value == [] for value in data.values())
