# SPDX-License-Identifier: Apache-2.0
"""Real certificates, a real gunicorn, and clients that misbehave on purpose."""

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT = Path(__file__).parents[2]
PEM = serialization.Encoding.PEM


class Authority:
    """A throw-away CA that really signs."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(name, self._key, ca=True)
        self.pem = self.certificate.public_bytes(PEM)

    def issue(self, name: str, *, server: bool = False, valid: bool = True) -> bytes:
        """Return certificate and key in one PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name, key, server=server, valid=valid)
        return certificate.public_bytes(PEM) + key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        ca: bool = False,
        server: bool = False,
        valid: bool = True,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = subject if ca else self.certificate.subject
        usage = (
            ExtendedKeyUsageOID.SERVER_AUTH
            if server
            else ExtendedKeyUsageOID.CLIENT_AUTH
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=1 if valid else -1))
            .add_extension(
                x509.BasicConstraints(ca=ca, path_length=None), critical=True
            )
        )
        if server:
            local = x509.IPAddress(IPv4Address("127.0.0.1"))
            builder = builder.add_extension(
                x509.SubjectAlternativeName([local]), critical=False
            )
        if not ca:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([usage]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())


def replace(file: Path, content: bytes) -> None:
    """Write a file as a careful operator does: by rename."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.replace(file)


@dataclass(frozen=True)
class Pki:
    """The files of one server, and of two PBXs."""

    folder: Path
    server: Authority
    devices: Authority

    @classmethod
    def make(cls, folder: Path) -> "Pki":
        pki = cls(folder, Authority("server ca"), Authority("device ca"))
        (folder / "device-ca").mkdir()
        (folder / "device-ca" / "first.pem").write_bytes(pki.devices.pem)
        (folder / "ca.pem").write_bytes(pki.server.pem)
        replace(folder / "server.pem", pki.server.issue("localhost", server=True))
        (folder / "pbx.pem").write_bytes(pki.devices.issue("PBX0000001"))
        return pki

    def client(self, certificate: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context

    @property
    def settings(self) -> dict[str, object]:
        return {
            "certfile": str(self.folder / "server.pem"),
            "ca_certs": str(self.folder / "device-ca"),
        }


class Server:
    """gunicorn with our worker, in a process of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        pki: Pki | None = None,
        options: str = "",
        hooks: str = "",
        **settings: object,
    ) -> None:
        self.pki = pki
        self.log = folder / "server.log"
        config = {
            "bind": "127.0.0.1:0",
            "threads": 4,
            "control_socket_disable": True,
            "errorlog": str(self.log),
            "loglevel": "debug",
            **(pki.settings if pki else {}),
            **settings,
        }
        lines = [f"{name} = {value!r}" for name, value in config.items()]
        file = folder / "gunicorn.conf.py"
        file.write_text(
            "from fleet.server.options import ServerOptions\n"
            "from fleet.server.worker import CallhomeWorker\n"
            "class Worker(CallhomeWorker):\n"
            f"    options = ServerOptions({options})\n"
            "def worker_class(): return Worker\n" + "\n".join(lines) + f"\n{hooks}\n"
        )
        paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
        command = [sys.executable, "-m", "gunicorn", "-c", str(file)]
        with self.log.with_name("errors.txt").open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, "small_app:application"],
                env={**os.environ, "PYTHONPATH": paths},
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        self.address = ("127.0.0.1", self._port())

    def _port(self) -> int:
        for _ in range(200):
            text = self.logged()
            found = re.search(r"Listening at: \w+://127\.0\.0\.1:(\d+)", text)
            if found and "Booting worker" in text:
                return int(found[1])
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"did not start: {self.output()} {self.logged()}")

    def logged(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def output(self) -> str:
        """Return what gunicorn said before it had a log."""
        return self.log.with_name("errors.txt").read_text()

    def workers(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(child) for child in path.read_text().split()]

    def stop(self) -> float:
        """Stop gracefully; return how long it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)
        return time.monotonic() - begun

    def dial(self) -> socket.socket:
        """Open a TCP connection."""
        return socket.create_connection(self.address, timeout=10)

    def connect(self, context: ssl.SSLContext | None = None) -> "Client":
        """Open a connection, over TLS where the server speaks it."""
        sock = self.dial()
        if self.pki is not None:
            context = context or self.pki.client(self.pki.folder / "pbx.pem")
            sock = context.wrap_socket(sock, server_hostname="127.0.0.1")
        return Client(sock)

    def check(self) -> float:
        """Do one licence check on a new connection; return its seconds."""
        begun = time.monotonic()
        with self.connect() as client:
            assert client.post("/cic/check", b"{}").body == b'{"received": 2}'
        return time.monotonic() - begun


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    fields: dict[str, str]
    body: bytes


class Client:
    """HTTP/1.1 by hand, for requests that no library would send."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._stream = sock.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()
            self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, *, bodiless: bool = False) -> Answer:
        status = self._stream.readline()
        if not status:
            raise EOFError
        fields = {}
        while line := self._stream.readline().strip():
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip()
        code = int(status.split()[1])
        body = b""
        if fields.get("transfer-encoding") == "chunked":
            body = b"".join(self._chunks())
        elif not bodiless and code not in (100, 204, 304):
            body = self._stream.read(int(fields.get("content-length", -1)))
        return Answer(code, fields, body)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._stream.readline(), 16):
            yield self._stream.read(size)
            self._stream.readline()
        self._stream.readline()

    def get(self, path: str) -> Answer:
        self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return self.answer()

    def post(self, path: str, body: bytes) -> Answer:
        self.send(post(path, body))
        return self.answer()

    def at_end(self) -> bool:
        """Wait for the server to close."""
        try:
            return self._stream.read(1) == b""
        except OSError:
            return True


def post(path: str, body: bytes) -> bytes:
    """Write a small POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
