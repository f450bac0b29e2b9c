"""Getting pages: source configs, fetch, guard, robots, pacing, pagination, harvest, archive."""
