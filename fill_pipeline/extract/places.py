"""Places as pages write them: "Omaha, NE 68102", "1050 Baltimore Pike, Glen Mills, PA 19342", "D-10115 Berlin"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from fill_pipeline.extract.gazetteer import find_make_model
from fill_pipeline.extract.labels import field_of_label

# States and territories of the United States, provinces of Canada, states of Australia: code → name (ISO 3166-2).
_REGIONS = (
    "AL Alabama|AK Alaska|AZ Arizona|AR Arkansas|CA California|CO Colorado|CT Connecticut|DE Delaware|FL Florida|"
    "GA Georgia|HI Hawaii|ID Idaho|IL Illinois|IN Indiana|IA Iowa|KS Kansas|KY Kentucky|LA Louisiana|ME Maine|"
    "MD Maryland|MA Massachusetts|MI Michigan|MN Minnesota|MS Mississippi|MO Missouri|MT Montana|NE Nebraska|"
    "NV Nevada|NH New Hampshire|NJ New Jersey|NM New Mexico|NY New York|NC North Carolina|ND North Dakota|OH Ohio|"
    "OK Oklahoma|OR Oregon|PA Pennsylvania|RI Rhode Island|SC South Carolina|SD South Dakota|TN Tennessee|TX Texas|"
    "UT Utah|VT Vermont|VA Virginia|WA Washington|WV West Virginia|WI Wisconsin|WY Wyoming|DC District of Columbia|"
    "PR Puerto Rico|ON Ontario|QC Quebec|BC British Columbia|AB Alberta|MB Manitoba|SK Saskatchewan|NS Nova Scotia|"
    "NB New Brunswick|NL Newfoundland|PE Prince Edward Island|YT Yukon|NSW New South Wales|VIC Victoria|"
    "QLD Queensland|SA South Australia|TAS Tasmania|ACT Australian Capital Territory|NT Northern Territory"
)
_CODES = [entry.split(" ", 1)[0] for entry in _REGIONS.split("|")]
_NAMES = [entry.split(" ", 1)[1] for entry in _REGIONS.split("|")]
_COUNTRIES = {
    "usa": "US", "us": "US", "u.s.a.": "US", "united states": "US", "united states of america": "US", "canada": "CA",
    "australia": "AU", "uk": "GB", "united kingdom": "GB", "england": "GB", "germany": "DE", "deutschland": "DE",
    "france": "FR", "netherlands": "NL", "the netherlands": "NL", "nederland": "NL", "belgium": "BE", "belgië": "BE",
    "belgique": "BE", "austria": "AT", "österreich": "AT", "switzerland": "CH", "schweiz": "CH", "suisse": "CH",
    "italy": "IT", "italia": "IT", "spain": "ES", "españa": "ES", "portugal": "PT", "poland": "PL", "polska": "PL",
    "sweden": "SE", "sverige": "SE", "norway": "NO", "norge": "NO", "denmark": "DK", "danmark": "DK", "ireland": "IE",
}  # fmt: skip
_PLATE_CODES = {"D": "DE", "DE": "DE", "A": "AT", "AT": "AT", "CH": "CH", "NL": "NL", "B": "BE", "BE": "BE", "F": "FR",
                "FR": "FR", "L": "LU", "LU": "LU", "I": "IT", "IT": "IT", "PL": "PL", "DK": "DK"}  # fmt: skip

_NAME = r"(?:[dlO]['’])?[A-ZÀ-ÖØ-Þ][\w.'’\-]*"
_JOIN = r"(?:of|de|la|le|du|des|sur|am|an der|im|in|upon|aan|den|bei|ob der|v\.d\.|St\.|Ste\.)"
_CITY = rf"(?P<city>{_NAME}(?: {_JOIN})?(?: (?:{_NAME})){{0,3}})"
_REGION = "(?P<region>" + "|".join(map(re.escape, sorted([*_NAMES, *_CODES], key=len, reverse=True))) + r")\b"
_CODE = r"(?P<code>\d{5}(?:-\d{4})?|[A-Z]\d[A-Z] ?\d[A-Z]\d|\d{4})(?![\w])"
_COUNTRY = "(?P<country>" + "|".join(sorted(map(re.escape, _COUNTRIES), key=len, reverse=True)) + ")"
_WESTERN = re.compile(rf"{_CITY}(?:, ?| ){_REGION}(?:,? +{_CODE})?(?:,? +(?i:{_COUNTRY}))?\.?")
_CONTINENTAL = re.compile(
    r"(?:(?P<plate>[A-Z]{1,2})[- ])?(?P<code>\d{4} [A-Z]{2}(?= [A-Z])|\d{4,5}|\d{3} \d{2}) "
    rf"{_CITY}(?: ?[-–(/,] ?(?P<rest>[\w.'’ \-]{{2,40}}?)\)?)?"
)
_FRENCH = re.compile(rf"{_CITY} \(?(?P<code>\d{{5}})\)?(?: \d{{1,2}}(?:er?|e|ème) Arrondissement)?")
_BRITISH = re.compile(rf"{_CITY},? (?P<code>[A-Z]{{1,2}}\d[A-Z\d]? ?\d[A-Z]{{2}})")
_ABROAD = re.compile(rf"{_CITY}, (?i:{_COUNTRY})")
_LOT = re.compile(r"(?P<region>[A-Z]{2}) - (?P<city>[A-Z][A-Z .'\-]{2,30})")
_ADDRESS = re.compile(rf"(?:^|[,•·|–:]|\b\w+\.?) *(?P<place>{_NAME}(?: {_NAME}){{0,4}},? (?:{_REGION},? {_CODE}))")
_STREET = re.compile(
    r"(?:.*\W)?(?:st|street|ave|avenue|rd|road|blvd|boulevard|dr|drive|hwy|highway|pkwy|parkway|pike|ln|lane|way|ct|court|"
    r"cir|circle|pl|place|plaza|trl|trail|loop|turnpike|tpke|route|fwy|freeway|expy|expressway|suite|ste|unit|broadway|"
    r"[nsew]|ne|nw|se|sw|north|south|east|west)\.?,?",
    re.I,
)
_NO_CITY = re.compile(
    r"(?:by|from|in|used|new|sold|certified|posted|see|the|this|free|call|only|est|mi|miles?|km|kms|euro?|ps|kw|hp|"
    r"meilen|stück|original|actual|view|photos?|reviews?|ratings?|results|stock|lot|model|ref|page|item|monate|months?|"
    r"jahre|years?|automatic|manual|leather|sedan|coupe|truck|cars?|auto|autos|vehicles?|zylinder|sitze|türen|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\b",
    re.I,
)
_LABEL = re.compile(
    r"^(?:\W+|.{0,30}?:\s+|(?:vehicle |item |car |currently |showroom )?(?:is )?"
    r"(?:locat(?:ed|ion)|listed) ?(?:in|at)?:?\s+)",
    re.I,
)
_MAX_LINE = 140
_POSTAL = re.compile(r"[0-9](?:[0-9]{3}|[A-Z])")  # without it there is no postal code
_DIGIT = re.compile(r"[0-9]")


@dataclass(frozen=True, slots=True)
class Place:
    """A place as written, and its parts; country is an ISO 3166 code where the words name one."""

    text: str
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None


@lru_cache(maxsize=8192)
def read_place(text: str) -> Place | None:
    """The place that a text is: "Omaha, NE 68102", "10115 Berlin", "Leeds, LS11 5DQ", "TX - DALLAS"; None for anything
    that may be something else."""
    text = text.strip(" •·|,–-")
    if not 4 <= len(text) <= 80:
        return None
    for pattern in (_WESTERN, _BRITISH, _CONTINENTAL, _ABROAD, _LOT):
        match = pattern.fullmatch(text)
        if match is not None:
            place = _parts(match, text)
            if place is not None:
                return place
    return None


def read_city_code(text: str) -> Place | None:
    """Like :func:`read_place` for the French order, which elsewhere is a number after its name: "Lyon 69003"."""
    match = _FRENCH.fullmatch(text.strip())
    if match is None or field_of_label(match["city"]) is not None:
        return None
    return _parts(match, text.strip())


def _parts(match: re.Match[str], text: str) -> Place | None:
    found = match.groupdict()
    city, code, country = found["city"], found.get("code"), found.get("country")
    if _NO_CITY.match(city) or field_of_label(city) is not None or city.isdigit():
        return None
    if match.re is _WESTERN and "," not in text and not code:
        return None
    if match.re is _CONTINENTAL and (
        not _continental(code or "", city, found) or _after_street(city + " x") != city + " x"
    ):
        return None
    if match.re is _WESTERN and code and not _fits(found["region"] or "", code):
        return None
    rest = found.get("rest")
    plate = found.get("plate") or (rest if rest in _PLATE_CODES else None)
    if plate and plate not in _PLATE_CODES:
        return None
    known = _PLATE_CODES.get(plate) if plate else _COUNTRIES.get((country or "").lower())
    city = city.title() if city.isupper() and match.re is _LOT else city
    return Place(text, city, found.get("region"), code, known)


def _fits(region: str, code: str) -> bool:
    """Whether a postal code is of the kind of the region's country: 5 digits, Canada's letters, Australia's 4."""
    at = _CODES.index(region) if region in _CODES else _NAMES.index(region)
    if at >= _CODES.index("NSW") or (region == "WA" and len(code) == 4):
        return len(code) == 4
    return code[0].isalpha() if at >= _CODES.index("ON") else len(code) >= 5 and code[0].isdigit()


