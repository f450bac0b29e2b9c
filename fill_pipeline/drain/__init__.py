"""Pages to committed rows: harvest a source, drain the queue, replay the archive."""
