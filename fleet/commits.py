# SPDX-License-Identifier: Apache-2.0
"""Requests that arrive together share one transaction, and one flush to disk.

A licence check is one small write. Committed alone, each would wait for its own
flush, and the flushes would wait for each other. Here the first request that
finds nobody at work leads: it takes all that are waiting, does their work in one
transaction, commits, and only then is any of them answered. Those who come
meanwhile wait, and one of them leads next. There is no thread to start, to stop
or to lose, and one request alone pays nothing for it.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from fleet.database import writing

Ask = TypeVar("Ask")
Reply = TypeVar("Reply")

# More in one transaction would make the first of them wait without gain.
MOST_TOGETHER = 256


class _Seat(Generic[Ask, Reply]):
    """One waiting request: what it asks, and how it is woken."""

    __slots__ = ("ask", "bell", "outcome")

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.outcome: Reply | Exception | None = None
        self.bell = threading.Lock()
        self.bell.acquire()


class GroupCommit(Generic[Ask, Reply]):
    """Does the work of many requests in one transaction after another.

    ``work`` is handed a connection inside a transaction and the asks in order
    of arrival; it returns one reply for each. A reply that is an exception is
    raised to its asker alone.
    """

    def __init__(
        self,
        engine: Engine,
        work: Callable[[Connection, Sequence[Ask]], Sequence[Reply | Exception]],
    ) -> None:
        """Work on ``engine``, which is connected to when the first ask comes."""
        self._engine = engine
        self._work = work
        self._guard = threading.Lock()
        self._waiting: deque[_Seat[Ask, Reply]] = deque()
        self._led = False

    def submit(self, ask: Ask) -> Reply:
        """Return the reply to ``ask`` once its transaction is committed.

        Raises what ``work`` replied with, or SQLAlchemy's error where the
        database failed: then nothing was changed, or nobody can know.
        """
        seat: _Seat[Ask, Reply] = _Seat(ask)
        with self._guard:
            self._waiting.append(seat)
            leads = not self._led
            self._led = True
        if not leads:
            seat.bell.acquire()
        if seat.outcome is None:
            self._lead()
        outcome = seat.outcome
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is None:
            raise RuntimeError("a batch was led without the seat of its leader")
        return outcome

    def _lead(self) -> None:
        with self._guard:
            count = min(len(self._waiting), MOST_TOGETHER)
            batch = [self._waiting.popleft() for _ in range(count)]
        try:
            self._serve(batch)
        finally:
            with self._guard:
                successor = self._waiting[0] if self._waiting else None
                self._led = successor is not None
            if successor is not None:
                successor.bell.release()
            for seat in batch[1:]:  # the first is the leader's own
                seat.bell.release()

    def _serve(self, batch: list[_Seat[Ask, Reply]]) -> None:
        """Give each seat an outcome, whatever happens."""
        try:
            outcomes = self._commit([seat.ask for seat in batch])
        except DBAPIError as fault:
            # One ask that the database refuses: each alone, so that none suffers
            # for another. A database that is away or stuck is so for all of them,
            # and each would wait for it once more.
            is_away = (
                isinstance(fault, OperationalError) or fault.connection_invalidated
            )
            if not is_away and len(batch) > 1:
                for seat in batch:
                    self._serve([seat])
                return
            outcomes = [fault] * len(batch)
        except Exception as fault:  # noqa: BLE001 -- raised again to every asker
            outcomes = [fault] * len(batch)
        for seat, outcome in zip(batch, outcomes, strict=True):
            seat.outcome = outcome

    def _commit(self, asks: Sequence[Ask]) -> Sequence[Reply | Exception]:
        with writing(self._engine) as connection:
            return self._work(connection, asks)