def _continental(code: str, city: str, found: dict[str, str | None]) -> bool:
    """Whether four or five digits before a name can be its postal code: no model year, no plain number of something."""
    year_like = len(code) == 4 and 1885 <= int(code) <= 2035
    return not (year_like and not found["plate"]) and len(city) > 2 and (not city.isupper() or " " in code)


@lru_cache(maxsize=4096)
def read_address(line: str) -> Place | None:
    """The town at the end of an address on one line ("1050 Baltimore Pike, Glen Mills, PA 19342"), None without one."""
    match = _ADDRESS.search(line) if len(line) <= _MAX_LINE and _POSTAL.search(line) else None
    if match is None:
        return None
    words = _after_street(match["place"])
    return read_place(words) if words[:1].isupper() else None


def _after_street(words: str) -> str:
    """What stands behind the last word that ends a street's name, all words where there is none."""
    parts = words.split(" ")
    for at in range(len(parts) - 1, 0, -1):
        if _STREET.fullmatch(parts[at - 1]):
            return " ".join(parts[at:]).lstrip()
    return words


def _is_vehicle(text: str) -> bool:
    """Whether words name a vehicle; a town may bear the name of a make ("Austin, TX")."""
    found = find_make_model(text)
    return found is not None and (found.model is not None or found.year is not None)


def find_place(lines: Iterable[str], *, french: bool) -> Place | None:
    """The first of some lines that is a place or an address ending in one; ``french`` allows "Lyon 69003"."""
    for line in lines:
        # A place has a name, and with it a capital letter.
        if 5 <= len(line) <= _MAX_LINE and ("," in line or _DIGIT.search(line)) and line != line.lower():
            place = _place_in(line, french)
            if place is not None:
                return place
    return None


@lru_cache(maxsize=4096)
def _place_in(line: str, french: bool) -> Place | None:
    bare = _LABEL.sub("", line.strip("()• ")).replace(" , ", ", ")
    place = read_place(bare) or read_address(line) or (read_city_code(bare) if french else None)
    return place if place is not None and not _is_vehicle(place.text) else None
