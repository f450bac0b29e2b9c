"""A simulated web of vehicle sites for demos, tests, benchmarks and drills."""
