# SPDX-License-Identifier: Apache-2.0
"""Real sockets and real TLS, with servers that misbehave."""

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from pbx.simulated import SERIAL

from fleet.pbx.credentials import Credentials, new_private_key, subject_of
from fleet.pbx.errors import Unreachable
from fleet.pbx.transport import LARGEST_ANSWER, HttpsTransport, Request

HOST = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
GET = Request(method="GET", path="/anything")
YEAR = timedelta(days=365)


class Authority:
    """A CA for servers and PBXs alike; a test needs no second one."""

    def __init__(self, folder: Path) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
        self.name = name
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = self._sign(self.key.public_key(), name, basic)
        self.file = folder / "ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        self.folder = folder

    def server(self, *, age: timedelta = timedelta(0)) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        certificate = self._sign(key.public_key(), name, HOST, age=age)
        path = self.folder / "server.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        return path

    def device(self) -> Credentials:
        pem = new_private_key()
        key = load_pem_private_key(pem.encode(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        certificate = self._sign(key.public_key(), subject_of(SERIAL), None)
        return Credentials(pem, certificate.public_bytes(Encoding.PEM).decode())

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey,
        name: x509.Name,
        extension: x509.ExtensionType | None,
        *,
        age: timedelta = timedelta(0),
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - age - timedelta(hours=1))
            .not_valid_after(now - age + YEAR)
        )
        if extension is not None:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, SHA256())


Behaviour = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """An HTTPS server that does to each request what the test says."""

    def __init__(self, behaviour: Behaviour, context: ssl.SSLContext) -> None:
        self.clients: list[object] = []
        self.connections: set[object] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5

            def handle_one_request(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle_one_request()

            def do_GET(self) -> None:
                outer.connections.add(self.client_address)
                connection: Any = self.connection
                outer.clients.append(connection.getpeercert())
                behaviour(self)

            def log_message(self, *_: object) -> None:
                pass

        class Https(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

            def get_request(self) -> Any:
                connection, address = super().get_request()
                connection.settimeout(5)
                return context.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                ), address

        self.http = Https(("127.0.0.1", 0), Handler)
        self.url = f"https://127.0.0.1:{self.http.server_port}"


Serve = Callable[..., Server]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def serve(authority: Authority) -> Iterator[Serve]:
    running: list[Server] = []

    def start(behaviour: Behaviour, *, age: timedelta = timedelta(0)) -> Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.server(age=age))
        context.load_verify_locations(authority.file)
        context.verify_mode = ssl.CERT_OPTIONAL
        server = Server(behaviour, context)
        threading.Thread(
            target=server.http.serve_forever,
            kwargs={"poll_interval": 0.01},
            daemon=True,
        ).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.http.shutdown()
        server.http.server_close()


