# SPDX-License-Identifier: Apache-2.0
"""One client connection: its socket, how far it has come, what is still to send.

A connection belongs to the reactor, except while its stage is WITH_THREAD: then
one thread has it to itself. The socket never blocks, but for bulk requests.
"""

import math
import select
import socket
import ssl
from collections import deque
from contextlib import suppress
from enum import Enum

from fleet.server.admission import Lane
from fleet.server.framing import Outline

RECORD = 16 * 1024
"""Bytes per send: one TLS record, so that a send cut short can be repeated."""

MAX_OUTBOX = 1024 * 1024
"""Bytes kept for a slow reader before the thread that writes has to wait."""

WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Address = tuple[str, int] | tuple[str, int, int, int] | str


class Stage(Enum):
    """How far a connection has come."""

    HANDSHAKE = "handshake"
    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    WITH_THREAD = "with thread"
    FLUSH = "flush"
    LINGER = "linger"

    __hash__ = object.__hash__


class Connection:
    """A socket with its history; see the module for who may touch it when."""

    __slots__ = (
        "answering",
        "client",
        "deadline",
        "descriptor",
        "inbox",
        "joint",
        "keep",
        "lane",
        "lost",
        "outbox",
        "outlined",
        "queued_at",
        "requests",
        "server",
        "sock",
        "stage",
    )

    def __init__(
        self,
        sock: socket.socket,
        *,
        client: Address,
        server: Address,
    ) -> None:
        """Take over an accepted socket that does not block."""
        self.sock = sock
        # Also when the socket has lost it: connections are kept by this number.
        self.descriptor = sock.fileno()
        self.client = client
        self.server = server
        self.deadline = math.inf
        self.stage = Stage.HEAD
        self.lane = Lane.OTHER
        self.joint = False
        self.inbox = bytearray()
        self.outbox: deque[memoryview] = deque()
        self.outlined: Outline | None = None
        self.queued_at = 0.0
        self.requests = 0
        self.keep = False
        self.lost = False
        self.answering = False

    @property
    def secured(self) -> bool:
        """Whether TLS is spoken on this connection."""
        return isinstance(self.sock, ssl.SSLSocket)

    def secure(self, context: ssl.SSLContext) -> None:
        """Begin TLS; the handshake itself is taken on by `handshake`."""
        self.sock = context.wrap_socket(
            self.sock, server_side=True, do_handshake_on_connect=False
        )

    def handshake(self) -> None:
        """Go on with the handshake; raise as the socket does when it must wait."""
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock.do_handshake()

    def undecrypted(self) -> bool:
        """Whether TLS holds bytes that the kernel no longer shows as readable."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0

    def queue(self, data: bytes) -> None:
        """Send what goes out at once; keep the rest for `flush`."""
        view = memoryview(data)
        self.outbox.extend(
            view[start : start + RECORD] for start in range(0, len(view), RECORD)
        )
        self.flush()

    def flush(self) -> bool:
        """Send from the outbox; return whether it is empty now."""
        outbox = self.outbox
        try:
            while outbox:
                sent = self.sock.send(outbox[0])
                if sent < len(outbox[0]):
                    outbox[0] = outbox[0][sent:]
                else:
                    outbox.popleft()
        except WOULD_BLOCK:
            return False
        return True

    def wait_until_flushed(self, *, seconds: float) -> None:
        """Hold a thread until a slow reader has taken most of a long answer.

        Raises TimeoutError when it takes nothing for that long.
        """
        if len(self.outbox) * RECORD <= MAX_OUTBOX:
            return
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLOUT)
        while self.outbox:
            if not poll.poll(int(seconds * 1000)):
                raise TimeoutError
            self.flush()

    def hang_up(self) -> None:
        """Say goodbye: ``close_notify`` under TLS, then FIN; reading goes on.

        Closing at once would make the kernel send RST when unread bytes are left,
        and the client might lose the answer (RFC 9112 section 9.6).
        """
        with suppress(OSError, ValueError):
            self.sock.setblocking(False)  # noqa: FBT003 -- as in socket
            if isinstance(self.sock, ssl.SSLSocket):
                with suppress(*WOULD_BLOCK):
                    self.sock.unwrap()
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket; it may be closed already."""
        with suppress(OSError):
            self.sock.close()
