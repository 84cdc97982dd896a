# SPDX-License-Identifier: Apache-2.0
"""gunicorn's request and response, with bytes that the reactor already has.

gunicorn's parser and response are used as they are, because their rules about
framing have been hardened for years. Only the way to and from the socket is
ours: bytes come from the inbox first, ``100 Continue`` is sent when the body is
first asked for, and head and body of an answer leave in one piece.
"""

import time
from collections.abc import Callable
from typing import Protocol

from gunicorn import util
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import NoMoreData
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader
from gunicorn.http.wsgi import FileWrapper, Response

from fleet.server.admission import Lane
from fleet.server.connection import Connection

MIN_UPLOAD_RATE = 1024
"""Bytes a second that an upload must average after its first `stall` seconds."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_LARGEST_READ = 1024 * 1024


class InboxUnreader(Unreader):  # type: ignore[misc] # gunicorn has no types
    """Reads the inbox of a connection, and its socket only for bulk requests.

    The socket then blocks, and two limits apply: no silence longer than the
    socket's timeout, and not much waiting in relation to the bytes received.
    """

    def __init__(self, connection: Connection, *, bulk: bool, patience: float) -> None:
        """Take the inbox; ``patience`` is in seconds, see `MIN_UPLOAD_RATE`."""
        super().__init__()
        self.buf.write(connection.inbox)
        connection.inbox = bytearray()
        self.promises_continue = False
        self._connection = connection
        self._sock = connection.sock
        self._bulk = bulk
        self._patience = patience
        self._waited = 0.0
        self._received = 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Read once from the socket, at most ``size_hint`` bytes or 8 KiB.

        Raises TimeoutError where the client is too slow, and NoMoreData or
        another OSError where it is gone.
        """
        if not self._bulk:
            # The reactor hands over complete requests only: there is no more.
            raise NoMoreData
        if self.promises_continue:
            self.promises_continue = False
            self._sock.sendall(CONTINUE)
        begun = time.monotonic()
        try:
            data = self._sock.recv(min(max(size_hint or 0, 8192), _LARGEST_READ))
        except TimeoutError:
            raise  # the client may still be told
        except OSError:
            self._connection.lost = True
            raise
        self._waited += time.monotonic() - begun
        self._received += len(data)
        if self._waited > self._patience + self._received / MIN_UPLOAD_RATE:
            raise TimeoutError
        if not data:
            raise NoMoreData  # only a body that is not whole is asked for
        return data

    def buffered(self) -> int:
        """Count bytes that are here already, of this request or the next."""
        return len(self.buf.getbuffer())


def is_received(request: Request, unreader: InboxUnreader) -> bool:
    """Say whether nothing more of the request has to come from the client."""
    reader = request.body.reader
    if isinstance(reader, ChunkedReader):
        return reader.parser is None
    return bool(reader.length <= unreader.buffered())


class Host(Protocol):
    """As much of the worker as an answer needs to know."""

    alive: bool


class HeldResponse(Response):  # type: ignore[misc] # gunicorn has no types
    """Holds the head back until the first bytes of the body are there.

    PEP 3333 asks for the same, and one TLS record instead of two is cheaper for
    both sides. ``send`` takes bytes as ``sendall`` does.
    """

    def __init__(
        self,
        req: Request,
        connection: Connection,
        cfg: object,
        host: Host,
        unreader: InboxUnreader,
        send: Callable[[bytes], None],
    ) -> None:
        """Answer ``req`` by means of ``send``."""
        self.headers_sent = False
        super().__init__(req, connection.sock, cfg)
        self._host = host
        self._connection = connection
        self._unreader = unreader
        self._send = send
        self._held = b""

    def should_close(self) -> bool:
        """Also close where the client would go on with a body nobody reads."""
        return bool(super().should_close()) or not is_received(self.req, self._unreader)

    def send_headers(self) -> None:
        """Make the head, and keep it for `_emit_body`, `sendfile` or `close`."""
        if self.headers_sent:
            return
        self._unreader.promises_continue = False
        if not self._host.alive or self.should_close():
            self.force_close()
        lines = self.default_headers()
        lines.extend([f"{name}: {value}\r\n" for name, value in self.headers])
        self._held = f"{''.join(lines)}\r\n".encode("latin-1")
        self.headers_sent = True

    def _emit_body(self, data: bytes) -> None:
        if self.chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        self._release(data)

    def _release(self, data: bytes = b"") -> None:
        held, self._held = self._held, b""
        if not held and not data:
            return
        self._connection.answering = True
        try:
            self._send(held + data)
        except OSError:
            self._connection.lost = True
            raise

    def sendfile(self, respiter: FileWrapper) -> bool:
        """Let the kernel send a file, for a thread that may wait."""
        bulk = self._connection.lane is Lane.BULK
        if not bulk or self.cfg.is_ssl or not util.has_fileno(respiter.filelike):
            return False
        self.send_headers()
        self._release()
        return bool(super().sendfile(respiter))

    def close(self) -> None:
        """End the answer, with the last chunk where it is chunked."""
        self.send_headers()
        self._release(b"0\r\n\r\n" if self.chunked else b"")
