"""Alembic's entry: runs on the connection that db/migrate.py hands over."""

from alembic import context

from fill_pipeline.db.migrate import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
