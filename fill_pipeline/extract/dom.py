"""The parsed page: noise removed, and its visible words in reading order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress, islice

from selectolax.lexbor import LexborHTMLParser, LexborNode

from fill_pipeline.extract.cleaning import clean, single_spaced

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


def _tag_ids(names: str) -> frozenset[int]:
    """The numbers that lexbor gives elements of some names: to compare these takes a third of the time."""
    tree = LexborHTMLParser("")
    return frozenset(tree.create_node(name).tag_id for name in names.split())


_BLOCKS = _tag_ids(
    "address article aside blockquote body br button dd details div dl dt fieldset figcaption figure footer form h1 h2 "
    "h3 h4 h5 h6 header hr img input li main nav ol option p pre section summary table tbody td tfoot th thead tr ul "
    "label"
)
_MARKED = _tag_ids("img h1 h2 h3 h4 h5 h6")
_TEXT = 2  # lexbor's number of text nodes (LXB_TAG__TEXT)
_DIGIT_TO_END = re.compile(r"[0-9][^\n]*")
_MAX_SEGMENTS = 20_000
_MAX_WORDS = 2_000  # characters of one segment
_LINE_WORDS = 60  # pieces of one line
_UNCLOSED = 3_000  # so many elements that may be open: worth a look at the nesting
_STRETCH = 32_768  # characters
_DEEPEST = 1_000  # open elements; real pages stay below a hundred
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
_MOST_TAGS = 400_000  # real pages stay below a tenth of it
_ROOMY = 128_000  # characters; a shorter page cannot hold so many attributes that it matters
_CROWDED = re.compile(  # a tag with all its attributes, and one that is too many
    r"</?[A-Za-z][^\s/>]*+(?:[\s/]*+[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>]*+))?+){0,1000}+"
    r"(?:[\s/]*+([^\s/>]))?"
)
_ROOT = re.compile(r"<[HhBb][TtOo][MmDd][LlYy][\s/]")  # <html or <body: all of them are one element
_MOST_ROOTS = 30
_NEVER_OPEN = frozenset(
    ("img", "br", "hr", "meta", "link", "input", "area", "base", "col", "embed", "source", "track", "wbr", "param",
     "li", "p", "option", "dt", "dd", "path", "tr", "td", "th", "tbody", "thead")
)  # fmt: skip
_MAX_DROPPED = 200  # parts of a page taken out at once
_MAX_HEADINGS = 13  # above lists of other vehicles
_DEEP = 400  # nesting beyond which a page is not walked upwards


@dataclass(slots=True)
class Words:
    """Visible words in reading order: ``texts[i]`` stands in ``nodes[i]``; ``glued[i]`` when it continues a line.
    ``marked`` are the headings and pictures that were passed on the way."""

    texts: list[str] = field(default_factory=list)
    nodes: list[LexborNode] = field(default_factory=list)
    glued: list[bool] = field(default_factory=list)
    marked: list[LexborNode] = field(default_factory=list)
    _lines: list[tuple[int, str]] | None = None
    _text: str | None = None
    _line_text: str | None = None
    _numbered: tuple[list[int], list[int]] | None = None
    _around_heading: set[int] | None = None

    def take_out(self, roots: Iterable[LexborNode]) -> None:
        """Leave out the words inside some elements."""
        gone = {node.mem_id for root in roots for node in root.traverse(include_text=True, skip_empty=True)}
        keep = [node.mem_id not in gone for node in self.nodes]
        self.texts = list(compress(self.texts, keep))
        self.glued = list(compress(self.glued, keep))
        self.nodes = list(compress(self.nodes, keep))
        self.marked = [node for node in self.marked if node.mem_id not in gone]
        self._lines = self._text = self._line_text = self._numbered = self._around_heading = None

    @property
    def text(self) -> str:
        """All words, a piece a line."""
        if self._text is None:
            self._text = "\n".join(self.texts)
        return self._text

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

    @property
    def numbered_texts(self) -> list[int]:
        """The positions of the words with a digit: few hold any, and most facts do."""
        return self._find_numbered()[0]

    @property
    def numbered_text(self) -> str:
        """The words with a digit, a piece a line."""
        return "\n".join([self.texts[at] for at in self.numbered_texts])

    @property
    def numbered_lines(self) -> list[int]:
        """The numbers of the lines with a digit."""
        return self._find_numbered()[1]

    @property
    def around_heading(self) -> set[int]:
        """The elements (by ``mem_id``) that hold the page's own heading."""
        if self._around_heading is None:
            headings = (node for node in self.marked if node.tag == "h1")
            self._around_heading = {parent.mem_id for node in headings for parent in (node, *ancestors(node))}
        return self._around_heading

    def lines_with(self, pattern: re.Pattern[str]) -> list[int]:
        """The numbers of the lines in which a pattern is found that takes in the rest of its line."""
        if self._line_text is None:
            glued = len(self.lines) < len(self.texts)
            self._line_text = "\n".join([line for _, line in self.lines]) if glued else self.text
        return _lines_with(pattern, self._line_text)

    def _find_numbered(self) -> tuple[list[int], list[int]]:
        if self._numbered is None:
            texts = _lines_with(_DIGIT_TO_END, self.text)
            glued = len(self.lines) < len(self.texts)
            self._numbered = texts, self.lines_with(_DIGIT_TO_END) if glued else texts
        return self._numbered


