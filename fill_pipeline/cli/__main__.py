"""``python -m fill_pipeline.cli`` is ``fill``."""

from fill_pipeline.cli import main

main()
