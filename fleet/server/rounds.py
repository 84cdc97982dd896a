# SPDX-License-Identifier: Apache-2.0
"""Requests that take turns on one thread, so that they can share a commit.

A request that waits for a commit of many (``fleet.commits``) would hold a thread
for that long, and switching between threads costs more than all the rest of its
wait. So a round answers many requests on one thread, each in a greenlet of its
own: an ordinary request to the ordinary application, which gives way at the one
point where it has asked for its share of a commit. When all have asked, the first
goes on, and commits for them all; then each is answered, in order.

A request that waits for anything else, or asks for nothing, is answered in its
turn as on any thread, and the others of its round wait for it.
"""

from collections import deque
from collections.abc import Callable, Sequence

from greenlet import getcurrent, greenlet

from fleet.commits import others_first
from fleet.server.connection import Connection

MOST_IN_ROUND = 64
"""More would not make a request cheaper, but let the first one wait longer."""

BACK_AT_ONCE = 16
"""Answered connections that are given back together.

One by one, each would wake the reactor, and it and this thread take turns; all at
the end, there would be nobody for the next round yet.
"""


class Round:
    """One round: who has still to be called again, and who to be given back."""

    def __init__(
        self,
        serve: Callable[[Connection], None],
        give_back: Callable[[Sequence[Connection]], None],
    ) -> None:
        """Answer each request by ``serve``, which should not raise."""
        self._serve = serve
        self._give_back = give_back
        self._hub = getcurrent()
        self._unfinished: deque[tuple[greenlet, Connection]] = deque()
        self._answered: list[Connection] = []
        self._fault: BaseException | None = None

    def hold(self, take: Callable[[], Connection | None]) -> None:
        """Serve all whom ``take`` yields, until it yields none or the round is full.

        Whatever happens to one, all are served and given back; what one raised is
        raised at the end.
        """
        for _ in range(MOST_IN_ROUND):
            connection = take()
            if connection is None:
                break
            self._call(greenlet(self._turn), connection, connection)
        while self._unfinished:
            self._call(*self._unfinished.popleft())
        self._hand_over()
        if self._fault is not None:
            raise self._fault

    def _turn(self, connection: Connection) -> None:
        # A greenlet has a context of its own: this is seen by this request alone.
        others_first.set(self._hub.switch)
        self._serve(connection)

    def _call(self, turn: greenlet, connection: Connection, *begin: Connection) -> None:
        try:
            turn.switch(*begin)
        except BaseException as fault:  # noqa: BLE001 -- the others are not to be lost
            self._fault = self._fault or fault
        if not turn.dead:
            self._unfinished.append((turn, connection))
            return
        self._answered.append(connection)
        if len(self._answered) >= BACK_AT_ONCE:
            self._hand_over()

    def _hand_over(self) -> None:
        answered, self._answered = self._answered, []
        if answered:
            self._give_back(answered)
