"""Kept connections: looked at before they are used; and TLS, whose certificates are checked."""

import datetime
import ipaddress
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from loadtests.asking.address import address_of
from loadtests.asking.connections import Connection, Connections
from loadtests.asking.exchange import Asker
from tests.fakes.scripted_answers import HALF_CLOSE, ScriptedAnswers
from tests.fakes.scripted_engine import CLOSE, RESET, Step
from tests.unit.loadtests.test_asking_exchange import ANSWER, turn

ASK = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"


def used(connections: Connections, expected: bytes = b"ok") -> Connection:
    """A fresh connection over which something has been asked and answered."""
    connection = connections.fresh()
    connection.send(ASK)
    assert connection.receive() == expected
    return connection


def test_the_one_used_last_is_used_first() -> None:
    with ScriptedAnswers(lambda _, __: [b"ok"]) as server:
        connections = Connections(address_of(server.url))
        first, second = used(connections), used(connections)
        connections.keep(first)
        connections.keep(second)
        assert connections.kept() is second
        assert connections.kept() is first
        assert connections.kept() is None
        first.close()
        second.close()


@pytest.mark.parametrize("how", [CLOSE, RESET, HALF_CLOSE])
def test_a_connection_that_the_server_has_closed_is_not_used_again(how: str) -> None:
    with ScriptedAnswers(lambda number, _: [b"ok", 0.05, how] if number else [b"ok"]) as server:
        connections = Connections(address_of(server.url))
        alive = used(connections)
        closed = used(connections)
        server.wait_for_end()
        connections.keep(alive)
        connections.keep(closed)
        assert connections.kept() is alive
        assert connections.kept() is None
        alive.close()


def test_a_connection_that_speaks_without_being_asked_is_not_used_again() -> None:
    with ScriptedAnswers(lambda _, __: [b"ok", 0.05, b"HTTP/1.1 408 Request Timeout\r\n\r\n", HALF_CLOSE]) as server:
        connections = Connections(address_of(server.url))
        connection = used(connections)
        server.wait_for_end()
        connections.keep(connection)
        assert connections.kept() is None


def test_after_a_restart_not_all_dead_connections_are_looked_at_at_once() -> None:
    with ScriptedAnswers(lambda _, __: [b"ok", 0.05, CLOSE]) as server:
        connections = Connections(address_of(server.url))
        many = [used(connections) for _ in range(20)]
        for connection in many:
            server.wait_for_end()
            connections.keep(connection)
        closed = [connections.kept() for _ in range(2)]
        assert closed == [None, None]
        assert server.is_left()


def test_what_is_given_back_after_the_end_is_closed() -> None:
    with ScriptedAnswers(lambda _, __: [b"ok"]) as server:
        connections = Connections(address_of(server.url))
        connection = used(connections)
        connections.close()
        connections.keep(connection)
        assert connections.kept() is None
        assert server.is_left()


def certificate(folder: Path, host: str = "127.0.0.1") -> tuple[Path, ssl.SSLContext]:
    """One that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "scripted")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = folder / "key.pem"
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, secret)
    return path, context


def errors(server: ScriptedAnswers, count: int = 1, timeout_s: float = 30.0) -> list[str]:
    asker = Asker(server.url, timeout_s)
    try:
        return [asker.ask(turn(), 0, None, time.perf_counter())[0].error for _ in range(count)]
    finally:
        asker.close()


def test_a_server_whose_certificate_nobody_has_signed_is_not_talked_to(tmp_path: Path) -> None:
    _, tls = certificate(tmp_path)
    with ScriptedAnswers(lambda _, __: ANSWER, tls) as server:
        assert errors(server) == ["refused"]
    assert server.requests == [[]]


def test_a_certificate_for_another_host_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, tls = certificate(tmp_path, "127.0.0.2")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with ScriptedAnswers(lambda _, __: ANSWER, tls) as server:
        assert errors(server) == ["refused"]


def test_a_trusted_server_is_talked_to_over_one_kept_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tls = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with ScriptedAnswers(lambda _, __: ANSWER, tls) as server:
        assert errors(server, count=3) == ["", "", ""]
    assert [len(seen) for seen in server.requests] == [3]


@pytest.mark.parametrize("how", [CLOSE, RESET])
def test_a_kept_connection_under_tls_that_ends_is_replaced(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tls = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    def script(number: int, nth: int) -> list[Step]:
        return [how] if (number, nth) == (0, 1) else ANSWER

    with ScriptedAnswers(script, tls) as server:
        assert errors(server, count=3) == ["", "", ""]
    assert [len(seen) for seen in server.requests] == [2, 2]


def test_a_server_that_never_ends_its_handshake_is_waited_for_only_so_long(tmp_path: Path) -> None:
    with ScriptedAnswers(lambda _, __: ANSWER) as server:
        server.url = server.url.replace("http:", "https:")
        server.stop_reading()
        assert errors(server, timeout_s=0.5) == ["timeout"]
