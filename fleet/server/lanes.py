# SPDX-License-Identifier: Apache-2.0
"""The threads that answer requests, and the queues before them.

Two pools, because eight slow uploads in one pool stop every licence check. In
the fast pool checks are always taken first. Those that share commits are joint:
one thread at a time takes all that wait, and serves them in a round.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum

from fleet.server.admission import Lane
from fleet.server.connection import Connection
from fleet.server.rounds import Round

PATIENCE = 0.25
"""Seconds that a round may last before it is taken to hang, as on a stuck database.

Until then nothing else is begun while joint requests wait, for they come first;
afterwards, other requests are, and so is another round.
"""


class Token(Enum):
    """What a thread is woken for: one request, a round, or its end."""

    ONE = "one"
    ROUND = "round"
    END = "end"


class Pool:
    """Daemon threads that take connections from their queues, urgent ones first.

    Daemons, because a thread that hangs must not keep a stopping worker alive:
    who waits for requests in flight, and how long, is decided by the worker.
    """

    def __init__(
        self,
        *,
        name: str,
        threads: int,
        serve: Callable[[Connection], None],
        give_back: Callable[[Sequence[Connection]], None],
    ) -> None:
        """Start the threads; ``serve`` answers one request, and never raises.

        ``give_back`` is handed what was answered, of a round several at once.
        """
        self._serve = serve
        self._give_back = give_back
        self._joint: deque[Connection] = deque()
        self._urgent: deque[Connection] = deque()
        self._waiting: deque[Connection] = deque()
        self._round = threading.Lock()
        self._rounds = threading.Semaphore(max(0, threads // 2 - 1))
        self._rounds_ended = 0
        self._called = False
        # One token at least for each connection in the two queues of those that are
        # served alone: a SimpleQueue waits in C, unlike a Condition.
        self._tokens: queue.SimpleQueue[Token] = queue.SimpleQueue()
        self._taken = [0] * threads
        for slot in range(threads):
            threading.Thread(
                target=self._run, args=(slot,), name=f"{name}-{slot}", daemon=True
            ).start()

    def put(self, connection: Connection) -> None:
        """Queue a connection whose request is to be answered.

        One with a joint request is served once `call_round` has been called.
        """
        if connection.joint:
            self._joint.append(connection)
            return
        urgent = connection.lane is Lane.CHECK
        (self._urgent if urgent else self._waiting).append(connection)
        self._tokens.put(Token.ONE)

    def call_round(self) -> None:
        """Let the joint requests be served that were queued so far.

        Called when all that have arrived are queued, so that they share a round.
        One thread is called at a time, and looks for more when its round is over.
        """
        if self._joint and not self._called:
            self._called = True
            self._tokens.put(Token.ROUND)

    def ahead(self, lane: Lane) -> int:
        """Count those who would be served before a newcomer of this lane."""
        urgent = len(self._urgent) + len(self._joint)
        return urgent if lane is Lane.CHECK else urgent + len(self._waiting)

    def backlog(self, lane: Lane) -> int:
        """Count those who wait in this lane."""
        urgent = len(self._urgent) + len(self._joint)
        return urgent if lane is Lane.CHECK else len(self._waiting)

    def taken(self) -> int:
        """Count what has left the queues for a thread since the start."""
        return sum(self._taken)

    def stop(self) -> None:
        """Let threads end once the queues are empty."""
        for _ in self._taken:
            self._tokens.put(Token.END)

    def take_overdue(self, lane: Lane, *, queued_before: float) -> list[Connection]:
        """Take back, unanswered, those of a lane who have waited since then."""
        if lane is not Lane.CHECK:
            return _overdue(self._waiting, queued_before)
        return _overdue(self._joint, queued_before) + _overdue(
            self._urgent, queued_before
        )

    def _run(self, slot: int) -> None:
        while (token := self._tokens.get()) is not Token.END:
            if token is Token.ROUND:
                self._hold_rounds(slot)
                continue
            self._let_rounds_go_first()
            connection = self._next()
            if connection is None:
                continue
            # A slot of its own for each thread: `+=` is not one step.
            self._taken[slot] += 1
            self._serve(connection)
            self._give_back([connection])

    def _hold_rounds(self, slot: int) -> None:
        """Serve the joint requests that wait, once the round under way is over.

        Where that hangs, those who wait now get a round of their own, on as many
        threads at most as leaves half of them for others.
        """
        is_only = self._wait_for_round()
        # From here on, who is queued may call the next thread. It stands by while
        # this one goes on, and looks again after that: nobody is overlooked.
        self._called = False
        try:
            self._hold_round(slot)
            while is_only and self._joint:
                self._hold_round(slot)
        finally:
            (self._round if is_only else self._rounds).release()
        self.call_round()

    def _wait_for_round(self) -> bool:
        """Return whether no other round is under way; if one is, it hangs."""
        while True:
            ended = self._rounds_ended
            if self._round.acquire(timeout=PATIENCE):
                return True
            if self._rounds_ended == ended and self._rounds.acquire(blocking=False):
                return False

    def _hold_round(self, slot: int) -> None:
        def take() -> Connection | None:
            connection = _first(self._joint)
            if connection is not None:
                self._taken[slot] += 1
            return connection

        try:
            Round(self._serve, self._give_back).hold(take)
        finally:
            self._rounds_ended += 1

    def _let_rounds_go_first(self) -> None:
        if self._joint and self._round.acquire(timeout=PATIENCE):
            self._round.release()

    def _next(self) -> Connection | None:
        """Take the next; None where it has been taken back meanwhile."""
        return _first(self._urgent) or _first(self._waiting)


def _first(line: deque[Connection]) -> Connection | None:
    try:
        return line.popleft()
    except IndexError:
        return None


def _overdue(line: deque[Connection], queued_before: float) -> list[Connection]:
    taken: list[Connection] = []
    while (oldest := _first(line)) is not None:
        if oldest.queued_at >= queued_before:
            line.appendleft(oldest)
            break
        taken.append(oldest)
    return taken
