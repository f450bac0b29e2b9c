"""A name that means one address when it is looked at and another when it is connected to.

In namespaces of its own (Linux, as root) a process has a name server that answers differently each time, and a public
address that is its own, so that nothing is simulated between the fetcher and its guard.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

OUTSIDE = "93.184.216.34"
INSIDE = """
import socket, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "addr", "add", "OUTSIDE/32", "dev", "lo"], check=True)
answers = {"turning": iter(["OUTSIDE", "127.0.0.1", "127.0.0.1"]), "inside": iter(["127.0.0.1"] * 9)}
asked, resolved = [], []

def names(server):
    while True:
        query, client = server.recvfrom(512)
        label = query[13:13 + query[12]].decode()
        head = query[:2] + b"\\x81\\x80\\x00\\x01"
        question = query[12:query.index(b"\\0", 12) + 5]
        if question[-4:-2] == b"\\0\\x01" and label in answers:
            address = next(answers[label])
            resolved.append((label, address))
            record = b"\\xc0\\x0c\\0\\x01\\0\\x01\\0\\0\\0\\0\\0\\x04" + socket.inet_aton(address)
            server.sendto(head + b"\\0\\x01\\0\\0\\0\\0" + question + record, client)
        else:
            server.sendto(head + b"\\0\\0\\0\\0\\0\\0" + question, client)

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append((self.connection.getsockname()[0], self.headers["Host"], self.path))
        target = {"/to-turning": "http://turning.example/secret", "/to-inside": "http://inside.example/secret"}
        self.send_response(302 if self.path in target else 200)
        if self.path in target:
            self.send_header("Location", target[self.path])
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"page")
    def log_message(self, *_):
        pass

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
threading.Thread(target=names, args=(server,), daemon=True).start()
web = ThreadingHTTPServer(("0.0.0.0", 80), Page)
threading.Thread(target=web.serve_forever, daemon=True).start()

from fill_pipeline.crawl.fetch import FailureCategory, Fetcher, FetchRequest, FetchSettings

def fetch(url):
    with Fetcher(FetchSettings(timeout=5.0)) as fetcher:  # a new one: it remembers no name
        return fetcher.fetch(FetchRequest(url=url))

first = fetch("http://turning.example/a")
assert first.status == 200, first.error
for url in ("http://turning.example/b", "http://OUTSIDE/to-turning", "http://OUTSIDE/to-inside"):
    answer = fetch(url)
    assert answer.failure is FailureCategory.BLOCKED_ADDRESS, (url, answer.status, answer.error)
assert {address for address, _, _ in asked} == {"OUTSIDE"}, asked
assert ("turning", "OUTSIDE") in resolved and ("turning", "127.0.0.1") in resolved, resolved
print("held")
""".replace("OUTSIDE", OUTSIDE)


def test_a_name_that_turns_inward_after_the_first_look_is_refused_where_it_is_connected_to(tmp_path):
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare and ip")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    (tmp_path / "inside.py").write_text(INSIDE)
    bind = " && ".join(f"mount --bind {tmp_path}/{name} /etc/{name}" for name in ("resolv.conf", "nsswitch.conf"))
    script = f'{bind} || exit 77; exec "{sys.executable}" "{tmp_path}/inside.py"'
    process = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    if process.returncode == 77 or "unshare" in process.stderr:
        pytest.skip("namespaces are not permitted here")
    assert process.stdout.strip() == "held", process.stderr[-2000:]
