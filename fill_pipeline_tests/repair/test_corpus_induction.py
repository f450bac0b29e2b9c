"""Rules learned from half of a real site's pages read the other half."""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_rules_learned_from_half_of_a_real_sites_pages_read_the_other_half(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from drill_corpus import learn_site

    details = learn_site(corpus, "swde-aol", "detail")
    assert {"year", "make", "model", "price"} <= set(details.fields)
    assert (details.score.precision, details.score.f1) == (1.0, 1.0)
    assert details.score.compared >= 20
    cards = learn_site(corpus, "kijiji-autos", "search")
    assert {"price", "mileage"} <= set(cards.fields)
    assert cards.score.precision == 1.0
    assert cards.score.f1 >= 0.95
