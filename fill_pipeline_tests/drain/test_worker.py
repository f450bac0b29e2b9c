"""Worker processes: they begin with all loaded, and live no longer than the process that started them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel in Linux's way")

STARTER = """
import re, time
from fill_pipeline.drain.worker import begin_process, forks

def hang():
    begin_process("fill worker")
    print("begun", flush=True)
    re.match(r"(a+)+$", "a" * 60 + "b")  # never gives up the interpreter

if __name__ == "__main__":
    process = forks().Process(target=hang)
    process.start()
    print(process.pid, flush=True)
    time.sleep(600)
"""


def test_a_worker_that_hangs_ends_with_its_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "starter.py"
    script.write_text(STARTER)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        said = {starter.stdout.readline().strip(), starter.stdout.readline().strip()}
        worker = psutil.Process(int(next(line for line in said if line != "begun")))
        assert worker.name() == "fill worker"
        starter.kill()
        _, alive = psutil.wait_procs([worker], timeout=20)
    for process in alive:
        process.kill()
    assert alive == []


TELLER = """
import os, sys
from fill_pipeline.drain.worker import forks

def tell():
    decoder = sys.modules["fill_pipeline.vehicles.vin"].decoder_memory()
    print(decoder.kept, len(os.listdir("/proc/self/task")), flush=True)

if __name__ == "__main__":
    process = forks().Process(target=tell)
    process.start()
    process.join()
"""


def test_a_worker_is_forked_with_the_vin_decoder_loaded_and_no_thread(tmp_path: Path) -> None:
    script = tmp_path / "teller.py"
    script.write_text(TELLER)
    told = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.split() == ["1", "1"]
