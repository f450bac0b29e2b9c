"""What VINs decode to, and that it is kept for the processes to come."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from fill_pipeline.vehicles.vin_decoder import decode, decoder_memory

HONDA, BUGGY, NOBODYS = "1HGCV1F30KA000018", "1G91D8093EA004654", "00000000000000000"

PROCESS = """
import sys
from pathlib import Path
import orjson, ultravin
from fill_pipeline.vehicles import vin_decoder

asked, ask = [], ultravin.decode
ultravin.decode = lambda vin: asked.append(vin) or ask(vin)
vin_decoder.remember_in(Path(sys.argv[1]), int(sys.argv[2]))
facts = [vin_decoder.decode(vin) for vin in sys.argv[3:]]
vin_decoder.keep()
print(orjson.dumps([facts, len(asked)]).decode())
"""


def in_a_process(file: Path, *vins: str, year: int = 2026) -> tuple[list[dict[str, Any] | None], int]:
    """What VINs decode to in a process that keeps its knowledge in a file, and how often it asked the decoder."""
    command = [sys.executable, "-c", PROCESS, str(file), str(year), *vins]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    facts, asked = orjson.loads(told.stdout)
    return facts, asked


def test_only_a_perfect_vin_is_decoded() -> None:
    assert decode("1HGCV1F39KA000018") is None, "wrong check digit"
    assert decode("WVWZZZ1KZ8W123450") is None, "European"
    assert decode("9F02C123450") is None, "too short"
    assert decode("11111111111111111") is None, "no maker has that code"
    facts = decode(HONDA)
    assert facts is not None
    assert (facts.year, facts.make, facts.model, facts.body_style) == (2019, "Honda", "Accord", "sedan")


def test_vins_of_one_descriptor_cost_one_decoding() -> None:
    assert decode(HONDA) is decode("1HGCV1F32KA000019")
    assert decoder_memory().kept <= decoder_memory().most


def test_what_one_process_was_told_no_later_one_asks_for(tmp_path: Path) -> None:
    file = tmp_path / "decoded-vins.tsv"
    told, asked = in_a_process(file, HONDA, BUGGY, NOBODYS)
    assert asked == 3
    assert [facts and facts["make"] for facts in told] == ["Honda", "Good Pace Inc", None]
    assert in_a_process(file, HONDA, BUGGY, NOBODYS) == (told, 0)


def test_processes_add_to_what_others_keep(tmp_path: Path) -> None:
    file = tmp_path / "decoded-vins.tsv"
    in_a_process(file, HONDA)
    assert in_a_process(file, BUGGY)[1] == 1
    assert in_a_process(file, HONDA, BUGGY)[1] == 0


def test_another_year_or_decoder_asks_anew_and_forgets_the_old(tmp_path: Path) -> None:
    file = tmp_path / "decoded-vins.tsv"
    told, _ = in_a_process(file, HONDA, BUGGY)
    file.write_bytes(b"another decoder\n" + file.read_bytes().partition(b"\n")[2].replace(b"HONDA", b"OTHER"))
    assert in_a_process(file, HONDA) == (told[:1], 1)
    assert in_a_process(file, BUGGY, year=2027)[1] == 1
    assert in_a_process(file, HONDA, year=2027)[1] == 1


@pytest.mark.parametrize(
    "harm",
    [
        lambda lines: lines[:-20],
        lambda lines: lines.replace(b'":"', b'":', 1),
        lambda lines: lines.replace(b"\t", b"\t\t"),
        lambda lines: lines.replace(b"{", b"[").replace(b"}", b"]"),
        lambda lines: b"\xff\x00\n\n\t\n" + lines[30:],
    ],
)
def test_a_file_that_was_harmed_costs_time_and_no_fact(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "decoded-vins.tsv"
    told, _ = in_a_process(file, HONDA)
    head, _, lines = file.read_bytes().partition(b"\n")
    file.write_bytes(head + b"\n" + harm(lines))
    assert in_a_process(file, HONDA) == (told, 1)
    assert in_a_process(file, BUGGY)[0] == in_a_process(tmp_path / "other.tsv", BUGGY)[0]


def test_where_nothing_can_be_kept_vins_are_decoded_all_the_same(tmp_path: Path) -> None:
    told, _ = in_a_process(tmp_path / "decoded-vins.tsv", HONDA)
    assert in_a_process(tmp_path / "no-such-folder" / "file", HONDA) == (told, 1)


def test_a_file_that_grew_too_large_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "decoded-vins.tsv"
    told, _ = in_a_process(file, HONDA)
    with file.open("ab") as lines:
        lines.write(b"x" * 10_000_000 + b"\n")
    assert in_a_process(file, HONDA, BUGGY)[0][0] == told[0]
    assert file.stat().st_size < 1_000
