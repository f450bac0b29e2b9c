"""``fill extract`` prints what pages hold, starts fast, and says how to mend what it cannot read."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from fill_pipeline.cli.extract import app

_PAGE = (
    "<html><body><h1>2018 Toyota Camry XLE</h1><p>$21,991</p><p>39,708 miles</p>"
    "<section><h2>Seller's notes</h2><p>{}</p></section>"
    '<script type="application/ld+json">{{"@type":"Car","name":"2018 Toyota Camry XLE",'
    '"vehicleTransmission":"Automatic","offers":{{"price":21000}}}}</script></body></html>'
).format("One owner, complete records, and a set of winter tyres on their own wheels. " * 8)


def test_many_files_are_read_and_bad_ones_named_with_their_cure(tmp_path: Path) -> None:
    plain, zipped, cut = tmp_path / "a.html", tmp_path / "b.html.gz", tmp_path / "c.html.gz"
    plain.write_text(_PAGE)
    packed = gzip.compress(_PAGE.encode())
    zipped.write_bytes(packed)
    cut.write_bytes(packed[: len(packed) // 2])
    run = CliRunner().invoke(app, ["extract", *map(str, (plain, tmp_path / "none.html", cut, zipped))])
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert [(row["file"], row["model"], row["price"]) for row in rows] == [
        (str(plain), "Camry", 21_000),
        (str(zipped), "Camry", 21_000),
    ]
    assert {"engine", "place", "price_kind", "mileage_unit", "exterior_color", "vin"} <= rows[0].keys()
    assert run.exit_code == 1
    errors = run.stderr.splitlines()
    assert len(errors) == 2
    assert "no such file; name an HTML or JSON file" in errors[0]
    assert "is no whole gzip file" in errors[1]


def test_structured_data_can_be_left_out_and_every_value_explained(tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text(_PAGE)
    run = CliRunner().invoke(app, ["extract", str(page), "--without", "structured", "--explain"])
    listing, *explained = [json.loads(line) for line in run.stdout.splitlines()]
    assert (listing["price"], listing["transmission"]) == (21_991, None)
    assert all(len(str(row["explain"]["value"])) <= 161 for row in explained)
    assert {row["explain"]["field"] for row in explained} >= {"price", "mileage", "description"}


def test_reading_pages_loads_no_database_and_no_scheduler() -> None:
    code = (
        "import sys; sys.argv = ['fill', 'extract', '--help']\n"
        "from fill_pipeline.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "loaded = {'psycopg', 'sqlalchemy', 'dagster', 'alembic'} & set(sys.modules)\n"
        "print('loaded', sorted(loaded))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"