def say(
    body: bytes, *, status: int = 200, **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave


@contextlib.contextmanager
def transport(
    server: Server, authority: Authority, *, timeout: float = 5, deadline: float = 5
) -> Iterator[HttpsTransport]:
    opened = HttpsTransport(
        server.url, ca_file=authority.file, timeout=timeout, deadline=deadline
    )
    try:
        yield opened
    finally:
        opened.close()


def test_an_answer_comes_back_whole(authority: Authority, serve: Serve) -> None:
    server = serve(say(b"hello", status=429, Retry_After="17"))

    with transport(server, authority) as way:
        answer = way.send(GET)

    assert (answer.status, answer.body) == (429, b"hello")
    assert answer.headers["retry-after"] == "17"


def test_the_certificate_is_shown_only_where_the_request_says_so(
    authority: Authority, serve: Serve
) -> None:
    server = serve(say(b""))

    with transport(server, authority) as way:
        way.send(GET)
        way.send(Request(method="GET", path="/", credentials=authority.device()))

    assert [bool(client) for client in server.clients] == [False, True]


def test_a_conversation_keeps_its_connection(
    authority: Authority, serve: Serve
) -> None:
    server = serve(say(b"hello"))

    with transport(server, authority) as way:
        way.send(GET)
        way.send(GET)
        assert len(server.connections) == 1
        way.close()
        way.send(GET)

    assert len(server.connections) == 2


def test_a_kept_connection_that_the_server_closed_is_opened_again(
    authority: Authority, serve: Serve
) -> None:
    def speak_once(handler: BaseHTTPRequestHandler) -> None:
        say(b"hello")(handler)
        handler.close_connection = True  # without having said so

    server = serve(speak_once)

    with transport(server, authority) as way:
        way.send(GET)
        assert way.send(GET).body == b"hello"


def test_redirects_are_not_followed(authority: Authority, serve: Serve) -> None:
    server = serve(say(b"", status=302, Location="https://elsewhere.example/"))

    with transport(server, authority) as way:
        assert way.send(GET).status == 302


@pytest.mark.parametrize("announced", [True, False])
def test_an_answer_without_end_is_not_read(
    authority: Authority, serve: Serve, *, announced: bool
) -> None:
    def flood(handler: BaseHTTPRequestHandler) -> None:
        length = 10 * LARGEST_ANSWER
        handler.send_response(200)
        if announced:
            handler.send_header("Content-Length", str(length))
        else:
            handler.send_header("Connection", "close")
        handler.end_headers()
        for _ in range(length // 65536):
            handler.wfile.write(b" " * 65536)

    server = serve(flood)

    with transport(server, authority) as way, pytest.raises(Unreachable, match="large"):
        way.send(GET)


def test_a_server_that_says_nothing_is_left(authority: Authority, serve: Serve) -> None:
    server = serve(_wait)

    with (
        transport(server, authority, timeout=0.2) as way,
        pytest.raises(Unreachable, match="TimeoutError"),
    ):
        way.send(GET)


def _wait(_: BaseHTTPRequestHandler) -> None:
    threading.Event().wait(1)


@pytest.mark.parametrize("part", ["status", "headers", "body"])
def test_a_server_that_drips_is_left_at_the_deadline(
    authority: Authority, serve: Serve, part: str
) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        before = {
            "status": b"",
            "headers": b"HTTP/1.1 200 OK\r\nX-Long: ",
            "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        }
        handler.wfile.write(before[part])
        for _ in range(100):
            handler.wfile.write(b"x")
            threading.Event().wait(0.05)

    server = serve(drip)
    began_at = time.monotonic()

    with (
        transport(server, authority, timeout=2, deadline=0.4) as way,
        pytest.raises(Unreachable),
    ):
        way.send(GET)

    assert time.monotonic() - began_at < 2


@pytest.mark.parametrize(
    "raw",
    [b"", b"SMTP ready\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"],
)
def test_what_is_not_http_is_nothing(
    authority: Authority, serve: Serve, raw: bytes
) -> None:
    def babble(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(raw)
        handler.close_connection = True

    server = serve(babble)

    with transport(server, authority) as way, pytest.raises(Unreachable):
        way.send(GET)


def test_a_server_of_another_ca_is_not_talked_to(serve: Serve, tmp_path: Path) -> None:
    server = serve(say(b"hello"))
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")

    with transport(server, stranger) as way, pytest.raises(Unreachable):
        way.send(GET)

    assert server.clients == []


def test_an_expired_server_certificate_matters_only_to_a_pbx_that_knows_the_time(
    authority: Authority, serve: Serve
) -> None:
    server = serve(say(b"hello"), age=2 * YEAR)

    with transport(server, authority) as way:
        with pytest.raises(Unreachable):
            way.send(GET)
        assert way.send(Request(method="GET", path="/", dates_matter=False)).body


def test_a_server_that_is_not_there_is_nothing(authority: Authority) -> None:
    way = HttpsTransport("https://127.0.0.1:1", ca_file=authority.file)

    with pytest.raises(Unreachable):
        way.send(GET)


@pytest.mark.parametrize("url", ["http://127.0.0.1", "ftp://x", "https://", "x"])
def test_only_https_will_do(authority: Authority, url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        HttpsTransport(url, ca_file=authority.file)


def test_no_key_is_left_on_the_disk(
    authority: Authority, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    server = serve(say(b""))

    with transport(server, authority) as way:
        way.send(Request(method="GET", path="/", credentials=authority.device()))

    assert list(scratch.iterdir()) == []
