"""Labels and the values after them: in the same words, in the next cell, or in the row below a row of labels."""

from __future__ import annotations

import re
from functools import lru_cache

from selectolax.lexbor import LexborNode

from fill_pipeline.extract.dom import Words, ancestors
from fill_pipeline.extract.evidence import Reading
from fill_pipeline.extract.labels import field_of_label
from fill_pipeline.extract.listing import Layer
from fill_pipeline.extract.sellers import is_name, is_user_name
from fill_pipeline.extract.values import offer_value

_ALNUM = re.compile(r"[^\W_]")
LABEL_CEILING = 0.84  # the confidence of a labelled value at most
_LABEL_LENGTH = 48
_VALUE_LENGTH = 80
_LONG_FIELDS = frozenset(
    (
        "place",
        "engine",
        "transmission",
        "seller_name",
        "title",
        "trim",
        "make_model",
        "exterior_color",
        "interior_color",
    )
)
# Labels that are also ordinary words: without a colon they count only in a cell of a table or list.
_LOOSE = frozenset(
    ("place", "seller_name", "seller_phone", "remote_id", "status", "sold_price", "bid", "title", "seller_type",
     "price",
     "make_model", "posted_at", "condition")
)  # fmt: skip
# Labels that name their field only by the way.
_VAGUE = frozenset(
    ("exterior", "interior", "ext", "int", "color", "colour", "body", "drive", "trans", "antrieb", "cylinders",
     "cylinder", "cyl",
     "displacement", "version", "series", "km", "miles", "kategorie", "vehicle type", "gears", "upholstery", "city",
     "area",
     "engine cylinders", "number of cylinders", "powertrain", "serial", "call", "tel", "vehicle")
)  # fmt: skip
# Prices that a lower one may follow: the label of a reduced price is trusted more.
_LIST_PRICES = frozenset(
    ("retail price", "list price", "price", "total price", "selling price", "vehicle price", "cash price",
     "dealer price", "advertised price", "endpreis", "gesamtpreis")
)  # fmt: skip
_HEADINGS = frozenset(("h2", "h3", "h4", "h5", "h6", "strong"))
# Labels of a colour that also head a section of equipment.
_SECTIONS = frozenset(("exterior", "interior", "ext", "int", "upholstery", "paint"))
_NO_ENGINE = re.compile(
    r"\b(?:years?|months?|miles|warranty|jahre|monate|garantie)\b|\A0+(?:[.,]0+)?\s*(?:\D{1,4})?\Z", re.I
)
_STATE = re.compile(
    r"(?:used|new|certified|pre-?owned|cpo|gebr|neu|nieuw|occasion|neuf|usat|nuov|usad|nuev|begagnad)", re.I
)
_SELLER_KIND = re.compile(
    r"(?:händler|dealer|gewerblich\w*|rivenditore|concessionari[ao]|profesional|professionnel|autobedrijf|privat\w*|"
    r"particul\w+|firma|forhandler|företag)(?: (?:anbieter|verkäufer|seller|nutzer|party|owner))?",
    re.I,
)
_CELLS = frozenset(("dt", "th", "td", "label"))
_SPAN_OF_YEARS = re.compile(r"\d{4}\s*[-–]\s*\S*\s*\d{4}|[-–]\s*\w{3}\.?\s\d{4}")
_YEAR_CELL = re.compile(
    r"\D{0,12}(?:\d{1,2}[./\-]){0,2}(?:1[89]|20)\d\d(?:[./\-]\d{1,2}){0,2}(?:\s*\(\d{2}\b.{0,8}\)|\D{0,12})"
)
# What the values of fields with a small vocabulary look like, in the languages of the labels.
_PLAUSIBLE = {
    "drivetrain": re.compile(
        r"wd\b|4x[24]|2x4|6x6|wheel|front|rear|\ball\b|vorder|hinter|allrad|voor|achter|vierwiel|avant|arri|"
        r"int[ée]gral|quattro|"
        r"drive|przedn|tyln|4.?matic|hjul|anterior|posterior|traser|delanter|koła|total|part.time|full.time|traction|propulsion|4motion|r\.?w\.?d|a\.?w\.?d|f\.?w\.?d",
        re.I,
    ),
    "transmission": re.compile(
        r"auto|man|cvt|speed|gear|gang|tronic|dct|dsg|pdk|schalt|schak|spd|boîte|stick|variable|clutch|powerglide|matic|"
        r"shift|"
        r"vitesse|versnelling|[3-9]\s*-?\s*sp|transaxle|tiptronic|sequential|overdrive|\b[34]-?on",
        re.I,
    ),
    "fuel_type": re.compile(
        r"gas|petrol|diesel|electr|elektr|hybrid|benzin|essence|flex|ethanol|e85|cng|lpg|hydrogen|wasserstoff|"
        r"waterstof|"
        r"\Ael\b|elbil|bensin|gasolin|gas[óo]leo|di[ée]sel|elettr|el[ée]ctr|metano|benzyn|nafta|benz[ií]n|sähkö|"
        r"unleaded|super|regular|premium|strom|erdgas|gpl|électri|ev\b|phev|propane|biofuel|mhev",
        re.I,
    ),
    "engine": re.compile(
        r"\d[.,]\d|\b[vwi]-?\d{1,2}\b|cyl|lit|\d\s*(?:l|cc|ci|cm³|cm3|ccm|hp|bhp|ps|kw)\b|\bc\.\s?[ci]\.|cubic|hemi|"
        r"turbo|motor|"
        r"electri|elektr|flat|inline|straight|hybrid|rotary|diesel|\bgas|zyl|supercharged|ecoboost|boxer|\b\d{3}\b|"
        r"petrol|"
        r"benzin|dohc|sohc|tdi|tsi|tfsi|cdi|hdi",
        re.I,
    ),
    "body_style": re.compile(
        r"sedan|saloon|coup|suv|crossover|truck|pick|van\b|wagon|estate|kombi|break|convert|cabrio|roadster|spyder|"
        r"spider|hatch|"
        r"limousin|hardtop|fastback|targa|kleinwagen|geländewagen|mini|sport|bus|door|dr\b|berline|stationwagen|"
        r"stadsauto|"
        r"touring|cruiser|standard|cab\b|tourer|mpv|compact|gt\b|speedster|phaeton|motorcycle|moto",
        re.I,
    ),
    "fuel_economy": re.compile(r"\d"),
    "mileage": re.compile(r"\d"),
}  # fmt: skip
_AMOUNT = re.compile(r"\A(?![-−–+])\D{0,8}\d[\d.,' \u00a0\u202f]*\d\d\D{0,8}\Z")
# What a value looks like that may stand before its label.
_SHAPES = {
    **{field: shape for field, shape in _PLAUSIBLE.items() if field not in ("mileage", "fuel_economy", "engine")},
    **dict.fromkeys(("price", "sold_price", "bid", "msrp"), _AMOUNT),
    "mileage": re.compile(r"\A\d[\d.,' \u00a0]*k?\s*(?:mi|miles|km|kms)?\.?\Z", re.I),
    "fuel_economy": re.compile(r"\A\d{2,3}(?:\s*[/-]\s*\d{2,3})?\Z"),
    "engine": re.compile(r"\A\d\.\d\s?L\b|\A[VI]\d\b|\bcyl", re.I),
    "year": re.compile(r"\A(?:19|20)\d\d\Z"),
    "doors": re.compile(r"\A[2-5]\Z"),
    "seats": re.compile(r"\A[1-9]\Z"),
}
_INLINE_LABEL = re.compile(r"([A-Za-zÀ-ÿ#.][A-Za-zÀ-ÿ#./ ]{1,30}?)\s*:\s")
_TRAILING = re.compile(
    r"(\S.{1,75}?)\s+((?:exterior|interior)(?: colou?r)?|fuel type|drivetrain|transmission|body (?:style|type)|engine|"
    r"mpg)",
    re.I,
)
_TRAILING_WORDS = frozenset(
    ("color", "colour", "type", "drivetrain", "transmission", "style", "engine", "mpg", "exterior", "interior")
)
_COLOR_WORD = re.compile(
    r"white|black|silver|gr[ae]y|red|blue|green|brown|beige|tan|gold|orange|yellow|purple|maroon|burgundy|cream|ivory|"
    r"bronze|copper|charcoal|"
    r"navy|champagne|pearl|weiß|weiss|schwarz|silber|grau|rot|blau|grün|braun|gelb|wit|zwart|zilver|grijs|rood|blauw|"
    r"groen|bruin|geel|blanc|noir|"
    r"argent|gris|rouge|bleu|vert|jaune|saddle|parchment|ebony|cognac|camel|teal|turquoise|metallic",
    re.I,
)
_NO_COLOR = re.compile(r":|\d{3}|\d\s*(?:in|mm|cm|hp|miles)\b|https?|\bview\b|\bphotos?\b|\bcolors\b", re.I)


