"""How one source is crawled: the JSON in ``scrape_sources.config``, checked once at the border."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard
from urllib.parse import urlsplit

import jmespath
import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from selectolax.lexbor import LexborHTMLParser

from fill_pipeline.crawl.choices import BodyFormat, DetailPolicy, PaginationType, RobotsPolicy, SourceKind
from fill_pipeline.db.seal import is_secret_header, reveal
from fill_pipeline.extract.listing import Listing

if TYPE_CHECKING:
    from fill_pipeline.extract.rules import ExtractRules
    from fill_pipeline.vehicles.source_rules import SourceRule

DEFAULT_REQUESTS_PER_MINUTE = 30.0
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_PATTERN_CHARS = 500
_LISTING_FIELDS = [name for name in Listing.__struct_fields__ if name not in ("raw", "raw_payload", "provenance")]


class ConfigError(ValueError):
    """A source's configuration cannot be used; ``lines`` says what is wrong where, one problem a line."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def _text(value: object) -> object:
    """Numbers in YAML and JSON where the protocol knows only text are taken as their own words."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _printable(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("holds a control character; remove line breaks and tabs")
    return value


def _printable_secret(value: SecretStr) -> SecretStr:
    _printable(value.get_secret_value())
    return value


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("is not an HTTP header name; use letters, digits and '-'")
    return name


def _cookie_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("is not a cookie name; use letters, digits, '_' and '-'")
    return name


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return pattern


def _jmespath(expression: str) -> str:
    try:
        jmespath.compile(expression)
    except Exception as error:  # jmespath raises several unrelated types
        raise ValueError(f"is not a JMESPath expression: {str(error).splitlines()[0]}") from None
    return expression


def _css(selector: str) -> str:
    try:
        LexborHTMLParser("<p></p>").css(selector)
    except Exception:  # the parser's own error type says nothing useful
        raise ValueError("is not a CSS selector") from None
    return selector


def _page_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from None
    if not url or _CONTROL.search(url) or " " in url:
        raise ValueError("is not a URL; write a path such as '/search' or 'https://host/path'")
    if parts.scheme and parts.scheme not in ("http", "https"):
        raise ValueError("must be a path or start with http:// or https://")
    return url


def _template(template: str) -> str:
    if not re.search(r"\{[\w.]+\}", template):
        raise ValueError("names no key of the record; write for example '/listing/{id}'")
    return _page_url(template)


def _listing_field(name: str) -> str:
    if name not in _LISTING_FIELDS:
        raise ValueError(f"is not a field of a listing; known are {', '.join(_LISTING_FIELDS)}")
    return name


def _env_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("is not the name of an environment variable")
    return name


Secret = Annotated[SecretStr, BeforeValidator(_text), AfterValidator(_printable_secret)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
CookieName = Annotated[str, AfterValidator(_cookie_name)]
ListingField = Annotated[str, AfterValidator(_listing_field)]
ParamName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
Regex = Annotated[str, Field(max_length=_MAX_PATTERN_CHARS), AfterValidator(_regex)]
JmesPath = Annotated[str, Field(min_length=1, max_length=_MAX_PATTERN_CHARS), AfterValidator(_jmespath)]
Css = Annotated[str, Field(min_length=1, max_length=_MAX_PATTERN_CHARS), AfterValidator(_css)]
NaturalNumber = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
PageUrl = Annotated[str, Field(max_length=2000), AfterValidator(_page_url)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Auth(_Strict):
    """Authorisation sent to the source's own origin; the secret lives in the environment.

    For ``basic`` it is ``user:password``, or the two already encoded.
    """

    type: Literal["bearer", "basic"]
    token_env: Annotated[str, AfterValidator(_env_name)]


class RateLimit(_Strict):
    """How fast the source may be asked; the slower of the two rates wins."""

    requests_per_minute: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    delay_between_requests_ms: Annotated[float, Field(ge=0, le=3_600_000)] | None = None
    max_concurrency: Annotated[int, Field(ge=1, le=64)] = 4


class Pagination(_Strict):
    """How the index goes on from one page to the next."""

    type: PaginationType = PaginationType.NEXT_LINK
    page_param: ParamName = "page"
    start: Annotated[int, Field(ge=0)] = 1
    step: Annotated[int, Field(ge=1)] = 1
    offset_param: ParamName = "offset"
    limit_param: ParamName = "limit"
    page_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    cursor_param: ParamName = "cursor"
    cursor_path: JmesPath = "next_cursor"
    next_selector: Css | None = None
    max_pages: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    sitemap_pattern: Regex | None = None


class Index(_Strict):
    """Where the index starts and how a listing's link is told from others."""

    urls: list[PageUrl] = Field(default_factory=list)
    items_path: JmesPath | None = None
    link_selector: Css | None = None
    link_pattern: Regex | None = None
    url_template: Annotated[str, Field(max_length=2000), AfterValidator(_template)] | None = None


