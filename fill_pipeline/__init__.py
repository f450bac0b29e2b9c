"""Fill a database with accurate vehicle data, at scale, and be accountable for it."""
