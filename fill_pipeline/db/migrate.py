"""Bring a database to the newest schema."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Engine, create_engine, text

from fill_pipeline.db.connect import connect

VERSION_TABLE = "fill_schema_version"
_LOCK = 7_301_001


def migrate(url: str) -> str:
    """Apply every migration not yet applied and return the schema's revision; one process at a time does it."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    head = ScriptDirectory.from_config(config).get_current_head() or ""
    if _revision(url) == head:
        return head
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
    return head


def engine_for(url: str) -> Engine:
    """A SQLAlchemy engine on psycopg 3 for a libpq connection string."""
    return create_engine(sqlalchemy_url(url, "postgresql+psycopg"))


def sqlalchemy_url(url: str, driver: str) -> URL:
    """The same address for SQLAlchemy, socket folders included."""
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
