"""Every SQL statement of the user's two documents works on a migrated database."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from fill_pipeline.db.connect import Connection

PLACEHOLDERS = {"'xyz-...'": "'00000000-0000-0000-0000-000000000001'"}
"""The documents abbreviate an id where a real statement needs one."""


def statements(spec: Path) -> list[str]:
    found = []
    for document in sorted(spec.glob("*.md")):
        for block in re.findall(r"```sql\n(.*?)```", document.read_text(), re.DOTALL):
            if "→" in block:  # a drawing of a foreign key, not a statement
                continue
            without_comments = re.sub(r"--[^\n]*", "", block)
            found += [s.strip() for s in without_comments.split(";") if s.strip()]
    for short, whole in PLACEHOLDERS.items():
        found = [s.replace(short, whole) for s in found]
    return found


@pytest.fixture
def rows(conn: Connection) -> Connection:
    """A database with a row or two in each table that the documents query."""
    conn.execute(
        "INSERT INTO sources (name, base_url, config) VALUES ('offerup', 'https://offerup.com', %s)",
        [Jsonb({"rate_limit": {"requests_per_minute": 10}})],
    )
    conn.execute(
        "INSERT INTO offerup_searches (id, name, params) VALUES "
        '(\'00000000-0000-0000-0000-000000000001\', \'LA Civics\', \'{"make": "Honda", "model": "Civic"}\')'
    )
    for status, started, finished, created in (
        ("pending", None, None, "0 s"),
        ("running", "0 s", None, "1 s"),
        ("error", "1 h", "0 s", "2 h"),
        ("finished", "1 h", "0 s", "2 h"),
    ):
        conn.execute(
            "INSERT INTO offerup_jobs (search_id, status, started_at, finished_at, created_at) VALUES "
            "('00000000-0000-0000-0000-000000000001', %s, "
            "now() - %s::interval, now() - %s::interval, now() - %s::interval)",
            [status, started, finished, created],
        )
    conn.execute(
        "INSERT INTO deal_finder_jobs (status, started_at, finished_at, result) "
        "VALUES ('finished', now() - interval '1 min', now(), %s)",
        [Jsonb({"deals_found": 12, "avg_profit": 2300, "oracle_calls": 150})],
    )
    return conn


def test_every_query_and_update_of_the_documents_runs_and_finds_its_rows(spec: Path, rows: Connection) -> None:
    found = [s for s in statements(spec) if not s.upper().startswith("CREATE TABLE")]
    assert len(found) >= 9
    for statement in found:
        cursor = rows.execute(statement)  # type: ignore[call-overload]
        assert cursor.rowcount > 0, statement


def test_every_table_of_the_documents_has_their_columns_with_their_types(spec: Path, conn: Connection) -> None:
    creates = [s for s in statements(spec) if s.upper().startswith("CREATE TABLE")]
    assert {re.search(r"TABLE (\w+)", s).group(1) for s in creates} == {  # type: ignore[union-attr]
        "fill_cycles",
        "source_health",
        "quality_metrics",
    }
    conn.execute(
        "DROP SCHEMA IF EXISTS as_written CASCADE; CREATE SCHEMA as_written; SET search_path = as_written, public"
    )
    try:
        for statement in creates:
            conn.execute(statement)  # type: ignore[call-overload]
        differing = conn.execute(
            "SELECT w.table_name, w.column_name, w.data_type, o.data_type FROM information_schema.columns w "
            "LEFT JOIN information_schema.columns o ON o.table_schema = 'public' AND o.table_name = w.table_name "
            "AND o.column_name = w.column_name AND o.data_type = w.data_type "
            "WHERE w.table_schema = 'as_written' AND o.column_name IS NULL"
        ).fetchall()
        assert differing == []
    finally:
        conn.execute("DROP SCHEMA as_written CASCADE; RESET search_path")


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("sources", "id name base_url config active created_at"),
        ("scrape_sources", "id name base_url config active created_at"),
        ("offerup_searches", "id name params active schedule created_at"),
        ("offerup_jobs", "id search_id status result error_message run_now started_at finished_at created_at"),
        ("deal_finder_jobs", "id status result error_message run_now started_at finished_at"),
        ("arbitrage_valuations", "listing_id valuation_data projected_profit"),
        (
            "listings",
            "source remote_id remote_slug url title price mileage first_seen_at last_seen_at seen_count is_new status",
        ),
        (
            "import_queue",
            "source_id listing_url hint status priority attempts failure_category error_message listing_id",
        ),
    ],
)
def test_every_other_table_answers_with_the_columns_promised(conn: Connection, table: str, columns: str) -> None:
    names = sql.SQL(", ").join(sql.Identifier(name) for name in columns.split())
    conn.execute(sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(table)))


def test_sources_is_an_updatable_view_of_scrape_sources(conn: Connection) -> None:
    conn.execute("INSERT INTO sources (name, base_url) VALUES ('a', 'https://a.example')")
    conn.execute("UPDATE sources SET active = false WHERE name = 'a'")
    assert conn.execute("SELECT name, active FROM scrape_sources").fetchall() == [("a", False)]
    conn.execute("DELETE FROM sources")
    assert conn.execute("SELECT count(*) FROM scrape_sources").fetchone() == (0,)