def _lines_with(pattern: re.Pattern[str], text: str) -> list[int]:
    """The numbers of a text's lines in which a pattern is found that takes in the rest of its line."""
    found: list[int] = []
    at = position = 0
    for match in pattern.finditer(text):
        at += text.count("\n", position, match.start())
        position = match.start()
        found.append(at)
    return found


def parse(page: str) -> LexborHTMLParser:
    """The page's tree. Lexbor accepts anything, but its time grows with the square of the nesting and of an element's
    attributes, and its memory with the elements: a page with more of any than a real one has is cut off there. NUL
    characters are taken out."""
    if "\x00" in page:
        page = page.replace("\x00", "")
    tags = page.count("<")
    if tags > _MOST_TAGS:
        page = "<".join(page.split("<", _MOST_TAGS)[:_MOST_TAGS])
    if tags > _UNCLOSED and _may_be_deep(page):
        page = _cut_nesting(page)
    if len(page) > _ROOMY:
        page = _cut_attributes(page)
    return LexborHTMLParser(page)


def _may_be_deep(page: str) -> bool:
    """Whether more than :data:`_UNCLOSED` elements can be open somewhere, by counting tags in stretches of the page."""
    depth = 0
    for start in range(0, len(page), _STRETCH):
        tags, closing = page.count("<", start, start + _STRETCH), page.count("</", start, start + _STRETCH)
        if depth + tags - closing > _UNCLOSED:
            return True
        depth = max(0, depth + tags - 2 * closing)
    return False


def _cut_nesting(page: str) -> str:
    """The page up to where more than :data:`_DEEPEST` elements are open."""
    depth = 0
    for match in _TAG.finditer(page):
        if match[2].lower() in _NEVER_OPEN:
            continue
        depth = max(0, depth - 1) if match[1] else depth + 1
        if depth > _DEEPEST:
            return page[: match.start()]
    return page


def _cut_attributes(page: str) -> str:
    """The page up to an element with more than a thousand attributes."""
    root = next(islice(_ROOT.finditer(page), _MOST_ROOTS, None), None)
    if root is not None:
        page = page[: root.start()]
    crowded = next((match for match in _CROWDED.finditer(page) if match[1] is not None), None)
    return page[: crowded.start()] if crowded is not None else page


def strip_noise(tree: LexborHTMLParser) -> None:
    """Take out what nobody reads: scripts, styles, form choices, drawings."""
    tree.strip_tags(_NOISE)


def read_words(roots: Iterable[LexborNode]) -> Words:
    """The visible words below some nodes, in order."""
    words = Words()
    texts, nodes, glued = words.texts, words.nodes, words.glued
    fresh = True  # a block began since the last words
    held = 0  # the block of the last words, 0 where nobody asked
    for root in roots:
        fresh = True
        for node in root.traverse(include_text=True, skip_empty=True):
            tag = node.tag_id
            if tag == _TEXT:
                text = single_spaced(node.text_content or "")
                if not text:
                    continue
                if len(text) > _MAX_WORDS:
                    text = text[:_MAX_WORDS]
                if "&" in text or not text.isascii():
                    text = clean(text, _MAX_WORDS)
                    if not text:
                        continue
                if fresh:
                    held = 0
                    glued.append(False)
                else:
                    before, held = held or _block(nodes[-1]), _block(node)
                    glued.append(before == held != 0)
                texts.append(text)
                nodes.append(node)
                fresh = False
                if len(texts) >= _MAX_SEGMENTS:
                    return words
            elif tag in _BLOCKS:
                fresh = True
                if tag in _MARKED:
                    words.marked.append(node)
    return words


def _block(node: LexborNode) -> int:
    """The block (by ``mem_id``) that some words stand in, 0 where there is none near."""
    current = node.parent
    for _ in range(12):
        if current is None:
            return 0
        if current.tag_id in _BLOCKS:
            return current.mem_id
        current = current.parent
    return 0 if current is None else current.mem_id


