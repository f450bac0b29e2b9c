"""A process is taken for dead only where its number can be looked up."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from fill_pipeline.drain.owner import is_dead, owner


def _ended() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_process_that_ended_here_is_dead_and_one_that_runs_or_is_elsewhere_is_not() -> None:
    here, number, name = owner("drain").split(":")
    assert not is_dead(f"{here}:{number}:{name}")
    assert is_dead(f"{here}:{_ended()}:{name}")
    assert not is_dead(f"elsewhere:{_ended()}:{name}")


def test_a_container_of_the_same_name_does_not_take_our_processes_for_dead() -> None:
    apart = ["unshare", "--pid", "--fork", "--user", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a process namespace")
    ours = owner("drain")
    code = f"from fill_pipeline.drain.owner import is_dead, owner; print(is_dead({ours!r}), is_dead(owner('drain')))"
    told = subprocess.run([*apart, sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]
