"""Telling a wall from a page: bot challenges and login forms that come with status 200."""

from __future__ import annotations

import re

_HEAD_BYTES = 30_000
# Marks that stand only on the challenge pages of the large bot walls, never on the pages behind them.
_MARKS: tuple[tuple[bytes, str], ...] = (
    (b"cf-challenge", "bot challenge"),
    (b"cf_chl_opt", "bot challenge"),
    (b"/cdn-cgi/challenge-platform/h/b/orchestrate", "bot challenge"),
    (b"_incapsula_resource", "bot challenge"),
    (b"px-captcha", "captcha"),
    (b"captcha-delivery.com", "captcha"),
    (b"awswaf.com", "bot challenge"),
    (b"sec-if-cpt-container", "bot challenge"),
    (b"distil_r_captcha", "captcha"),
)
_TITLE = re.compile(rb"<title[^<>]{0,200}>([^<]{0,300})", re.IGNORECASE)
_WALL_TITLE = re.compile(
    rb"just a moment|attention required|access (?:to this page has been )?denied|are you (?:a )?(?:human|robot)|"
    rb"verify (?:that )?you(?:'| a)re (?:a )?human|human verification|security check|robot check|captcha|"
    rb"pardon our interruption|request unsuccessful|unusual traffic|bot detection|zugriff verweigert",
    re.IGNORECASE,
)
_LOGIN_TITLE = re.compile(
    rb"^\s*(?:please )?(?:log|sign)[ -]?in\b|\b(?:login|sign in) (?:required|to continue)|anmelden", re.I
)
_PASSWORD_FIELD = re.compile(rb"type\s*=\s*[\"']?password", re.IGNORECASE)


def challenge(body: bytes) -> str | None:
    """What wall this page is, in words, or None for an ordinary page. Looks at the first 30 KB only."""
    head = body[:_HEAD_BYTES]
    lowered = head.lower()
    if b"<" not in lowered[:1000]:
        return None
    for mark, words in _MARKS:
        if mark in lowered:
            return words
    title = _TITLE.search(head)
    if title is None:
        return None
    if _WALL_TITLE.search(title[1]):
        return "bot challenge"
    if _LOGIN_TITLE.search(title[1]) and _PASSWORD_FIELD.search(head):
        return "login page"
    return None
