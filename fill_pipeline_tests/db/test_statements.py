"""Statements in files are sent as they are written, with their parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from fill_pipeline.db.connect import Connection
from fill_pipeline.db.statements import Statements

_FILE = """
-- What this file is about: nothing.

-- name: words
-- Says :this to nobody.
SELECT ':word'::text, "a:b", :word::text FROM (SELECT 1 AS "a:b") t;

-- name: first^
SELECT n, 100 %% 7 FROM generate_series(1, 3) n ORDER BY n DESC;

-- name: none^
SELECT 1 WHERE false;

-- name: value$
SELECT array_length((:numbers)::int[], 1);

-- name: changed!
UPDATE kept SET n = n + :more;

-- name: prepare#
CREATE TEMP TABLE IF NOT EXISTS kept (n int);
INSERT INTO kept VALUES (1), (2);
"""


@pytest.fixture
def statements(tmp_path: Path) -> Statements:
    (tmp_path / "group.sql").write_text(_FILE)
    return Statements(tmp_path / "group.sql")


def test_parameters_are_told_from_casts_quotes_and_comments(statements: Statements, conn: Connection) -> None:
    assert list(statements.words(conn, word="said")) == [(":word", 1, "said")]


def test_the_sign_after_the_name_says_what_is_given(statements: Statements, conn: Connection) -> None:
    statements.prepare(conn)
    assert statements.changed(conn, more=5) == 2
    assert statements.first(conn) == (3, 2)
    assert statements.none(conn) is None
    assert statements.value(conn, numbers=[4, 5]) == 2


def test_a_statement_that_is_not_there_is_named(statements: Statements) -> None:
    with pytest.raises(AttributeError, match=r"group\.sql has no statement 'missing'"):
        _ = statements.missing
