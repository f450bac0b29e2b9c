"""Bring a database to the newest schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict

from fill_pipeline.db.connect import connect
from fill_pipeline.db.server import DatabaseUnavailableError

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

VERSION_TABLE = "fill_schema_version"
_LOCK = 7_301_001
_MIGRATIONS = Path(__file__).parent / "migrations"


class NewerSchemaError(DatabaseUnavailableError):
    """The database is of a later version of the program."""


def migrate(url: str) -> str:
    """Apply every migration not yet applied and return the schema's revision; one process at a time does it.

    Raises:
        NewerSchemaError: the database was brought to a schema that this version of the program does not know.
    """
    newest = max(file.name.partition("_")[0] for file in _MIGRATIONS.glob("versions/[0-9]*_*.py"))
    has = _revision(url)
    if has is not None and has > newest:
        raise NewerSchemaError(
            f"the database has schema {has}, and this version of fill_pipeline knows {newest} at most: "
            "run a version at least as new as the one that was here before"
        )
    if has != newest:
        _upgrade(url)
    return newest


def _upgrade(url: str) -> None:
    # Alembic and SQLAlchemy are a quarter of what a command loads, and mostly there is nothing for them to do.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import text

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    engine = engine_for(url)
    try:
        with engine.connect() as conn:
            conn.execute(text("SELECT pg_advisory_lock(:k)"), {"k": _LOCK})
            try:
                config.attributes["connection"] = conn
                command.upgrade(config, "head")
                conn.commit()
            finally:
                conn.execute(text("SELECT pg_advisory_unlock(:k)"), {"k": _LOCK})
                conn.commit()
    finally:
        engine.dispose()


def engine_for(url: str) -> Engine:
    """A SQLAlchemy engine on psycopg 3 for a libpq connection string."""
    from sqlalchemy import create_engine

    return create_engine(sqlalchemy_url(url, "postgresql+psycopg"))


def sqlalchemy_url(url: str, driver: str) -> URL:
    """The same address for SQLAlchemy, socket folders included."""
    from sqlalchemy import URL

    parts = {k: str(v) for k, v in conninfo_to_dict(url).items() if v is not None}
    host = parts.pop("host", None)
    query = {k: v for k, v in parts.items() if k not in ("user", "password", "port", "dbname")}
    if host and host.startswith("/"):
        query["host"] = host
        host = None
    return URL.create(
        driver,
        username=parts.get("user"),
        password=parts.get("password"),
        host=host,
        port=int(parts["port"]) if "port" in parts and host else None,
        database=parts.get("dbname"),
        query={**query, **({"port": parts["port"]} if "port" in parts and not host else {})},
    )


def _revision(url: str) -> str | None:
    # Without an engine: each one stays for long in SQLAlchemy's caches, and every cycle asks.
    with connect(url, name="fill migrate") as conn:
        if conn.execute("SELECT to_regclass(%s)", [VERSION_TABLE]).fetchone() == (None,):
            return None
        row = conn.execute("SELECT version_num FROM fill_schema_version").fetchone()
    return str(row[0]) if row else None
