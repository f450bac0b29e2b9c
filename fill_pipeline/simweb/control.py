"""The control API on control.localhost: what is true, what was asked, and everything that can be changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson

from . import records
from .app import App
from .connection import Request
from .design import MIXED, Aspect
from .faults import Faults
from .page import JSON, Page
from .sites import Site
from .wording import iso

Body = dict[str, Any]
_BLOCKS = ("403", "captcha", "login")
_LIES = ("content-length", "content-type", "encoding", "etag")


class BadRequest(Exception):
    """The request asks for something the control API does not know."""


def control(app: App, request: Request) -> Page:
    """Answers a request to the control host."""
    path, _, query = request.target.partition("?")
    try:
        if request.method == "POST":
            answer = _post(app, path.strip("/"), _body(request))
        else:
            answer = _get(app, path, dict(parse_qsl(query)))
    except BadRequest as error:
        return Page.text(orjson.dumps({"error": str(error)}), JSON, 400)
    return Page.text(orjson.dumps(answer), JSON)


def _get(app: App, path: str, query: dict[str, str]) -> object:
    world = app.world
    match path:
        case "/" | "/sites":
            return [_site_record(app, site) for site in world.sites.values()]
        case "/truth":
            sites = [_site(app, query)] if "slug" in query else [s for s in world.sites.values() if s.open]
            return [
                {"slug": site.slug} | records.truth_record(ad, world.now, app.base_url(site))
                for site in sites
                for ad in world.live(site)
            ]
        case "/log":
            since, slug = float(_number(query, "since", 0.0)), query.get("slug")
            entries = (e for e in app.log if e.monotonic > since and (slug is None or e.slug == slug))
            return [entry._asdict() for entry in entries]
        case "/stats":
            return app.stats() | {"now": iso(world.now)}
        case "/clock":
            return {"now": iso(world.now)}
    raise BadRequest(f"nothing at {path}; there are /sites /truth /log /stats /clock")


def _post(app: App, action: str, body: Body) -> object:
    if action == "clock":
        return _clock(app, body)
    if action == "reset":
        app.world.reset()
        app.router.forget()
        app.log.clear()
        return {"now": iso(app.world.now)}
    if action == "open":
        site = app.world.open_site(str(body.get("slug") or body.get("kind") or ""))
        if site is None:
            raise BadRequest("open: slug or kind names no site and no kind of site")
        return _site_record(app, site)
    if action not in _ACTIONS:
        raise BadRequest(f"no action {action!r}; there are {' '.join(sorted(_ACTIONS))} clock open reset")
    site = _site(app, body)
    _ACTIONS[action](app, site, body)
    return _site_record(app, site)


def _clock(app: App, body: Body) -> object:
    if "advance_seconds" in body:
        app.world.set_time(app.world.now + int(_number(body, "advance_seconds", 0)))
    elif "now" in body:
        try:
            moment = datetime.fromisoformat(str(body["now"]))
        except ValueError as error:
            raise BadRequest(f"clock: now is no ISO 8601 time: {error}") from None
        app.world.set_time(int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))
    else:
        raise BadRequest("clock: give advance_seconds or now")
    return {"now": iso(app.world.now)}


def _redesign(app: App, site: Site, body: Body) -> None:
    """Changes aspects joined by "+"; "mix" are five of them, "bare" takes structured data away."""
    modes = str(body.get("mode", "mix")).split("+")
    known = ("mix", "bare", *Aspect)
    if not set(modes) <= set(known):
        raise BadRequest(f"redesign: mode {'+'.join(modes)!r} is none of {' '.join(known)}, or some joined by +")
    chosen = [*(MIXED if "mix" in modes else ()), *(Aspect(mode) for mode in modes if mode in tuple(Aspect))]
    bare = "mix" in modes or "bare" in modes
    site.design = site.design.changed(chosen, int(_number(body, "seed", 0)), drop_structured=bare)
    site.revision += 1


def _throttle(app: App, site: Site, body: Body) -> None:
    site.faults.throttle_rps = _number(body, "rps", 1.0)
    site.faults.retry_after = _number(body, "retry_after", 1.0)
    site.faults.retry_format = _choice(body, "format", ("seconds", "date"))


def _block(app: App, site: Site, body: Body) -> None:
    site.faults.block = _choice(body, "style", _BLOCKS)


def _fail(app: App, site: Site, body: Body) -> None:
    site.faults.fail_status = int(_number(body, "status", 500))
    site.faults.fail_rate = _number(body, "rate", 1.0)


def _hang(app: App, site: Site, body: Body) -> None:
    site.faults.hang = _number(body, "seconds", 30.0)


def _slow(app: App, site: Site, body: Body) -> None:
    site.faults.slow = _number(body, "bytes_per_second", 100.0)


def _lie(app: App, site: Site, body: Body) -> None:
    site.faults.lie = _choice(body, "header", _LIES)


def _redirect_to(app: App, site: Site, body: Body) -> None:
    url = str(body.get("url", ""))
    if not url or any(c in url for c in "\r\n"):
        raise BadRequest("redirect_to: give a url")
    site.faults.redirect_to = url


def _robots(app: App, site: Site, body: Body) -> None:
    site.faults.robots_body = str(body.get("body", ""))
    site.faults.robots_status = int(_number(body, "status", 200))
    site.faults.robots_hang = _number(body, "hang", 0.0)
    site.faults.robots_redirect = str(body.get("redirect", ""))


def _move(app: App, site: Site, body: Body) -> None:
    host = str(body.get("to", "")).removesuffix(".localhost")
    if not host.replace("-", "").isalnum() or app.world.hosts.get(host, site) is not site:
        raise BadRequest(f"move: {host!r} is no free host label")
    app.world.move(site, host)


def _sell(app: App, site: Site, body: Body) -> None:
    ad = app.world.find(site, int(_number(body, "remote_id", 0)))
    if ad is None:
        raise BadRequest(f"sell: {site.slug} has no ad {body.get('remote_id')!r}")
    app.world.sell(ad)


def _price(app: App, site: Site, body: Body) -> None:
    ad = app.world.find(site, int(_number(body, "remote_id", 0)))
    if ad is None:
        raise BadRequest(f"price: {site.slug} has no ad {body.get('remote_id')!r}")
    app.world.set_price(ad, int(_number(body, "price", 0)))


def _heal(app: App, site: Site, body: Body) -> None:
    site.faults = Faults()


def _switch(name: str) -> Callable[[App, Site, Body], None]:
    """An action that turns one fault on, or off with {"on": false}."""

    def act(app: App, site: Site, body: Body) -> None:
        setattr(site.faults, name, bool(body.get("on", True)))

    return act


_ACTIONS: dict[str, Callable[[App, Site, Body], None]] = {
    "redesign": _redesign,
    "throttle": _throttle,
    "block": _block,
    "fail": _fail,
    "hang": _hang,
    "slow": _slow,
    "lie": _lie,
    "redirect_to": _redirect_to,
    "robots": _robots,
    "move": _move,
    "sell": _sell,
    "price": _price,
    "heal": _heal,
    "truncate": _switch("truncate"),
    "bomb": _switch("bomb"),
    "endless": _switch("endless"),
    "redirect_loop": _switch("redirect_loop"),
    "soft404": _switch("soft404"),
    "empty": _switch("empty"),
    "close": _switch("closed"),
}


def _site(app: App, body: Body) -> Site:
    site = app.world.sites.get(str(body.get("slug", "")))
    if site is None:
        raise BadRequest(f"no site with slug {body.get('slug')!r}")
    return site


def _site_record(app: App, site: Site) -> dict[str, Any]:
    return records.site_record(app.world, site, app.base_url(site))


def _body(request: Request) -> Body:
    try:
        body = orjson.loads(request.body or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def _number(body: Body, name: str, default: float) -> float:
    try:
        return float(body.get(name, default))
    except (TypeError, ValueError):
        raise BadRequest(f"{name}: {body.get(name)!r} is no number") from None


def _choice(body: Body, name: str, allowed: tuple[str, ...]) -> str:
    value = str(body.get(name, allowed[0]))
    if value not in allowed:
        raise BadRequest(f"{name}: {value!r} is none of {' '.join(allowed)}")
    return value
