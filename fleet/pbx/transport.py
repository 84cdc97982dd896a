# SPDX-License-Identifier: Apache-2.0
"""HTTPS as a PBX needs it: all input and output of the reference PBX is here.

TLS gives privacy and proves the PBX to the server. It does *not* make an answer
believable, for that is what signatures are for: a company proxy that opens TLS can
disturb a PBX, but neither lock nor unlock it.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Final, Protocol
from urllib.parse import urlsplit

from fleet.pbx.credentials import Credentials
from fleet.pbx.errors import Unreachable

LARGEST_ANSWER: Final = 1024 * 1024
TIMEOUT: Final = 30.0
"""Seconds of silence at most."""
DEADLINE: Final = 120.0
"""Seconds for a whole exchange: a server that drips must not hold a PBX for ever."""
IGNORE_DATES: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which the ``ssl`` module does not name."""
STALE: Final = (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What goes out; with credentials on a device route, without on an open one.

    ``dates_matter`` is false while the PBX's clock is known to be wrong: the dates of
    the server's certificate can then not be judged, its name and chain still are.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    credentials: Credentials | None = None
    dates_matter: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """The way to the vendor."""

    def send(self, request: Request) -> Answer:
        """Send ``request``; raises ``Unreachable`` where no whole answer came."""

    def close(self) -> None:
        """Drop connections that are still open."""


Way = tuple[Credentials | None, bool]


class HttpsTransport:
    """One server, TLS 1.2 or newer, kept alive while a conversation lasts."""

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path,
        timeout: float = TIMEOUT,
        deadline: float = DEADLINE,
    ) -> None:
        """Talk to ``url`` and trust only the CA in ``ca_file`` for it.

        Raises ``ValueError`` where the URL is not ``https``.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError("a PBX talks https only")
        self._host, self._port = parts.hostname, parts.port or 443
        self._base = parts.path.rstrip("/")
        self._ca_file = ca_file
        self._timeout, self._deadline = timeout, deadline
        self._connections: dict[Way, http.client.HTTPSConnection] = {}

    def send(self, request: Request) -> Answer:
        """Send ``request``, over a connection that is already open if there is one."""
        way = (request.credentials, request.dates_matter)
        kept = self._connections.get(way)
        try:
            if kept is not None:
                with suppress(*STALE):  # the server hung up meanwhile: call again
                    return self._exchange(kept, request)
                kept.close()
            self._connections[way] = self._connection(way)
            return self._exchange(self._connections[way], request)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            name = type(error).__name__
            raise Unreachable(f"the server cannot be reached ({name})") from error
        except Unreachable:
            self.close()
            raise

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _connection(self, way: Way) -> http.client.HTTPSConnection:
        credentials, dates_matter = way
        context = _context(self._ca_file, credentials)
        if not dates_matter:
            context.verify_flags |= IGNORE_DATES
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout, context=context
        )

    def _exchange(
        self, connection: http.client.HTTPSConnection, request: Request
    ) -> Answer:
        if connection.sock is None:
            connection.connect()
        ends_at = time.monotonic() + self._deadline
        alarm = Timer(self._deadline, _hang_up, (connection.sock,))
        alarm.daemon = True
        alarm.start()
        try:
            connection.request(
                request.method,
                self._base + request.path,
                body=request.body or None,
                headers=dict(request.headers),
            )
            return _read(connection.getresponse(), ends_at=ends_at)
        finally:
            alarm.cancel()


def _read(response: http.client.HTTPResponse, *, ends_at: float) -> Answer:
    """Read an answer of bearable size; a longer one is not worth reading."""
    body = response.read(LARGEST_ANSWER + 1)
    if len(body) > LARGEST_ANSWER:
        raise Unreachable("the answer is too large")
    if time.monotonic() > ends_at:
        raise Unreachable("the answer took too long")
    response.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(status=response.status, headers=headers, body=body)


def _hang_up(connection: socket.socket) -> None:
    """Wake whoever reads from ``connection``, below TLS, which is not thread-safe."""
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _context(ca_file: Path, credentials: Credentials | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(ca_file)
    if credentials is not None:
        # The ssl module reads certificates from files only.
        with TemporaryDirectory(prefix="pbx-") as folder:
            combined = Path(folder) / "device.pem"
            combined.touch(mode=0o600)
            combined.write_text(credentials.private_key + credentials.chain)
            context.load_cert_chain(combined)
    return context
