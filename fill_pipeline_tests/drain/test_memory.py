"""Memory: the threads of a process share few heaps, and what pages said is forgotten when they are done."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from fill_pipeline.drain.arenas import forget_pages
from fill_pipeline.extract import labels
from fill_pipeline.extract.page import extract_page

HEAPS = """
import ctypes, sys, threading
from pathlib import Path
from fill_pipeline.drain.arenas import bound_arenas

if sys.argv[2] == "bounded":
    assert bound_arenas()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
gate = threading.Barrier(13)

def work():
    libc.malloc(2000)
    gate.wait(20)
    gate.wait(20)

for _ in range(12):
    threading.Thread(target=work).start()
gate.wait(20)
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
gate.wait(20)
print(Path(sys.argv[1]).read_text().count("<heap nr"))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_threads_share_two_heaps(tmp_path):
    def heaps(how):
        command = [sys.executable, "-c", HEAPS, str(tmp_path / how), how]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    assert heaps("unbounded") > 2
    assert heaps("bounded") <= 2


def test_what_pages_said_is_forgotten_and_the_tables_that_read_them_stay():
    extract_page(b"<h1>2018 Audi Q3</h1><p>Mileage: 12,345 mi</p><p>Price: $9,990</p>", url="http://cars.example/1")
    assert labels.field_of_label.cache_info().currsize
    tables = labels._by_label()
    forget_pages()
    assert not labels.field_of_label.cache_info().currsize
    assert labels._by_label() is tables