def ancestors(node: LexborNode, most: int = _DEEP) -> list[LexborNode]:
    """The node's ancestors from its parent up to the body, bounded."""
    out: list[LexborNode] = []
    current = node.parent
    while current is not None and current.tag not in ("body", "html", "-document") and len(out) < most:
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
    r"similar|you may (?:also )?(?:like|be interested)|you might (?:also )?like|recommended|recommendations|"
    r"related (?:vehicles|cars|listings|items|ads)|"
    r"other (?:cars|vehicles|listings|inventory)|more (?:cars|vehicles|listings|like this|from this (?:seller|"
    r"dealer))|recently (?:viewed|sold|added)|"
    r"customers also|people also|also viewed|featured (?:vehicles|cars|listings|inventory)|latest (?:vehicles|cars|"
    r"listings|arrivals)|new(?:est)? arrivals|"
    r"ähnliche|weitere (?:fahrzeuge|angebote)|das könnte|andere (?:fahrzeuge|angebote)|vergelijkbare|andere (?:auto|"
    r"voertuigen|occasions)|ook interessant|"
    r"véhicules similaires|annonces similaires|vous aimerez|autres (?:véhicules|annonces)|current (?:\w+ )?auctions|"
    r"compare (?:with|similar)|popular (?:cars|vehicles|listings)|"
    r"shop (?:other|more)|explore more|top picks|just listed|ending soon",
    re.I,
)


_MENUS = "nav, footer, [role=navigation], [role=contentinfo]"
_SIMILAR_CLASSES = (
    "[class*=similar], [class*=related], [class*=recommend], [id*=similar], [id*=related], [id*=recommend]"
)
_SIMILAR_HINTS = (
    "similar", "you may", "you might", "recommend", "related", "other ", "more ", "recently", "customers also",
    "people also", "viewed",
    "featured", "latest", "arrivals", "ähnliche", "weitere", "andere", "vergelijkbare", "ook interessant",
    "vous aimerez", "autres",
    "auctions", "compare", "popular", "explore", "top picks", "just listed", "ending soon",
)  # fmt: skip


def drop_menus(tree: LexborHTMLParser, words: Words | None = None) -> None:
    """Take menus and the page's foot out of a page, and of its words if they are read already, unless the page's own
    heading is in them."""
    menus = _outermost([node for node in css(tree, _MENUS) if not css(node, "h1")])
    if words is not None and menus:
        words.take_out(menus)
    for node in menus:
        node.decompose()


_HIDDEN = (
    ("[hidden]", "hidden"),
    ("[style*='display:none']", "display:none"),
    ("[style*='display: none']", "display: none"),
    ("[style*='visibility:hidden']", "visibility:hidden"),
    ("[style*='font-size:0']", "font-size:0"),
)


def drop_hidden(tree: LexborHTMLParser, page: str) -> None:
    """Take out what the page's own markup keeps from being seen; what a style sheet hides stays."""
    for selector, hint in _HIDDEN:
        if hint in page:
            for node in _outermost(css(tree, selector)):
                if node.tag not in ("html", "body"):
                    node.decompose()


def drop_foreign(tree: LexborHTMLParser, words: Words) -> None:
    """Take out of a detail page, and of its words, what is about other vehicles: "similar cars" and their like."""
    doomed: list[LexborNode] = []
    headings = (at for at, text in enumerate(words.texts) if len(text) <= 70 and _heads_others(text))
    for at in islice(headings, _MAX_HEADINGS):
        doomed.extend(_below(words.nodes[at], words.texts[at]))
    for node in css(tree, _SIMILAR_CLASSES):
        if not css(node, "h1") and len(css(node, "a")) >= 2:
            doomed.append(node)
    if doomed:
        words.take_out(doomed)
        for node in _outermost(doomed):
            node.decompose()


@lru_cache(maxsize=16384)
def _heads_others(text: str) -> bool:
    """Whether some words say that other vehicles follow."""
    low = text.lower()
    return any(hint in low for hint in _SIMILAR_HINTS) and _SIMILAR.search(text) is not None


def _outermost(nodes: list[LexborNode]) -> list[LexborNode]:
    """The nodes that are inside no other of them: taking out a node frees those inside it."""
    roots = {node.mem_id: node for node in nodes[:_MAX_DROPPED]}
    if len(roots) < 2:
        return list(roots.values())
    return [node for node in roots.values() if not _inside(node, roots)]


def _inside(node: LexborNode, roots: dict[int, LexborNode]) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.mem_id in roots:
            return True
        parent = parent.parent
    return False


def _below(heading: LexborNode, text: str) -> list[LexborNode]:
    """The part of the page that a heading opens: the element that begins with it and has links to other pages; in a
    flat layout the elements after the heading up to the next one of its kind."""
    chain = ancestors(heading)
    for node in chain[:7]:
        if css(node, "h1") or node.text(strip=True).find(text) > 40:
            break
        if len({attribute(link, "href") for link in css(node, "a[href]")} - {""}) >= 2:
            return [node]
    if not chain:
        return []
    own = chain[0]
    after: list[LexborNode] = []
    sibling = own.next
    while sibling is not None and sibling.tag not in (own.tag, "h1", "h2") and len(after) < 60:
        if sibling.is_element_node:
            after.append(sibling)
        sibling = sibling.next
    return after if any(node.tag == "a" or css(node, "a[href]") for node in after) else []
