"""HTTPS: only to whom a trusted authority vouches for."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fill_pipeline.crawl.fetch import FailureCategory, Fetcher, FetchRequest, FetchSettings


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_arguments: object) -> None:
        return


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A self-signed certificate for cars.example, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cars.example")])
    now = datetime.now(UTC)
    names = [x509.DNSName("cars.example"), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "cars.pem"
    file.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


@pytest.fixture
def port(certificate) -> Iterator[int]:
    """An HTTPS server's port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def fetch(url: str, port: int, ca_file: Path | None = None):
    settings = FetchSettings(
        allow_nets=("127.0.0.1/32",),
        connect_to=(f"*::127.0.0.1:{port}",),
        ca_file=str(ca_file) if ca_file else None,
        timeout=5.0,
    )
    with Fetcher(settings) as fetcher:
        return fetcher.fetch(FetchRequest(url=url))


def test_a_trusted_site_is_read(port, certificate):
    response = fetch("https://cars.example/", port, certificate)
    assert (response.failure, response.body_received) == (None, b"hello")


def test_an_unknown_authority_is_not_trusted(port):
    assert fetch("https://cars.example/", port).failure is FailureCategory.TLS


def test_a_certificate_for_another_name_is_not_trusted(port, certificate):
    assert fetch("https://other.example/", port, certificate).failure is FailureCategory.TLS


def test_certificates_are_found_on_this_machine():
    found = FetchSettings().certificates()
    assert found is not None
    assert Path(found).is_file()
