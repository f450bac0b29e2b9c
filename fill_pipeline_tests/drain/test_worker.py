"""Worker processes: they begin with all loaded, live no longer than the process that started them, and where they die
one after another the drain ends and says of what."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from fill_pipeline.drain import worker
from fill_pipeline.drain.drain import drain_queue
from fill_pipeline.drain.replay import replay_window
from fill_pipeline.drain.work import Work
from fill_pipeline.drain.worker import WorkersDieError
from fill_pipeline_tests.drain.conftest import DEALER, OTHER_DEALER, Crawl

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel in Linux's way")

STARTER = """
import re, signal, time
from fill_pipeline.drain.worker import begin_process, forks

def hang():
    begin_process("fill worker")
    print("begun", flush=True)
    re.match(r"(a+)+$", "a" * 60 + "b")  # never gives up the interpreter

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    process = forks().Process(target=hang)
    process.start()
    print(process.pid, flush=True)
    time.sleep(600)
"""


def test_a_worker_that_hangs_ends_with_its_killed_parent_even_one_that_ignores_sigterm(tmp_path: Path) -> None:
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
    decoder = sys.modules["fill_pipeline.vehicles.vin_decoder"].decoder_memory()
    heavy = {"pydantic", "psutil", "pycurl", "fsspec", "yaml", "sqlalchemy"} & set(sys.modules)
    print(decoder.kept, len(os.listdir("/proc/self/task")), *heavy, flush=True)

if __name__ == "__main__":
    process = forks().Process(target=tell)
    process.start()
    process.join()
"""


def test_a_worker_is_forked_with_the_vin_decoder_loaded_no_thread_and_nothing_it_does_not_need(tmp_path: Path) -> None:
    script = tmp_path / "teller.py"
    script.write_text(TELLER)
    told = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.split() == ["1", "1"]


def test_what_vins_decode_to_is_kept_by_every_drain_and_replay_for_the_next(crawl: Crawl) -> None:
    sources = [crawl.declare(slug) for slug in (DEALER, OTHER_DEALER)]

    def kept() -> set[str]:
        return {line.partition("\t")[0] for line in crawl.settings.decoded_vins.read_text().splitlines()[1:]}

    crawl.fill("c1", *sources)
    vins = crawl.conn.execute("SELECT vin FROM listings WHERE vin_status = 'valid'").fetchall()
    descriptors = {vin[:8] + vin[9:11] for (vin,) in vins}
    assert descriptors
    assert descriptors <= kept()
    crawl.settings.decoded_vins.unlink()
    replay_window(crawl.work(), sources, ["c1"])
    assert descriptors <= kept()


DYING = """
import os, signal, sys
from fill_pipeline.drain.batch import BatchBegun
from fill_pipeline.drain.worker import _serve

def importing(*of_a_worker):
    sys.modules["fill_pipeline.drain.service"] = None
    _serve(*of_a_worker)

def waiting(*of_a_worker):
    os.kill(os.getpid(), signal.SIGKILL)

def reading(pipe, *_):
    pipe.send(BatchBegun(pipe.recv().number))
    os._exit(3)
"""


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Lets workers die, and their pauses be too short to wait for."""
    monkeypatch.setattr(worker, "PAUSE_SECONDS", 0.001)
    (tmp_path / "dying.py").write_text(DYING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "dying", raising=False)
    module = importlib.import_module("dying")
    return lambda while_: monkeypatch.setattr(worker, "_serve", getattr(module, while_))


def work_on(crawl: Crawl, pages: int) -> Work:
    """Work in which so many pages of one site are to be fetched."""
    source, work = crawl.declare(OTHER_DEALER), crawl.work()
    crawl.put(source, pages, "/?page={}")
    return work


def attempts(crawl: Crawl) -> list[tuple[Any, ...]]:
    return crawl.conn.execute("SELECT status, attempts, count(*) FROM import_queue GROUP BY 1, 2 ORDER BY 1").fetchall()


def test_workers_that_die_at_their_start_end_the_drain_and_cost_no_page_an_attempt(
    crawl: Crawl, dying: Callable[[str], None]
) -> None:
    work = work_on(crawl, 5)
    dying("waiting")
    with pytest.raises(WorkersDieError, match=r"^6 worker .* finished nothing; the last one: killed by SIGKILL"):
        drain_queue(work)
    assert attempts(crawl) == [("pending", 0, 5)]
    assert len(crawl.log(OTHER_DEALER)) == 5  # fetched once, however many died


def test_what_workers_die_of_at_their_start_is_quoted(crawl: Crawl, dying: Callable[[str], None]) -> None:
    work = work_on(crawl, 1)
    dying("importing")
    with pytest.raises(WorkersDieError, match=r"the last one: \w+Error: import of fill_pipeline.drain.service halted"):
        drain_queue(work)


def test_pages_that_kill_their_worker_end_dead_and_the_drain_does_not(
    crawl: Crawl, dying: Callable[[str], None]
) -> None:
    work = work_on(crawl, 1)
    crawl.conn.execute("UPDATE import_queue SET max_attempts = 2")
    dying("reading")
    drain_queue(work)
    assert attempts(crawl) == [("dead", 2, 1)]
    (said,) = crawl.conn.execute("SELECT error_message FROM import_queue").fetchone() or ("",)
    assert said == "the worker reading this page died: it ended with status 3"


def test_the_next_worker_is_started_later_with_each_death(crawl: Crawl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PAUSE_SECONDS", 0.02)
    died: list[float] = []

    def start() -> worker.Worker:
        died.append(time.monotonic())
        raise EOFError

    crew = worker.Workers(start, wanted=2)

    def wait_for_one() -> None:
        while crew.free() is None:
            time.sleep(0.001)

    with pytest.raises(WorkersDieError, match="could not be started"):
        wait_for_one()
    pauses = [later - earlier for earlier, later in pairwise(died)]
    assert len(died) == worker.MOST_DEATHS
    assert all(pause >= 0.02 * 2**n for n, pause in enumerate(pauses))