class Rule(_Strict):
    """Where one field's value is on a page."""

    css: Css | None = None
    attr: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    regex: Regex | None = None
    jmespath: JmesPath | None = None


class Rules(_Strict):
    """The source's own extraction rules, by listing field."""

    detail: dict[ListingField, Rule] = Field(default_factory=dict)
    card: dict[ListingField, Rule] = Field(default_factory=dict)


class Limits(_Strict):
    """Bounds on what one source may cost."""

    max_listings_per_run: Annotated[int, Field(ge=1)] = 100_000
    max_bytes: Annotated[int, Field(ge=1_000, le=1_000_000_000)] = 8_000_000
    daily_requests: Annotated[int, Field(ge=1)] = 100_000


class SourceConfig(_Strict):
    """One source's configuration. Everything is optional: ``{}`` follows what is found at the base URL."""

    headers: dict[HeaderName, Secret] = Field(default_factory=dict)
    cookies: dict[CookieName, Secret] = Field(default_factory=dict)
    auth: Auth | None = None
    rate_limit: RateLimit = RateLimit()
    robots: RobotsPolicy = RobotsPolicy.OBEY
    pagination: Pagination = Pagination()
    index: Index = Index()
    detail: DetailPolicy = DetailPolicy.IF_INCOMPLETE
    detail_urls: list[PageUrl] = Field(default_factory=list)
    format: BodyFormat = BodyFormat.AUTO
    rules: Rules = Rules()
    ranges: dict[Literal["price", "mileage", "year"], tuple[NaturalNumber, NaturalNumber]] = Field(default_factory=dict)
    formats: dict[Literal["remote_id", "postal_code"], Regex] = Field(default_factory=dict)
    min_confidence: dict[ListingField, Share] = Field(default_factory=dict)
    revisit_hours: Annotated[float, Field(gt=0, le=24 * 365)] = 24.0
    limits: Limits = Limits()
    expected_count: Annotated[int, Field(ge=0)] | None = None
    extra: dict[str, Any] = Field(default_factory=dict, repr=False)

    @field_validator("headers", "cookies", mode="before")
    @classmethod
    def _reveal(cls, values: Any, info: ValidationInfo) -> Any:
        if not isinstance(values, dict):
            return values
        group = str(info.field_name)
        return {name: reveal(group, str(name), value) for name, value in values.items()}

    @property
    def delay_seconds(self) -> float:
        """Seconds between two requests: the slower of the two rates; 30 a minute where neither is given."""
        rate = self.rate_limit
        if rate.requests_per_minute is None and rate.delay_between_requests_ms is None:
            return 60.0 / DEFAULT_REQUESTS_PER_MINUTE
        per_minute = 60.0 / rate.requests_per_minute if rate.requests_per_minute else 0.0
        return max(per_minute, (rate.delay_between_requests_ms or 0.0) / 1000.0)

    def request_headers(self) -> dict[str, str]:
        """The headers to send to the source's own origin, authorisation included (secrets revealed)."""
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        if self.auth is not None and (token := os.environ.get(self.auth.token_env)):
            if self.auth.type == "basic" and ":" in token:
                token = b64encode(token.encode()).decode()
            headers["Authorization"] = f"{self.auth.type.capitalize()} {token}"
        return headers

    def request_cookies(self) -> dict[str, str]:
        """The cookies to send to the source's own origin (secrets revealed)."""
        return {name: value.get_secret_value() for name, value in self.cookies.items()}

    def redacted(self) -> dict[str, Any]:
        """The configuration as plain data for people: secrets masked, harmless headers shown."""
        shown: dict[str, Any] = self.model_dump(mode="json", exclude_unset=True)
        for name, value in self.headers.items():
            if not is_secret_header(name):
                shown["headers"][name] = value.get_secret_value()
        return shown

    def extract_rules(self) -> ExtractRules | None:
        """The configuration's share of extraction, or None where it says nothing about it."""
        index, rules = self.index, self.rules
        said = (index.items_path, index.link_selector, index.link_pattern, index.url_template)
        if not (rules.detail or rules.card or any(said) or self.pagination.next_selector):
            return None
        from fill_pipeline.extract import rules as own  # most sources have none, and who fetches reads no page

        return own.ExtractRules(
            detail={name: own.Rule(**rule.model_dump()) for name, rule in rules.detail.items()},
            card={name: own.Rule(**rule.model_dump()) for name, rule in rules.card.items()},
            items_path=index.items_path,
            link_selector=index.link_selector,
            link_pattern=index.link_pattern,
            url_template=index.url_template,
            next_selector=self.pagination.next_selector,
        )

    def source_rules(self) -> tuple[SourceRule, ...]:
        """What the configuration says its values are like."""
        if not (self.ranges or self.formats or self.min_confidence):
            return ()
        from fill_pipeline.vehicles import source_rules as own  # as above

        return tuple(
            own.SourceRule(kind, name, value)
            for kind in own.RuleKind
            for name, value in getattr(self, kind.section).items()
        )


