# SPDX-License-Identifier: Apache-2.0
"""The way of a connection back from a thread, after its request is answered."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress

from fleet.server.connection import Connection, Stage
from fleet.server.poller import Poller


class Returns:
    """Takes connections from threads, and wakes the reactor only where needed.

    Most connections just wait for their next request: their thread arms them
    itself, which spares the reactor a round. All others are queued for it.
    """

    def __init__(self, poller: Poller, *, keepalive: float) -> None:
        """Let connections idle for ``keepalive`` seconds."""
        self._poller = poller
        self._keepalive = keepalive
        self._queue: deque[Connection] = deque()
        self.stopping = False

    def take_back(self, served: Sequence[Connection]) -> None:
        """Take over from the thread that has answered, and that calls this.

        Many at once are queued: armed here, the first of them would wake the
        reactor, and it and this thread would take turns over the rest.
        """
        if len(served) == 1 and self._rests(served[0]):
            self._arm(served[0], time.monotonic())
            return
        self._queue.extend(served)
        self._poller.ring()

    def take_all(self, *, now: float) -> Iterator[Connection]:
        """Yield those that the reactor has to look at, oldest first."""
        while self._queue:
            connection = self._queue.popleft()
            if self._rests(connection):
                self._arm(connection, now)
            else:
                yield connection

    def _arm(self, connection: Connection, now: float) -> None:
        connection.outlined = None
        connection.deadline = now + self._keepalive
        connection.stage = Stage.IDLE
        # Last, for the reactor may be at it the moment this is done.
        with suppress(OSError, ValueError):
            self._poller.await_input(connection.sock)

    def _rests(self, connection: Connection) -> bool:
        return connection.keep and not (
            connection.outbox
            or connection.inbox
            or self.stopping
            or connection.undecrypted()
        )
