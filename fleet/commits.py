# SPDX-License-Identifier: Apache-2.0
"""Requests that arrive together share one transaction, and one flush to disk.

A licence check is one small write. Committed alone, each would wait for its own
flush, and the flushes would wait for each other. Here the first request that
finds nobody at work leads: it takes all that are waiting, does their work in one
transaction, commits, and only then is any of them answered. Those who come
meanwhile wait, and one of them leads next. There is no thread to start, to stop
or to lose, and one request alone pays nothing for it.

Where many requests take turns on one thread, each lets the others ask before it
goes on (`others_first`), so that the first to go on leads them all.
"""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, OperationalError

from fleet.database import WRITES

T = TypeVar("T")
Ask = TypeVar("Ask")
Reply = TypeVar("Reply")

# More in one transaction would make the first of them wait without gain.
MOST_TOGETHER = 256

others_first: ContextVar[Callable[[], object] | None] = ContextVar(
    "others_first", default=None
)
"""Called by a request once it has asked; returns when the others have asked, too.

Set by whoever lets requests take turns; where it is not set, nobody is waited for.
"""


class _Seat(Generic[Ask, Reply]):
    """One waiting request: what it asks, and how it is woken.

    The bell is rung with the outcome, or to lead; to lead only where its owner
    ``listens``, since one that lets others go first may be long in coming.
    """

    __slots__ = ("ask", "bell", "listens", "outcome")

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.outcome: Reply | Exception | None = None
        self.listens = False
        self.bell = threading.Lock()
        self.bell.acquire()


class GroupCommit(Generic[Ask, Reply]):
    """Does the work of many requests in one transaction after another.

    ``work`` is handed a connection inside a transaction and the asks in order
    of arrival; it returns one reply for each. A reply that is an exception is
    raised to its asker alone. It is called again with the same asks where its
    first transaction came to nothing.
    """

    def __init__(
        self,
        engine: Engine,
        work: Callable[[Connection, Sequence[Ask]], Sequence[Reply | Exception]],
    ) -> None:
        """Work on ``engine``, which is connected to when the first ask comes."""
        self._line = _Line(engine)
        self._work = work
        self._begin()
        _all_groups.add(self)

    def _begin(self) -> None:
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
        let_others_ask = others_first.get()
        if let_others_ask is not None:
            let_others_ask()
        while seat.outcome is None:
            if not self._may_lead(seat):
                seat.bell.acquire()
            if seat.outcome is None:
                self._lead()
        if isinstance(seat.outcome, Exception):
            raise seat.outcome
        return seat.outcome

    def _may_lead(self, seat: _Seat[Ask, Reply]) -> bool:
        with self._guard:
            seat.listens = True
            if self._led or seat.outcome is not None:
                return False
            self._led = True
            return True

    def _lead(self) -> None:
        with self._guard:
            count = min(len(self._waiting), MOST_TOGETHER)
            batch = [self._waiting.popleft() for _ in range(count)]
        try:
            self._serve(batch)
        finally:
            with self._guard:
                successor = next((each for each in self._waiting if each.listens), None)
                self._led = successor is not None
            if successor is not None:
                successor.bell.release()
            for seat in batch:
                if seat.outcome is None:  # this thread is being ended
                    seat.outcome = RuntimeError("the batch was broken off")
                seat.bell.release()

    def _serve(self, batch: list[_Seat[Ask, Reply]]) -> None:
        """Give each seat an outcome, whatever happens."""
        asks = [seat.ask for seat in batch]
        try:
            outcomes = self._line.transact(lambda line: self._work(line, asks))
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


def padded(values: Collection[T]) -> list[T]:
    """Return ``values`` with the first repeated, so that there are few lengths.

    A statement that asks for a list has a text of its own for each length of it, to
    be made and prepared; here they are powers of two.
    """
    given = list(values)
    return given + given[:1] * ((1 << (len(given) - 1).bit_length()) - len(given))


Done = TypeVar("Done")


class _Line:
    """A connection that is kept from one transaction to the next.

    Only a fetched one is sure to be alive; to fetch one, make sure of it, and give
    it back costs more than a small batch. So here a line that turns out to have
    been cut while nobody used it is replaced, and the work is done once more.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: Connection | None = None
        self._guard = threading.Lock()
        event.listen(engine, "engine_disposed", self._hang_up)

    def transact(self, work: Callable[[Connection], Done]) -> Done:
        """Commit what ``work`` does, and return what it returns; one at a time."""
        kept = self._take()
        line = kept or self._engine.connect().execution_options(**WRITES)
        worked = False
        try:
            try:
                with line.begin():
                    done = work(line)
                    worked = True
            except DBAPIError as fault:
                if worked or kept is None or not fault.connection_invalidated:
                    raise
                with line.begin():
                    done = work(line)
        except BaseException:
            line.close()
            raise
        self._kept = line
        return done

    def begin_anew(self) -> None:
        """Leave the line to the process that this one was forked from."""
        self._guard = threading.Lock()
        kept = self._take()
        if kept is not None:
            _not_ours.append(kept)

    def _take(self) -> Connection | None:
        with self._guard:
            kept, self._kept = self._kept, None
            return kept

    def _hang_up(self, _engine: Engine) -> None:
        kept = self._take()
        if kept is not None:
            kept.detach()  # the pool that it is from has been given up as well
            kept.close()


# A process that is forked inherits the locks as they are, perhaps held, and a line
# on which its parent speaks. Were that closed here, it would be closed there.
_all_groups: "weakref.WeakSet[GroupCommit[Any, Any]]" = weakref.WeakSet()
_not_ours: list[Connection] = []


def _begin_anew() -> None:
    for each in _all_groups:
        each._begin()  # noqa: SLF001 -- the class's own module
        each._line.begin_anew()  # noqa: SLF001 -- the class's own module


os.register_at_fork(after_in_child=_begin_anew)
