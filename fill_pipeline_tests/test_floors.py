"""The house: who may import whom, and that Dagster stays at the edge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def test_every_floor_imports_only_from_the_floors_below_and_dagster_only_at_the_edge() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", PROJECT / "pyproject.toml"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_importing_the_command_line_and_the_brain_loads_no_heavy_library() -> None:
    """The code location and every sensor tick pay for imports: pandas and Great Expectations come when needed."""
    script = (
        "import sys, fill_pipeline.cycle.lifecycle, fill_pipeline.cycle.perform\n"
        "heavy = {'pandas', 'great_expectations', 'dagster', 'nicegui', 'ultravin', 'fill_pipeline.drain.ask'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"loaded at import: {result.stderr}"
