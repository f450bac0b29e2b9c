"""What a proposed rule is judged by."""

from __future__ import annotations

from datetime import UTC, datetime

from fill_pipeline.drain.page import Reading
from fill_pipeline.extract.rules import ExtractRules, Rule
from fill_pipeline.repair.truth import Score, Witness, score

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PAGES = [
    Witness(
        f"http://cars.test/car/{n}",
        f"<html><h1>2015 Ford Focus</h1><p>Price: $9,{n}00</p><p>Strolled</p><p>4{n},250</p><p>7{n},125</p>".encode(),
        "text/html",
        {"model": "Fiesta" if n == 3 else "Focus", "mileage": 40_250 + 1000 * n},
    )
    for n in range(1, 8)
]


def scored(**rules: Rule) -> Score:
    reading = Reading("cars", ExtractRules(detail=rules), 0.3, ("make", "model", "year", "price", "mileage"))
    return score(PAGES, reading, now=NOW)


def test_a_rule_answers_for_what_it_changes_and_not_for_what_was_misread_just_so_before() -> None:
    before = scored()
    after = scored(mileage=Rule(css='p:lexbor-contains("Strolled") + p'))
    assert before.by_field == {"model": [6, 1, 0], "mileage": [0, 0, 7]}
    assert after.by_field == {"model": [6, 1, 0], "mileage": [7, 0, 0]}
    assert (after.precision < 1.0, after.precision_beside(before)) == (True, 1.0)


def test_a_rule_answers_for_what_it_misreads_where_nothing_or_something_else_was_read_before() -> None:
    before = scored()
    wrong = scored(mileage=Rule(css='p:lexbor-contains("Strolled") + p + p'))
    other = scored(model=Rule(css="h1", regex="(Ford)"))
    assert wrong.precision_beside(before) == 6 / 13
    assert other.precision_beside(before) < 0.5
