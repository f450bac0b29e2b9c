"""The schema is brought to its newest revision, and that costs nothing where it is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

import fill_pipeline.db
from fill_pipeline.db.connect import Connection
from fill_pipeline.db.migrate import NewerSchemaError, migrate


def test_the_newest_revision_is_the_one_the_chain_of_migrations_ends_in(database_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(fill_pipeline.db.__file__).parent / "migrations"))
    assert migrate(database_url) == ScriptDirectory.from_config(config).get_current_head()


def test_a_schema_that_is_up_to_date_needs_no_alembic(database_url: str) -> None:
    code = (
        "import sys\nfrom fill_pipeline.db.migrate import migrate\n"
        f"migrate({database_url!r})\n"
        "sys.exit(', '.join({'alembic', 'sqlalchemy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_schema_of_a_later_version_is_left_alone_and_named(conn: Connection, database_url: str) -> None:
    newest = migrate(database_url)
    conn.execute("UPDATE fill_schema_version SET version_num = '9999'")
    try:
        with pytest.raises(NewerSchemaError, match=f"schema 9999.*knows {newest}"):
            migrate(database_url)
    finally:
        conn.execute("UPDATE fill_schema_version SET version_num = %s", [newest])