def read_labels(words: Words, reading: Reading, base_url: str, *, layer: Layer = Layer.LABELS) -> None:
    """Offer every value that stands after its label."""
    texts, glued = words.texts, words.glued
    count = len(texts)
    at = 0
    for candidate in [at for at, text in enumerate(texts) if _may_have_label(text)]:
        if candidate < at:
            continue  # read already as part of what stands before it
        at, text = candidate, texts[candidate]
        if len(text) <= _LABEL_LENGTH:
            field = field_of_label(text)
            if field is not None:
                at = _labelled(words, at, field, reading, base_url, layer)
                continue
            tail = text.rfind(" ")
            if tail > 0 and text[tail + 1 :].lower() in _TRAILING_WORDS:
                _offer_trailing(text, reading, base_url, layer)
        elif len(text) <= _VALUE_LENGTH and text.endswith((" engine", " Engine")):
            _offer_trailing(text, reading, base_url, layer)
        colon = text.find(":", 1, _LABEL_LENGTH)
        several = colon > 0 and text.find(":", colon + 1, 400) > 0
        if several and _read_several(text, reading, base_url, layer):
            at += 1
            continue
        if colon > 0:
            field = field_of_label(text[:colon])
            value = text[colon + 1 :].strip()
            if field and _ALNUM.search(value):
                at += 1
                while at < count and glued[at] and len(value) < _VALUE_LENGTH and _continues(texts[at]):
                    value += " " + texts[at]
                    at += 1
                _offer(reading, field, value, layer, text[:colon], LABEL_CEILING, base_url)
                continue
        at += 1


