"""Repeated parts of a page that no links or headings give away: rows and boxes of one kind; and a result that stands
alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from fill_pipeline.extract.dom import attribute, css

_MAX_ELEMENTS = 20_000
_MAX_GROUPS = 12
_LEVELS = 8  # elements of a card around its link
_SHORTEST, _LONGEST = 12, 2_500  # characters of a card
_AROUND = frozenset(("main", "aside", "header", "footer", "nav", "form", "body", "html", "table", "tbody"))


def repeated_elements(tree: LexborHTMLParser) -> Iterator[list[LexborNode]]:
    """Groups of elements of one kind below one parent, in page order, the groups with most of them first."""
    groups: dict[tuple[int, str, str], list[LexborNode]] = defaultdict(list)
    for node in css(tree, "tr, li, article, div, section, a")[:_MAX_ELEMENTS]:
        parent = node.parent
        if parent is not None:
            first = (attribute(node, "class").split() or [""])[0]
            groups[(parent.mem_id, node.tag or "", first)].append(node)
    several = sorted((nodes for nodes in groups.values() if len(nodes) > 1), key=len, reverse=True)
    yield from several[:_MAX_GROUPS]


def around_single(link: LexborNode) -> LexborNode:
    """The part of the page that a single result takes up: the largest element around its link that is no part of the
    page's frame, holds no main heading and is no longer than a card."""
    best, node = link, link.parent
    for _ in range(_LEVELS):
        if node is None or node.tag in _AROUND or len(node.text(strip=True)) > _LONGEST:
            break
        if css(node, "h1, nav, aside, form"):
            break
        best, node = node, node.parent
    return best


def is_card_sized(node: LexborNode) -> bool:
    """Whether an element is as long as a card can be."""
    return _SHORTEST <= len(node.text(strip=True)) <= _LONGEST