class SourceDeclaration(_Strict):
    """One source as a YAML file declares it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$")]
    kind: SourceKind
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s/?#]+[^\s]*$", max_length=2000), AfterValidator(_page_url)]
    active: bool = True
    config: SourceConfig = SourceConfig()
    note: str | None = None
    expected_count: Annotated[int, Field(ge=0)] | None = None
    asset_group: Annotated[str, Field(min_length=1, max_length=100)] | None = None


def parse_source_config(data: dict[str, Any] | str | bytes) -> SourceConfig:
    """Check a configuration given as data or as JSON text; raises ConfigError naming each bad field."""
    if isinstance(data, str | bytes):
        try:
            data = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise ConfigError([f"config: is not JSON: {error}"]) from None
    if not isinstance(data, dict):
        raise ConfigError([f"config: {in_short(data)} is not an object; write {{}} for the defaults"])
    try:
        return SourceConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError([problem_line(detail, data, SourceConfig) for detail in error.errors()]) from None


def problem_line(detail: ErrorDetails, data: object, model: type[BaseModel]) -> str:
    """One problem as 'field.path: value what is allowed'."""
    location = [part for part in detail["loc"] if part != "[key]"]
    path = ".".join(str(part) for part in location) or "source"
    of_key = "[key]" in detail["loc"]
    value = location[-1] if of_key else _value_at(data, location)
    secret = any(part in ("headers", "cookies", "auth") for part in location) and not of_key
    shown = "the value given" if secret else in_short(value)
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = _allowed_keys(model, location[:-1])
        known = f"; known are {', '.join(allowed)}" if allowed else ""
        return f"{path}: is not a known key{known}"
    if kind in ("enum", "literal_error"):
        allowed_text = re.sub(
            r"'| or ", lambda m: ", " if m.group() == " or " else "", str(context.get("expected", ""))
        )
        return f"{path}: {shown} is not one of {allowed_text}"
    if kind == "missing":
        return f"{path}: is missing"
    if kind == "value_error":
        return f"{path}: {shown} {context.get('error', detail['msg'])}"
    return f"{path}: {shown} is not accepted: {detail['msg'][:1].lower()}{detail['msg'][1:]}"


def _value_at(data: object, location: list[str | int]) -> object:
    for part in location:
        if isinstance(data, dict):
            data = data.get(part, part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return part
    return data


def _allowed_keys(model: type[BaseModel], location: list[str | int]) -> list[str]:
    """The keys the model at this place takes, or none where it is no model of ours."""
    here: object = model
    for part in location:
        if _is_model(here):
            known = here.model_fields.get(str(part))
            here = known.annotation if known is not None else None
        else:  # a mapping or list: its values are what its last type argument says
            here = getattr(here, "__args__", (None,))[-1]
        here = next((inner for inner in getattr(here, "__args__", ()) if _is_model(inner) and _is_union(here)), here)
    return list(here.model_fields) if _is_model(here) else []


def _is_union(annotation: object) -> bool:
    return type(None) in getattr(annotation, "__args__", ())


def _is_model(candidate: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def in_short(value: object) -> str:
    """A value as it stands in a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
