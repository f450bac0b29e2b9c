"""Damage done to pages: what hostile servers, broken proxies and careless templates do, at random from a seed."""

from __future__ import annotations

import random


def mutate(page: bytes, chance: random.Random) -> bytes:
    """The page after one to three kinds of damage."""
    for _ in range(chance.randint(1, 3)):
        page = chance.choice(_DAMAGE)(page, chance)
    return page[:8_000_000]


def _truncate(page: bytes, chance: random.Random) -> bytes:
    return page[: chance.randint(0, len(page))]


def _behead(page: bytes, chance: random.Random) -> bytes:
    return page[chance.randint(0, len(page)) :]


def _shuffle(page: bytes, chance: random.Random) -> bytes:
    parts = page.split(b"<")
    chance.shuffle(parts)
    return b"<".join(parts)


def _repeat(page: bytes, chance: random.Random) -> bytes:
    return page * min(chance.randint(2, 12), max(1, 2_000_000 // (len(page) + 1)))


def _deepen(page: bytes, chance: random.Random) -> bytes:
    return chance.choice([b"<div>", b"<b>", b"<table><tr><td>", b"<ul><li>"]) * chance.randint(100, 20_000) + page


def _binary(page: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(page))
    return page[:at] + chance.randbytes(chance.randint(1, 2_000)) + page[at:]


def _recode(page: bytes, chance: random.Random) -> bytes:
    return page.decode("utf-8", "replace").encode(
        chance.choice(["utf-16", "utf-32", "cp1252", "cp500", "utf-7"]), "replace"
    )


def _drop_closings(page: bytes, chance: random.Random) -> bytes:
    return page.replace(chance.choice([b"</", b'"', b"'", b">", b"</script", b"}"]), b"")


def _swap(page: bytes, chance: random.Random) -> bytes:
    old, new = chance.choice(
        [(b"<div", b"<script"), (b"<", b"&lt;"), (b" ", b"\x00"), (b"{", b"["), (b",", b",,"), (b"1", b"99999")]
    )
    return page.replace(old, new)


def _stuff(page: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(page))
    word = chance.choice(
        [b"$1,000 ", b"<a href=/x/1>2019 Ford F-150</a>", b"A" * 100, b"1 mile ", b"Price: ", b"<h2>Similar</h2>"]
    )
    return page[:at] + word * chance.randint(1, 3_000) + page[at:]


_DAMAGE = (_truncate, _behead, _shuffle, _repeat, _deepen, _binary, _recode, _drop_closings, _swap, _stuff)