@lru_cache(maxsize=16384)
def _may_have_label(text: str) -> bool:
    """Whether some words are or hold what looks like a label; most of a page's words do not."""
    if text.find(":", 1, _LABEL_LENGTH) > 0 or text.endswith((" engine", " Engine")):
        return True
    if len(text) > _LABEL_LENGTH:
        return False
    return field_of_label(text) is not None or text.rpartition(" ")[2].lower() in _TRAILING_WORDS


def _read_several(text: str, reading: Reading, base_url: str, layer: Layer) -> bool:
    """Read several labels and values in one line ("Year: 2019 Make: Ford Mileage: 42,592"); whether it was so."""
    found: list[tuple[int, int, str, str]] = []
    for match in _INLINE_LABEL.finditer(text[:600]):
        words = match[1].split()
        for length in range(min(3, len(words)), 0, -1):
            label = " ".join(words[-length:])
            field = field_of_label(label)
            if field is not None:
                found.append((match.end(1) - len(label), match.end(), field, label))
                break
    if len(found) < 2:
        return False
    for (_, start, field, label), following in zip(found, [*found[1:], None], strict=True):
        value = text[start : following[0] if following else start + _VALUE_LENGTH].strip(" ,;|•·-–/")
        if field and _ALNUM.search(value) and len(value) <= _VALUE_LENGTH:
            _offer(reading, field, value, layer, label, 0.8, base_url)
    return True


def _offer_trailing(text: str, reading: Reading, base_url: str, layer: Layer) -> None:
    """Offer a value written before its label: "Ruby Flare Pearl exterior color", "28-39 mpg"."""
    match = _TRAILING.fullmatch(text)
    if match is None:
        return
    label = match[2].lower()
    field = "fuel_economy" if label == "mpg" else field_of_label(label)
    if field and field_of_label(match[1]) is None:
        _offer(reading, field, text if label == "mpg" else match[1], layer, label, 0.7, base_url)


def _continues(text: str) -> bool:
    """Whether glued words belong to the value before them, and are no label of their own."""
    return ":" not in text and field_of_label(text) is None


