"""Schema, migrations, the embedded server, one module of queries per table group."""
