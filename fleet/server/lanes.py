# SPDX-License-Identifier: Apache-2.0
"""The threads that answer requests, and the queues before them.

Two pools, because eight slow uploads in one pool stop every licence check. In
the fast pool checks are always taken first.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable

from fleet.server.admission import Lane
from fleet.server.connection import Connection


class Pool:
    """Daemon threads that take connections from their queues, urgent ones first.

    Daemons, because a thread that hangs must not keep a stopping worker alive:
    who waits for requests in flight, and how long, is decided by the worker.
    """

    def __init__(
        self, *, name: str, threads: int, work: Callable[[Connection], object]
    ) -> None:
        """Start the threads; ``work`` never raises."""
        self._work = work
        self._urgent: deque[Connection] = deque()
        self._waiting: deque[Connection] = deque()
        # One token at least for each connection in either queue: a SimpleQueue
        # waits in C, unlike a Condition.
        self._tokens: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._taken = [0] * threads
        for slot in range(threads):
            threading.Thread(
                target=self._run, args=(slot,), name=f"{name}-{slot}", daemon=True
            ).start()

    def put(self, connection: Connection) -> None:
        """Queue a connection whose request is to be answered."""
        urgent = connection.lane is Lane.CHECK
        (self._urgent if urgent else self._waiting).append(connection)
        self._tokens.put(True)  # noqa: FBT003 -- a token, not an option

    def ahead(self, lane: Lane) -> int:
        """Count those who would be served before a newcomer of this lane."""
        urgent = len(self._urgent)
        return urgent if lane is Lane.CHECK else urgent + len(self._waiting)

    def backlog(self, lane: Lane) -> int:
        """Count those who wait in this lane."""
        return len(self._urgent if lane is Lane.CHECK else self._waiting)

    def taken(self) -> int:
        """Count what has left the queues for a thread since the start."""
        return sum(self._taken)

    def stop(self) -> None:
        """Let threads end once the queues are empty."""
        for _ in self._taken:
            self._tokens.put(False)  # noqa: FBT003 -- a token, not an option

    def take_overdue(self, lane: Lane, *, queued_before: float) -> list[Connection]:
        """Take back, unanswered, those of a lane who have waited since then."""
        line = self._urgent if lane is Lane.CHECK else self._waiting
        taken: list[Connection] = []
        while line:
            try:
                oldest = line.popleft()
            except IndexError:
                break  # a thread was quicker
            if oldest.queued_at >= queued_before:
                line.appendleft(oldest)
                break
            taken.append(oldest)
        return taken

    def _run(self, slot: int) -> None:
        while self._tokens.get():
            connection = self._next()
            if connection is None:
                continue
            # A slot of its own for each thread: `+=` is not one step.
            self._taken[slot] += 1
            self._work(connection)

    def _next(self) -> Connection | None:
        """Take the next; None where it has been taken back meanwhile."""
        for line in (self._urgent, self._waiting):
            try:
                return line.popleft()
            except IndexError:
                continue
        return None
