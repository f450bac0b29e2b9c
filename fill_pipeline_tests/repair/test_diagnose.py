"""What pages say is wrong with a source: what was sold is not gone, and one stale price is no redesign."""

from __future__ import annotations

import pytest

from fill_pipeline.crawl.response import FailureCategory
from fill_pipeline.repair.ask import FreshPage
from fill_pipeline.repair.cause import Cause
from fill_pipeline.repair.diagnose import Checkup, diagnose
from fill_pipeline.repair.trial_harvest import TrialHarvest
from fill_pipeline.repair.truth import Score, Witness

BASE = "http://dealer.test"


def gone(number: int) -> FreshPage:
    return FreshPage(f"{BASE}/car/{number}", failure=FailureCategory.GONE, error="HTTP status 410")


def came(path: str) -> FreshPage:
    return FreshPage(f"{BASE}{path}", body=path.encode())


def looked(listed: list[int], asked: list[FreshPage]) -> Checkup:
    index = came("/inventory")
    harvest = TrialHarvest({}, urls=[f"{BASE}/car/{number}" for number in listed], pages=[index])
    return Checkup(BASE, index=[index], details=asked, harvest=harvest, known_listings=len(asked))


@pytest.mark.parametrize(
    ("listed", "cause"),
    [
        ([7, 8], Cause.WELL),  # the three were sold, and two others stand there
        ([], Cause.GONE),  # it lists nothing, and does not say so
        ([1, 7], Cause.GONE),  # one of them is still listed
    ],
)
def test_what_was_sold_is_not_gone_where_the_index_lists_others(listed: list[int], cause: Cause) -> None:
    assert diagnose(looked(listed, [gone(1), gone(2), gone(3)])).cause is cause


@pytest.mark.parametrize(
    ("witnesses", "right", "wrong", "broken"), [(1, 5, 1, False), (1, 1, 4, True), (3, 15, 3, True), (3, 18, 0, False)]
)
def test_one_stale_price_on_one_page_is_no_redesign(witnesses: int, right: int, wrong: int, broken: bool) -> None:
    seen = looked([1, 2, 3], [came(f"/car/{number}") for number in range(1, witnesses + 1)])
    seen.witnesses = [Witness(page.url, page.body, "text/html") for page in seen.details]
    seen.score = Score(right, wrong)
    assert (diagnose(seen).cause is Cause.REDESIGNED) is broken
