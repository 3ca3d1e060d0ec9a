"""The page over TLS, with a certificate that the test has made."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.sync.client import connect

from stages.show.web.show import Show, ShowConfig, announced
from tests.fakes import MemoryFrames
from tests.stages.show.site import PASSWORD


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """cert.pem of 127.0.0.1, signed by itself; key.pem beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gate")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*kinds))
    path = tmp_path / "cert.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def show(places: Path, certificate: Path) -> Iterator[Show]:
    key = certificate.with_name("key.pem")
    show = Show(ShowConfig(port=0, tls_cert=str(certificate), tls_key=str(key)), MemoryFrames())
    yield show
    show.close()


def test_the_page_answers_over_tls_and_the_cookie_goes_over_nothing_else(show: Show, certificate: Path) -> None:
    found, trusted = announced(), ssl.create_default_context(cafile=certificate)
    assert found
    assert found.address.startswith("https://127.0.0.1:")
    with httpx.Client(base_url=found.address, verify=trusted) as client:
        assert "framewire gate" in client.get("/").text
        given = {"secret": found.setup.partition("#setup=")[2], "name": "ada", "password": PASSWORD}
        done = client.post("/api/setup", json=given, headers={"Origin": found.address.rstrip("/")})
        assert done.status_code == 200, done.text
        assert {"Secure", "HttpOnly", "SameSite=strict"} <= set(done.headers["set-cookie"].split("; "))
        assert client.get("/api/me").json()["name"] == "ada"
        cookie = {"Cookie": "; ".join(f"{name}={secret}" for name, secret in client.cookies.items())}
        with connect(
            found.address.replace("https", "wss") + "api/push", ssl=trusted, additional_headers=cookie
        ) as push:
            assert push.recv(timeout=10)


def test_without_tls_nothing_is_answered(show: Show) -> None:
    found = announced()
    assert found
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(found.address.replace("https", "http"))
    host, _, port = found.address.removeprefix("https://").rstrip("/").rpartition(":")
    with socket.create_connection((host, int(port)), 10) as plain:
        plain.sendall(b"GET /api/me HTTP/1.1\r\nHost: gate\r\n\r\n")
        assert b"HTTP" not in b"".join(iter(lambda: plain.recv(4096), b""))
