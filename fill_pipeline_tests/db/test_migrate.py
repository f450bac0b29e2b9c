"""The schema is brought to its newest revision, and that costs nothing where it is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

import fill_pipeline.db
from fill_pipeline.db.migrate import migrate


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
