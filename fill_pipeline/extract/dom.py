"""The parsed page: noise removed, and its visible words in reading order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode

from fill_pipeline.extract.cleaning import clean

_NOISE = [
    "script",
    "style",
    "noscript",
    "svg",
    "select",
    "template",
    "iframe",
    "textarea",
    "datalist",
    "object",
    "canvas",
]
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "br",
        "button",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "img",
        "input",
        "li",
        "main",
        "nav",
        "ol",
        "option",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
        "label",
    ]
)
_MAX_SEGMENTS = 20_000
_MAX_WORDS = 2_000  # characters of one segment
_LINE_WORDS = 60  # pieces of one line
_DEEP = 400  # nesting beyond which a page is not walked upwards


@dataclass(slots=True)
class Words:
    """Visible words in reading order: ``texts[i]`` stands in ``nodes[i]``; ``glued[i]`` when it continues a line."""

    texts: list[str] = field(default_factory=list)
    nodes: list[LexborNode] = field(default_factory=list)
    glued: list[bool] = field(default_factory=list)
    _lines: list[tuple[int, str]] | None = None

    @property
    def lines(self) -> list[tuple[int, str]]:
        """The words put together to lines, each with the position of its first words."""
        if self._lines is None:
            lines: list[tuple[int, str]] = []
            start, parts = 0, []
            for at, (text, glue) in enumerate(zip(self.texts, self.glued, strict=True)):
                if glue and at - start < _LINE_WORDS:
                    parts.append(text)
                    continue
                if parts:
                    lines.append((start, " ".join(parts) if len(parts) > 1 else parts[0]))
                start, parts = at, [text]
            if parts:
                lines.append((start, " ".join(parts)))
            self._lines = lines
        return self._lines


def parse(page: str) -> LexborHTMLParser:
    """The page's tree. Lexbor accepts anything; NUL characters are taken out first."""
    return LexborHTMLParser(page.replace("\x00", "") if "\x00" in page else page)


def strip_noise(tree: LexborHTMLParser) -> None:
    """Take out what nobody reads: scripts, styles, form choices, drawings."""
    tree.strip_tags(_NOISE)


def read_words(roots: Iterable[LexborNode]) -> Words:
    """The visible words below some nodes, in order."""
    words = Words()
    texts, nodes, glued = words.texts, words.nodes, words.glued
    fresh = True  # a block began since the last words
    for root in roots:
        fresh = True
        for node in root.traverse(include_text=True):
            tag = node.tag
            if tag == "-text":
                content = node.text_content
                if not content:
                    continue
                text = content.strip()
                if not text:
                    continue
                if len(text) > _MAX_WORDS:
                    text = text[:_MAX_WORDS]
                text = " ".join(text.split())
                if not text.isascii() or "&" in text:
                    text = clean(text, _MAX_WORDS)
                    if not text:
                        continue
                glued.append(not fresh and _same_line(nodes[-1], node))
                texts.append(text)
                nodes.append(node)
                fresh = False
                if len(texts) >= _MAX_SEGMENTS:
                    return words
            elif tag in _BLOCKS:
                fresh = True
    return words


def _same_line(before: LexborNode, after: LexborNode) -> bool:
    first, second = _block(before), _block(after)
    return first is not None and second is not None and first.mem_id == second.mem_id


def _block(node: LexborNode) -> LexborNode | None:
    current = node.parent
    for _ in range(12):
        if current is None or current.tag in _BLOCKS:
            return current
        current = current.parent
    return current


def ancestors(node: LexborNode) -> list[LexborNode]:
    """The node's ancestors from its parent up to the body, bounded."""
    out: list[LexborNode] = []
    current = node.parent
    while current is not None and current.tag not in ("body", "html", "-document") and len(out) < _DEEP:
        out.append(current)
        current = current.parent
    return out


