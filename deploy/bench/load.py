# SPDX-License-Identifier: Apache-2.0
"""Clients that cost little: requests are prepared, answers are hardly read.

Each connection is one PBX with its own certificate. It sends its next check when
it has the answer to the last one, with a nonce of its own and the continuation
token that it was given, exactly as a PBX does.
"""

import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from deploy.bench.pbxs import DEVICE_TYPE, SOFTWARE_VERSION, Pbx

OK = b"HTTP/1.1 200"
TOKEN = re.compile(rb'"continuation": ?"([\w-]+)"')
PATIENCE = 20.0

_nonces = count(time.time_ns())


class Broken(Exception):  # noqa: N818 -- the benchmark ends with it
    """An answer was not a 200, or none came."""


class Asker:
    """Writes the checks of one PBX."""

    def __init__(self, pbx: Pbx, *, proxied: bool) -> None:
        """Write for ``pbx``; ``proxied`` shows its certificate in a header."""
        self._fixed = (
            f'{{"serial_number":"{pbx.serial_number}",'
            f'"device_type":"{DEVICE_TYPE}","software_version":"{SOFTWARE_VERSION}",'
            f'"failed_attempts":0,"nonce":"'
        ).encode()
        header = f"Client-Cert: {pbx.client_cert}\r\n" if proxied else ""
        self._head = (
            "POST /cic/v1/check HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\n{header}Content-Length: "
        ).encode()
        self.continuation = b""

    def request(self) -> bytes:
        """Return the next request."""
        body = b"%b%032d" % (self._fixed, next(_nonces))
        if self.continuation:
            body += b'","continuation":"' + self.continuation
        body += b'"}'
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)

    def take(self, answer: bytes) -> bool:
        """Note the token in a whole answer; False where more of it is to come."""
        if not is_whole(answer):
            return False
        if not answer.startswith(OK):
            raise Broken(answer.decode("latin-1"))
        found = TOKEN.search(answer)
        if found is not None:
            self.continuation = found[1]
        return True


def is_whole(answer: bytes) -> bool:
    """Whether nothing more of an answer is to come, which is a JSON object."""
    _, separator, body = answer.partition(b"\r\n\r\n")
    return bool(separator) and body.rstrip(b"\n").endswith(b"}")


class Writer(Protocol):
    """What is sent over a connection: one request after another."""

    def request(self) -> bytes:
        """Return the next request."""

    def take(self, answer: bytes) -> bool:
        """Take what came so far; False where more of it is to come."""


class Line:
    """One connection that is kept."""

    def __init__(self, sock: socket.socket, asker: Writer) -> None:
        """Send what ``asker`` writes."""
        self.sock = sock
        self._asker = asker
        self._answer = b""

    def ask(self) -> None:
        """Send the next request."""
        self.sock.send(self._asker.request())

    def hear(self) -> bool:
        """Read; True once an answer is whole."""
        while True:
            try:
                data = self.sock.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError):
                return False
            if not data:
                raise Broken("the server closed the connection")
            self._answer += data
            if self._asker.take(self._answer):
                self._answer = b""
                return True


@dataclass(frozen=True)
class Trust:
    """Whom a client believes; none where it speaks plain HTTP, as a proxy does."""

    authority: Path | None

    def connect(self, port: int, pbx: Pbx) -> socket.socket:
        """Connect, and shake hands with the PBX's own certificate."""
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.authority is None:
            return plain
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.authority)
        context.load_cert_chain(pbx.pem)
        return context.wrap_socket(plain, server_hostname="localhost")


class Lines:
    """Many connections that are kept, driven by one thread."""

    def __init__(
        self,
        port: int,
        pbxs: Sequence[Pbx],
        trust: Trust,
        *,
        writer: Callable[[Pbx], Writer] | None = None,
    ) -> None:
        """Connect each of ``pbxs``; without another ``writer`` they check."""
        self._lines: dict[int, Line] = {}
        self._epoll = select.epoll()
        for pbx in pbxs:
            sock = trust.connect(port, pbx)
            sock.setblocking(False)  # noqa: FBT003 -- as in socket
            is_proxied = trust.authority is None
            asker = writer(pbx) if writer else Asker(pbx, proxied=is_proxied)
            self._lines[sock.fileno()] = Line(sock, asker)
            self._epoll.register(sock, select.EPOLLIN)

    def run(self, seconds: float) -> int:
        """Keep every connection busy for so long; return how many were answered."""
        for line in self._lines.values():
            line.ask()
        answered = self._hear_until(time.perf_counter() + seconds)
        waiting = len(self._lines)
        while waiting:  # what is under way must not count for the next run
            waiting -= self._hear_once(again=False)
        return answered

    def _hear_until(self, end: float) -> int:
        answered = 0
        while time.perf_counter() < end:
            answered += self._hear_once(again=True)
        return answered

    def _hear_once(self, *, again: bool) -> int:
        answered = 0
        ready = self._epoll.poll(PATIENCE)
        if not ready:
            raise Broken("no answer")
        for descriptor, _ in ready:
            line = self._lines[descriptor]
            if line.hear():
                answered += 1
                if again:
                    line.ask()
        return answered

    def close(self) -> None:
        """Close all connections."""
        self._epoll.close()
        for line in self._lines.values():
            line.sock.close()


def visit(port: int, pbxs: Sequence[Pbx], trust: Trust, *, at_once: int) -> int:
    """Let each of ``pbxs`` connect anew, check once, and go; return how many."""
    waiting = list(pbxs)
    faults: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                _visit(port, waiting.pop(), trust)
        except IndexError:
            return
        except (OSError, Broken) as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise Broken(str(faults[0]))
    return len(pbxs)


def _visit(port: int, pbx: Pbx, trust: Trust) -> None:
    asker = Asker(pbx, proxied=False)
    with closing(trust.connect(port, pbx)) as sock:
        sock.sendall(asker.request())
        answer = b""
        while not asker.take(answer):
            data = sock.recv(65536)
            if not data:
                raise Broken("the server closed the connection")
            answer += data
