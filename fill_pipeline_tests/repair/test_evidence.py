"""What counts as known of a page, and what each kind of trouble is called from its evidence alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fill_pipeline.crawl.response import FailureCategory, FetchRequest, FetchResponse
from fill_pipeline.db.improvement import KnownListing
from fill_pipeline.repair.ask import FreshPage
from fill_pipeline.repair.cause import Cause
from fill_pipeline.repair.diagnose import Checkup, diagnose
from fill_pipeline.repair.trial_harvest import TrialHarvest
from fill_pipeline.repair.truth import Score, Witness, witness

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BASE = "https://cars.test"


def page(
    path: str, *, failure: FailureCategory | None = None, error: str = "", led_to: str = "", status: int = 200
) -> FreshPage:
    url = BASE + path
    response = FetchResponse(request=FetchRequest(url=url), status=status, final_url=led_to or url)
    return FreshPage(url, response, body=path.encode(), failure=failure, error=error)


def checkup(**parts: Any) -> Checkup:
    return Checkup(BASE, **parts)


def failing(category: FailureCategory, error: str = "", status: int = 200) -> Checkup:
    return checkup(index=[page("/", failure=category, error=error, status=status)])


def scored(right: int, missing: int, witnesses: int = 6) -> dict[str, Any]:
    pages = [page(f"/{n}") for n in range(witnesses)]
    known = [Witness(one.url, b"", "") for one in pages]
    return {"details": pages, "witnesses": known, "score": Score(right=right, missing=missing)}


def found(n: int, *, empty: bool = False) -> TrialHarvest:
    return TrialHarvest({}, urls=[f"{BASE}/{i}" for i in range(n)], says_empty=empty)


def mixed(right: int, *failures: FailureCategory) -> Checkup:
    seen = checkup(**scored(8 * right, 0, witnesses=right))
    seen.details += [page(f"/x{n}", failure=why, error="HTTP status 403") for n, why in enumerate(failures)]
    return seen


SAME = [FreshPage(f"{BASE}/{n}", page("/x").response, body=b"sorry") for n in range(4)]
CASES: list[tuple[Cause, Checkup]] = [
    (Cause.BLOCKED, failing(FailureCategory.BLOCKED, "HTTP status 403")),
    (Cause.LOGIN, failing(FailureCategory.BLOCKED, "login page")),
    (Cause.CAPTCHA, failing(FailureCategory.BLOCKED, "captcha")),
    (Cause.THROTTLED, failing(FailureCategory.THROTTLED, "HTTP status 429", 429)),
    (Cause.UNREACHABLE, failing(FailureCategory.THROTTLED, "HTTP status 503", 503)),
    (Cause.UNREACHABLE, failing(FailureCategory.CONNECT, "refused")),
    (Cause.UNREACHABLE, failing(FailureCategory.DECODE, "not a gzipped file")),
    (Cause.GONE, failing(FailureCategory.GONE, "HTTP status 404")),
    (Cause.ROBOTS, failing(FailureCategory.ROBOTS)),
    (Cause.OURS, failing(FailureCategory.BAD_URL)),
    (Cause.MOVED, checkup(index=[page("/", led_to="https://other.test/")])),
    (Cause.SOFT_404, checkup(details=SAME)),
    (Cause.REDESIGNED, checkup(**scored(40, 10))),
    (Cause.REDESIGNED, checkup(index=[page("/")], harvest=found(0), relearned=found(9))),
    (Cause.EMPTY, checkup(index=[page("/")], harvest=found(0, empty=True))),
    (Cause.EMPTY, checkup(index=[page("/")], harvest=found(0), ended=28)),
    (Cause.UNKNOWN, checkup(index=[page("/")], harvest=found(0))),
    (Cause.UNKNOWN, checkup(index=[page("/")], harvest=found(0), ended=28, known_listings=3)),
    (Cause.UNKNOWN, checkup()),
    (Cause.WELL, checkup(**scored(50, 0))),
    (Cause.BLOCKED, mixed(2, *[FailureCategory.BLOCKED] * 3)),
    (Cause.WELL, mixed(4, *[FailureCategory.BLOCKED] * 2)),
    (Cause.WELL, mixed(3, *[FailureCategory.GONE] * 5)),
    (Cause.WELL, checkup(**scored(19, 1, witnesses=2))),
]


@pytest.mark.parametrize(("cause", "seen"), CASES)
def test_each_trouble_is_named_from_what_the_source_answered(cause: Cause, seen: Checkup) -> None:
    told = diagnose(seen)
    assert told.cause is cause, told.reason
    assert told.reason


def test_what_failed_before_names_a_source_that_may_not_be_asked_now() -> None:
    assert diagnose(checkup(failures={"blocked": 3, "timeout": 1})).cause is Cause.BLOCKED
    assert diagnose(checkup(failures={"timeout": 2})).cause is Cause.UNREACHABLE
    asked_for_less, overloaded = "it asked us to slow down (HTTP 429)", "it asked us to slow down (HTTP 503)"
    assert diagnose(checkup(failures={"throttled": 1}, hold_reason=asked_for_less)).cause is Cause.THROTTLED
    assert diagnose(checkup(failures={"throttled": 1}, hold_reason=overloaded)).cause is Cause.UNREACHABLE


@pytest.mark.parametrize(
    ("markup", "known"),
    [
        ("<b>$9,450</b>", True),
        ("<b>$8,900</b> <del>$9,450</del>", False),
        ("<b>$8,900</b> <s class='x'>was $9,450</s>", False),
        ('<b>$8,900</b> <span class="price price--old">$9,450</span>', False),
        ('<b>$9,450</b> <span class="price price--old">$9,990</span>', True),
        ("<b>$8,900</b>", False),
    ],
)
def test_a_price_that_a_page_strikes_out_is_not_what_it_asks(markup: str, known: bool) -> None:
    body = f"<html><body><h1>2015 Ford Focus SE</h1>{markup}</body></html>".encode()
    values = {"title": "2015 Ford Focus SE", "price": 9450}
    told = witness(f"{BASE}/1", body, "text/html", KnownListing(f"{BASE}/1", "1", values, {}, None, NOW), now=NOW)
    assert ("price" in told.truth) is known