def attribute(node: LexborNode, name: str) -> str:
    """An attribute's value, "" where it has none."""
    return node.attributes.get(name) or ""


def css(node: LexborNode | LexborHTMLParser, selector: str) -> list[LexborNode]:
    """What a selector of ours finds; an empty list on a tree that lexbor cannot search."""
    try:
        found = node.css(selector)
        # Lexbor gives a node once for each selector of a list that it matches.
        return list({match.mem_id: match for match in found}.values()) if "," in selector else found
    except Exception:  # selectolax raises plain errors of several kinds on damaged trees
        return []


_SIMILAR = re.compile(
    r"similar|you may (?:also )?(?:like|be interested)|you might (?:also )?like|recommended|recommendations|related (?:vehicles|cars|listings|items|ads)|"
    r"other (?:cars|vehicles|listings|inventory)|more (?:cars|vehicles|listings|like this|from this (?:seller|dealer))|recently (?:viewed|sold|added)|"
    r"customers also|people also|also viewed|featured (?:vehicles|cars|listings|inventory)|latest (?:vehicles|cars|listings|arrivals)|new(?:est)? arrivals|"
    r"ähnliche|weitere (?:fahrzeuge|angebote)|das könnte|andere (?:fahrzeuge|angebote)|vergelijkbare|andere (?:auto|voertuigen|occasions)|ook interessant|"
    r"véhicules similaires|annonces similaires|vous aimerez|autres (?:véhicules|annonces)|current (?:\w+ )?auctions|compare (?:with|similar)|popular (?:cars|vehicles|listings)|"
    r"shop (?:other|more)|explore more|top picks|just listed|ending soon",
    re.I,
)


_SIMILAR_HINTS = (
    "similar", "you may", "you might", "recommend", "related", "other ", "more ", "recently", "customers also", "people also", "viewed",
    "featured", "latest", "arrivals", "ähnliche", "weitere", "andere", "vergelijkbare", "ook interessant", "vous aimerez", "autres",
    "auctions", "compare", "popular", "explore", "top picks", "just listed", "ending soon",
)  # fmt: skip


def drop_foreign(tree: LexborHTMLParser, page: str) -> None:
    """Take out of a detail page what is about other things: menus, page foot, "similar cars"."""
    for node in css(tree, "nav, footer, [role=navigation], [role=contentinfo]"):
        if not css(node, "h1"):
            node.decompose()
    lowered = page.lower()
    if not any(hint in lowered for hint in _SIMILAR_HINTS):
        return
    dropped = 0
    for node in css(tree, "h2, h3, h4, h5, h6, [class*=title], [class*=heading], [class*=header], strong, b, legend"):
        text = node.text(strip=True)
        if not text or len(text) > 70 or not _SIMILAR.search(text):
            continue
        _drop_below(node, text)
        dropped += 1
        if dropped > 12:
            return
    for node in css(
        tree, "[class*=similar], [class*=related], [class*=recommend], [id*=similar], [id*=related], [id*=recommend]"
    ):
        if not css(node, "h1") and len(css(node, "a")) >= 2:
            node.decompose()


def _drop_below(heading: LexborNode, text: str) -> None:
    """Take out the part of the page that a heading opens: the element that begins with it and has links to other
    pages; in a flat layout the elements after the heading up to the next one of its kind."""
    for node in ancestors(heading)[:6]:
        words = node.text(strip=True)
        if css(node, "h1") or words.find(text) > 40:
            break
        if len({attribute(link, "href") for link in css(node, "a[href]")} - {""}) >= 2:
            node.decompose()
            return
    sibling = heading.next
    doomed: list[LexborNode] = []
    while sibling is not None and sibling.tag not in (heading.tag, "h1", "h2") and len(doomed) < 60:
        doomed.append(sibling)
        sibling = sibling.next
    if any(node.tag == "a" or css(node, "a[href]") for node in doomed if node.is_element_node):
        for node in doomed:
            node.decompose()