def _labelled(words: Words, at: int, field: str, reading: Reading, base_url: str, layer: Layer) -> int:
    """Read the value or values after a label that stands alone; gives the position to go on from."""
    texts, count = words.texts, len(words.texts)
    if at and is_caption(words, at, field):
        _offer(reading, field, texts[at - 1], layer, texts[at], 0.77, base_url)
        return at + 1
    fields, names = [field], [texts[at]]
    positions = [at]
    colon = texts[at].rstrip().endswith(":")
    after = at + 1
    while after < count:
        text = texts[after]
        if not _ALNUM.search(text):
            colon = colon or ":" in text
            after += 1
            continue
        following = field_of_label(text)
        kind = fields[-1] == "seller_name" and _SELLER_KIND.fullmatch(text) is not None  # "Dealer" may be a value
        if following is None or kind or len(fields) >= 24:
            break
        fields.append(following)
        names.append(text)
        positions.append(after)
        colon = text.rstrip().endswith(":")
        after += 1
    if after >= count:
        return count
    if len(fields) >= 3 and after + len(fields) <= count and not any(":" in name for name in names):
        row = texts[after : after + len(fields)]
        if all(field_of_label(text) is None for text in row):
            for name, known, value in zip(names, fields, row, strict=True):
                _offer(reading, known, value, layer, name, 0.7, base_url)
            return after + len(fields)
    known, label = fields[-1], names[-1]
    value, end = texts[after], after + 1
    if value.startswith(":"):
        colon, value = True, value.lstrip(": ")
    while end < count and words.glued[end] and len(value) < _VALUE_LENGTH and _continues(texts[end]):
        value += " " + texts[end]
        end += 1
    limit = 2 * _VALUE_LENGTH if known in _LONG_FIELDS else _VALUE_LENGTH
    sure = colon or known not in _LOOSE or _is_cell(words.nodes[positions[-1]])
    if known in ("seller_name", "seller_type") and not sure:
        sure = _SELLER_KIND.fullmatch(value) is not None or (
            known == "seller_name" and is_name(value) and _is_heading(words.nodes[positions[-1]])
        )
    if known and sure and len(value) <= limit:
        _offer(reading, known, value, layer, label, LABEL_CEILING if colon else 0.76, base_url)
    return after


def is_caption(words: Words, at: int, field: str) -> bool:
    """Whether a label belongs to the value before it, as under the figures of a tile ("$37,662 / Our Price"): the
    value looks like one of its field and stands nearer in the tree than the words after the label."""
    shape = _SHAPES.get(field)
    before = words.texts[at - 1]
    if shape is None or len(before) > _LABEL_LENGTH or not shape.search(before) or ":" in words.texts[at]:
        return False
    if field_of_label(before) is not None:
        return False
    chain = [node.mem_id for node in ancestors(words.nodes[at], 6)]
    near = _shared(chain, words.nodes[at - 1])
    if at + 1 >= len(words.texts):
        return near < len(chain)
    far = _shared(chain, words.nodes[at + 1])
    return near < far or (near == far and shape is _AMOUNT and not shape.search(words.texts[at + 1]))


def _shared(chain: list[int], node: LexborNode) -> int:
    """How far up a chain of ancestors the first one is that another node has too."""
    known = {id_: at for at, id_ in enumerate(chain)}
    parent = node.parent
    for _ in range(8):
        if parent is None:
            break
        if parent.mem_id in known:
            return known[parent.mem_id]
        parent = parent.parent
    return len(chain)


def _is_cell(node: LexborNode) -> bool:
    parent = node.parent
    for _ in range(3):
        if parent is None:
            return False
        if parent.tag in _CELLS:
            return True
        parent = parent.parent
    return False


def _is_heading(node: LexborNode) -> bool:
    parent = node.parent
    return parent is not None and parent.tag in _HEADINGS


def _plausible_shape(field: str, value: str) -> bool:
    """Whether a model, year or seller's name reads like one: no sentence, no range of years, no command."""
    if field == "model":
        return len(value) <= 50 and not _SPAN_OF_YEARS.search(value)
    if field == "seller_name":
        return is_name(value) or is_user_name(value)
    return field != "year" or _YEAR_CELL.fullmatch(value) is not None


def _offer(
    reading: Reading, field: str, value: str, layer: Layer, label: str, confidence: float, base_url: str
) -> None:
    if not field:
        return
    if field == "kind":
        field = "condition" if _STATE.match(value) else "body_style"
    if field == "msrp":
        field, confidence = "price", 0.66
    elif field == "make_model":
        field, confidence = "title", 0.5
    elif field == "seller_name" and _SELLER_KIND.fullmatch(value):
        field = "seller_type"
    if not reading.is_open(field, LABEL_CEILING) or not _plausible_shape(field, value):
        return
    label = label.strip(" :\u00a0")
    if field == "price" and label.lower() in _LIST_PRICES:
        confidence -= 0.08
    elif label.lower() in _VAGUE:
        confidence -= 0.1
    plausible = _PLAUSIBLE.get(field)
    if plausible is not None and (len(value) > _VALUE_LENGTH or not plausible.search(value)):
        return
    if field == "engine" and _NO_ENGINE.search(value):
        return
    if field in ("exterior_color", "interior_color"):
        if len(value) > 60 or _NO_COLOR.search(value):
            return
        if label.lower() in _SECTIONS and not _COLOR_WORD.search(value):
            return
    offer_value(reading, field, value, layer, label[:40], confidence, base_url, key=label)
