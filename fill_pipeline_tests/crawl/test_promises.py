"""What the documentation promises has the tests it names."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "politeness-and-safety.md"
ROW = re.compile(r"^\| (?!promise|---)(.+?) \| (.+) \|$", re.MULTILINE)


def test_every_promise_names_tests_that_are_there() -> None:
    rows = ROW.findall(DOCUMENT.read_text())
    assert len(rows) > 30
    for promise, named in rows:
        tests = re.findall(r"`([\w/]+\.py)::(\w+)`", named)
        assert tests, promise
        for file, name in tests:
            assert re.search(rf"^def {name}\(", (TESTS / file).read_text(), re.MULTILINE), (promise, file, name)
