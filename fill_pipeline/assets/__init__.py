"""What Dagster materializes: sources, vehicles, checks, reports, improvement, deals."""
