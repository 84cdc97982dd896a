# SPDX-License-Identifier: Apache-2.0
"""From bytes to a complete small request, without ever waiting.

A half-open handshake, a slow head, or a slow small body costs a socket and a
few bytes here, and no thread.
"""

import math
import ssl
from collections.abc import Callable
from http import HTTPStatus

from fleet.server.admission import Lane
from fleet.server.connection import Connection, Stage
from fleet.server.framing import is_hopeless, outline
from fleet.server.options import MAX_HEAD, ServerOptions

RECEIVE = 64 * 1024
"""Bytes asked for at once."""


class Malformed(Exception):  # noqa: N818 -- an answer to the client, not a fault
    """What has arrived can never become a request; carries the status to say."""

    def __init__(self, status: HTTPStatus) -> None:
        """Carry ``status``."""
        super().__init__(status.phrase)
        self.status = status


class Intake:
    """Reads handshakes and requests of any number of connections."""

    def __init__(
        self,
        options: ServerOptions,
        *,
        context: Callable[[float], ssl.SSLContext] | None,
    ) -> None:
        """Use the TLS ``context`` for an instant, or speak no TLS at all."""
        self._options = options
        self._context = context

    def welcome(self, connection: Connection, *, now: float) -> None:
        """Set stage and deadline of a connection just accepted."""
        if self._context is None:
            connection.stage = Stage.HEAD
            connection.deadline = now + self._options.head_seconds
        else:
            connection.stage = Stage.HANDSHAKE
            connection.deadline = now + self._options.handshake_seconds

    def look_at_files(self, *, now: float) -> None:
        """Notice a change of the TLS files, and log a fault, though nobody calls."""
        if self._context is not None:
            self._context(now)

    def shake_hands(self, connection: Connection, *, now: float) -> None:
        """Go on with the handshake; raise as the socket does when it must wait.

        The TLS state is made when the first byte arrives: silent connections
        cost nothing but their descriptor.
        """
        if self._context is not None and not connection.secured:
            connection.secure(self._context(now))
        connection.handshake()
        connection.stage = Stage.HEAD
        connection.deadline = now + self._options.head_seconds

    def receive(self, connection: Connection, *, now: float) -> bool:
        """Read until a request is whole (True) or the client is gone (False).

        Raises as the socket does when more must be waited for, and `Malformed`.
        """
        while True:
            data = connection.sock.recv(RECEIVE)
            if not data:
                return False
            connection.inbox += data
            if self.is_whole(connection, now=now):
                return True
            if len(data) < RECEIVE and not connection.secured:
                raise BlockingIOError

    def is_whole(self, connection: Connection, *, now: float) -> bool:
        """Say whether the inbox begins with a request that can be queued.

        Raises `Malformed`. Sets lane, stage and deadline on the way.
        """
        if connection.stage is Stage.IDLE and connection.inbox:
            connection.stage = Stage.HEAD
            connection.deadline = now + self._options.head_seconds
        if connection.outlined is None and not self._outline(connection, now=now):
            return False
        outlined = connection.outlined
        return outlined is not None and (
            outlined.end is None or len(connection.inbox) >= outlined.end
        )

    def _outline(self, connection: Connection, *, now: float) -> bool:
        inbox = connection.inbox
        if inbox.startswith(b"\r\n"):
            del inbox[:2]  # one empty line is forgiven (RFC 9112 section 2.2)
        found = inbox.find(b"\r\n\r\n", 0, MAX_HEAD)
        if found < 0:
            _judge_incomplete(bytes(inbox))
            return False
        outlined = outline(bytes(inbox), head_end=found + 4)
        connection.outlined = outlined
        connection.lane = self._lane(outlined.target, whole=outlined.end is not None)
        connection.joint = connection.lane is Lane.CHECK and self._is_joint(
            outlined.target
        )
        connection.stage = Stage.BODY
        connection.deadline = now + self._options.body_seconds
        return True

    def _is_joint(self, target: bytes) -> bool:
        paths = self._options.joint_paths
        return paths is not None and paths.fullmatch(target) is not None

    def _lane(self, target: bytes, *, whole: bool) -> Lane:
        if not whole or self._options.bulk_paths.match(target):
            return Lane.BULK
        if self._options.check_paths.match(target):
            return Lane.CHECK
        return Lane.OTHER


def _judge_incomplete(inbox: bytes) -> None:
    if len(inbox) >= MAX_HEAD:
        if b"\r\n" in inbox:
            raise Malformed(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        raise Malformed(HTTPStatus.REQUEST_URI_TOO_LONG)
    if is_hopeless(inbox):
        raise Malformed(HTTPStatus.BAD_REQUEST)


def for_thread(connection: Connection, *, now: float) -> None:
    """Mark a connection as belonging to a thread from now on."""
    connection.stage = Stage.WITH_THREAD
    connection.deadline = math.inf
    connection.queued_at = now
