"""One definition of a rule, two evaluators that agree, and an engine that keeps to itself."""

from __future__ import annotations

import random
import socket
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fill_pipeline.quality import suites
from fill_pipeline.quality.engine import MOST_SHOWN, check
from fill_pipeline.quality.expectations import Expectation, Kind, Severity, Suite, evaluate
from fill_pipeline.settings import Settings

WORDS = ("honda", "HONDA", "", "1HGCV1F30KA000018", "I" * 17, "ok\n", "ein sehr langes Wort")
KNOBS = Settings(gate_tolerance=0.3, accuracy_target=0.8)
SUITE = Suite(
    "all",
    (
        *suites.batch_suite(KNOBS, 2025).expectations,
        *(
            replace(one, name=f"vehicles_{one.name}")
            for one in suites.vehicles_suite(KNOBS, 2025).expectations
            if one.name in ("vin_format", "fuel_type_terms", "price_kinds", "completeness_price")
        ),
    ),
)


def values_for(one: Expectation, rng: random.Random) -> Any:
    """A value of the right type for an expectation's column, about as often right as wrong."""
    match one.kind:
        case Kind.BETWEEN:
            edges = [one.low, one.high]
            return rng.choice([*(e for e in edges if e is not None), rng.randint(-5, 9_000_000), rng.random() * 3000])
        case Kind.IN_SET:
            return rng.choice([*one.allowed, *((False,) if one.allowed == (True,) else ("nonsense",))])
        case Kind.UNIQUE if one.column == "offer":
            return "Honda", "Civic", rng.randint(2018, 2021), rng.choice([9_000, 9_500]), 12_000
        case _:
            return rng.choice(WORDS)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(rows=st.integers(0, 60), gaps=st.sampled_from((0.0, 0.2, 1.0)), seed=st.integers(0, 10_000))
def test_great_expectations_and_the_gate_say_the_same_of_every_batch(rows: int, gaps: float, seed: int) -> None:
    rng = random.Random(seed)
    about = {one.column: one for one in SUITE.expectations}  # the last is the one that asks for a type
    columns = {
        name: [None if rng.random() < gaps else values_for(one, rng) for _ in range(rows)]
        for name, one in about.items()
    }
    light, heavy = evaluate(SUITE, columns), check(SUITE, columns)
    for ours, theirs in zip(light, heavy, strict=True):
        assert theirs.error is None, theirs
        assert (ours.success, len(ours.unexpected)) == (theirs.success, theirs.unexpected), theirs
        considers_all = ours.expectation.kind in (Kind.FILLED, Kind.EMPTY)
        assert ours.considered == (rows if considers_all else theirs.elements - theirs.missing), theirs
        assert tuple(ours.unexpected[:MOST_SHOWN]) == theirs.positions[:MOST_SHOWN], theirs


def test_every_expectation_has_a_name_of_its_own_and_severities_are_great_expectations_own() -> None:
    knobs = Settings()
    found = [
        one
        for suite in (
            suites.vehicles_suite(knobs, 2025),
            suites.fields_suite(knobs),
            suites.sources_suite(knobs),
            suites.figures_suite(knobs),
        )
        for one in suite.expectations
    ]
    assert len({one.name for one in found}) == len(found)
    assert {one.severity for one in suites.batch_suite(knobs, 2025).expectations} == {Severity.ERROR}


def test_the_engine_opens_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def refuse(*where: Any, **_how: Any) -> None:
        opened.append(where)
        raise OSError("no network in a check")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    (found,) = check(Suite("one", (Expectation("x", "", Kind.FILLED, "a", Severity.WARN),)), {"a": [1, None]})
    assert not found.success
    assert opened == []
    assert not [name for name in sys.modules if name.split(".")[0] in ("posthog", "segment")]


def test_what_is_shown_of_hostile_values_is_short_printable_and_plain() -> None:
    hostile = ["<script>alert(1)</script>" * 50, "\x1b[31mred\x00", "a|b`c`", *("x" * n for n in range(1, 40))]
    (found,) = check(
        Suite("one", (Expectation("x", "", Kind.IN_SET, "a", Severity.ERROR, allowed=("fine",)),)), {"a": hostile}
    )
    assert found.unexpected == len(hostile)
    assert len(found.unexpected_values) == MOST_SHOWN
    for value in found.unexpected_values:
        assert len(value) <= 60
        assert value.isprintable()
        assert not set(value) & set("<>`|")


def test_an_expectation_that_cannot_be_evaluated_is_not_met_and_says_why() -> None:
    (found,) = check(
        Suite("one", (Expectation("x", "", Kind.BETWEEN, "a", Severity.ERROR, low=1, high=2),)), {"a": ["word", 1]}
    )
    assert not found.success
    assert found.error
