# SPDX-License-Identifier: Apache-2.0
"""Requests that arrive together share a commit, and no other fate."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from fleet import commits
from fleet.commits import GroupCommit, padded
from fleet.database import db
from fleet.errors import Conflict
from fleet.server.rounds import MOST_IN_ROUND, Round

TABLE = Table(
    "wish",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("text", String(20), unique=True),
)

Work = Callable[[Connection, Sequence[str]], Sequence[str | Exception]]


class Refused(Conflict):
    code = "invalid-request"
    reason = "No."


class Desk:
    """Grants wishes: writes each down and says so; ``no`` is refused.

    The first batch waits until ``open`` is called, so that others gather.
    """

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.commits = 0
        self.begun = threading.Event()
        self._opened = threading.Event()
        self.group: GroupCommit[str, str] = GroupCommit(db.engine, self.work)

    def work(
        self, connection: Connection, asks: Sequence[str]
    ) -> Sequence[str | Exception]:
        self.batches.append(list(asks))
        self.begun.set()
        self._opened.wait(10)
        if "drop the line" in asks:
            fault = OSError("gone")
            raise OperationalError("", None, fault, connection_invalidated=True)
        if "stumble" in asks:
            raise ZeroDivisionError
        granted = [{"text": ask} for ask in asks if ask != "no"]
        if granted:
            connection.execute(insert(TABLE), granted)
        return [Refused() if ask == "no" else f"granted: {ask}" for ask in asks]

    def open(self) -> None:
        """Let the first batch go on."""
        self._opened.set()

    def gather(self, *asks: str) -> dict[str, "Future[str]"]:
        """Let ``first`` go ahead, and the others gather behind it, in order."""
        return self.gather_behind("first", *asks)

    def gather_behind(self, first: str, *asks: str) -> dict[str, "Future[str]"]:
        """Let one go ahead, and the others gather behind it, in order."""
        pool = ThreadPoolExecutor(len(asks) + 1)
        futures = {first: pool.submit(self.group.submit, first)}
        assert self.begun.wait(10)
        for count, ask in enumerate(asks, start=1):
            futures[ask] = pool.submit(self.group.submit, ask)
            while len(self.group._waiting) < count:  # noqa: SLF001 -- nothing else tells
                pass
        self.open()
        pool.shutdown()
        return futures


@pytest.fixture
def desk(app: Flask) -> Iterator[Desk]:
    """A desk whose commits are counted."""
    assert app.testing
    TABLE.create(db.engine)
    made = Desk()

    def count(_: Connection) -> None:
        made.commits += 1

    event.listen(db.engine, "commit", count)
    yield made
    event.remove(db.engine, "commit", count)


def written() -> list[str]:
    with db.engine.connect() as connection:
        return list(connection.scalars(select(TABLE.c.text).order_by(TABLE.c.id)))


def outcome(future: "Future[str]") -> object:
    return future.exception() or future.result()


def test_those_who_come_meanwhile_share_one_commit_in_their_order(desk: Desk) -> None:
    asks = [f"wish {number}" for number in range(20)]
    futures = desk.gather(*asks)
    assert [each.result() for each in futures.values()] == [
        f"granted: {ask}" for ask in ("first", *asks)
    ]
    assert desk.batches == [["first"], asks]
    assert desk.commits == 2
    assert written() == ["first", *asks]


def test_one_alone_waits_for_nobody(desk: Desk) -> None:
    desk.gather()
    assert desk.group.submit("second") == "granted: second"
    assert desk.group.submit("third") == "granted: third"
    assert desk.commits == 3


def test_a_refusal_reaches_its_asker_alone(desk: Desk) -> None:
    futures = desk.gather("a", "no", "b")
    assert isinstance(futures.pop("no").exception(), Refused)
    assert [outcome(each) for each in futures.values()] == [
        "granted: first",
        "granted: a",
        "granted: b",
    ]
    assert desk.commits == 2
    assert written() == ["first", "a", "b"]


def test_what_the_database_refuses_harms_nobody_else_in_the_batch(desk: Desk) -> None:
    desk.gather("taken")
    next_desk = Desk()
    futures = next_desk.gather_behind("another first", "a", "taken", "b")
    assert isinstance(futures.pop("taken").exception(), IntegrityError)
    assert [outcome(each) for each in futures.values()] == [
        "granted: another first",
        "granted: a",
        "granted: b",
    ]
    # Once together, in vain, and then each alone, in the same order.
    assert next_desk.batches[1:] == [["a", "taken", "b"], ["a"], ["taken"], ["b"]]
    assert written() == ["first", "taken", "another first", "a", "b"]


def test_a_lost_connection_reaches_all_who_were_in_the_batch(desk: Desk) -> None:
    futures = desk.gather("a", "drop the line", "b")
    assert futures.pop("first").result() == "granted: first"
    for each in futures.values():
        fault = each.exception()
        assert isinstance(fault, DBAPIError)
        assert fault.connection_invalidated
    assert written() == ["first"]
    # And the next is served as if nothing had been.
    assert desk.group.submit("c") == "granted: c"


def test_a_fault_of_our_own_reaches_all_and_nothing_is_written(desk: Desk) -> None:
    futures = desk.gather("a", "stumble")
    assert isinstance(futures["a"].exception(), ZeroDivisionError)
    assert isinstance(futures["stumble"].exception(), ZeroDivisionError)
    assert written() == ["first"]
    assert desk.group.submit("c") == "granted: c"


def test_a_batch_is_never_larger_than_it_may_be(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "MOST_TOGETHER", 4)
    asks = [f"wish {number}" for number in range(10)]
    futures = desk.gather(*asks)
    assert all(each.exception() is None for each in futures.values())
    assert desk.batches == [["first"], asks[:4], asks[4:8], asks[8:]]


def test_nobody_is_answered_before_the_commit(desk: Desk) -> None:
    committed: list[bool] = []

    def look(_: Connection) -> None:
        committed.append(any(each.done() for each in futures.values()))

    futures: dict[str, Future[str]] = {}
    event.listen(db.engine, "commit", look)
    try:
        futures.update(desk.gather("a", "b"))
    finally:
        event.remove(db.engine, "commit", look)
    assert committed == [False, False]


def test_under_steady_load_everybody_is_answered_and_commits_are_few(
    desk: Desk,
) -> None:
    desk.gather()

    def many(person: int) -> list[str]:
        return [desk.group.submit(f"{person}/{number}") for number in range(15)]

    with ThreadPoolExecutor(8) as pool:
        replies = [each for found in pool.map(many, range(8)) for each in found]
    assert len(set(replies)) == 8 * 15
    assert len(written()) == 1 + 8 * 15
    assert desk.commits < 1 + 8 * 15
    for person in range(8):
        mine = [each for each in written() if each.startswith(f"{person}/")]
        assert mine == [f"{person}/{number}" for number in range(15)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], 0),
        ([1], 1),
        ([1, 2], 2),
        ([1, 2, 3], 4),
        ([*range(5)], 8),
        ([*range(8)], 8),
    ],
)
def test_a_list_is_padded_with_what_it_has_to_few_lengths(
    given: list[int], expected: int
) -> None:
    assert len(padded(given)) == expected
    assert set(padded(given)) == set(given)


def in_a_round(
    group: GroupCommit[str, str], asks: Sequence[str]
) -> dict[str, str | Exception]:
    """Let all of them ask on this thread, in turns; return what each was told."""
    told: dict[str, str | Exception] = {}

    def serve(ask: str) -> None:
        try:
            told[ask] = group.submit(ask)
        except Exception as fault:  # noqa: BLE001 -- what it was told
            told[ask] = fault

    names = iter(asks)
    held = Round(serve, list)  # type: ignore[arg-type] # a connection is what serve takes
    held.hold(lambda: next(names, None))  # type: ignore[arg-type, return-value]
    assert list(told) == list(asks)  # nobody is lost, and all are told in order
    return told


@pytest.fixture
def quick(desk: Desk) -> Desk:
    """The desk after its first batch: it holds nobody up any more."""
    desk.gather()
    desk.batches.clear()
    desk.commits = 0
    return desk


def test_a_round_is_one_commit_in_the_order_of_its_asks(quick: Desk) -> None:
    asks = [f"wish {number}" for number in range(MOST_IN_ROUND)]
    told = in_a_round(quick.group, asks)
    assert list(told.values()) == [f"granted: {ask}" for ask in asks]
    assert quick.batches == [asks]
    assert quick.commits == 1
    assert written() == ["first", *asks]


def test_in_a_round_too_one_suffers_for_nobody(quick: Desk) -> None:
    told = in_a_round(quick.group, ["a", "no", "first", "b"])
    assert isinstance(told.pop("no"), Refused)
    assert isinstance(told.pop("first"), IntegrityError)
    assert list(told.values()) == ["granted: a", "granted: b"]
    assert written() == ["first", "a", "b"]


@pytest.mark.parametrize("word", ["drop the line", "stumble"])
def test_a_fault_of_the_commit_reaches_the_whole_round_and_no_other(
    quick: Desk, word: str
) -> None:
    told = in_a_round(quick.group, ["a", word, "b"])
    assert len(set(map(type, told.values()))) == 1
    assert all(isinstance(each, Exception) for each in told.values())
    assert written() == ["first"]
    assert in_a_round(quick.group, ["c", "d"])["d"] == "granted: d"


def test_a_round_larger_than_a_batch_is_several_commits(
    quick: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "MOST_TOGETHER", 4)
    asks = [f"wish {number}" for number in range(10)]
    in_a_round(quick.group, asks)
    assert quick.batches == [asks[:4], asks[4:8], asks[8:]]


def test_a_thread_that_asks_during_a_round_is_not_kept_waiting_by_it(
    desk: Desk,
) -> None:
    """Those who let others go first are not waited for to lead."""
    told: list[str] = []
    pool = ThreadPoolExecutor(1)

    def serve(turn: str) -> None:
        if turn == "a thread leads":
            pool.submit(lambda: told.append(desk.group.submit("z")))
            assert desk.begun.wait(5)
        elif turn == "it is done, another asks":
            desk.open()
            pool.submit(lambda: told.append(desk.group.submit("y"))).result(5)
        else:
            told.append(desk.group.submit(turn))

    turns = iter(["a thread leads", "a", "it is done, another asks", "b"])
    held = Round(serve, list)  # type: ignore[arg-type] # as above
    held.hold(lambda: next(turns, None))  # type: ignore[arg-type, return-value]
    pool.shutdown()
    assert told == [f"granted: {ask}" for ask in "zyab"]
    assert desk.batches == [["z"], ["a", "y"], ["b"]]


def test_rounds_and_threads_at_once_share_commits_one_at_a_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.gather()
    at_work = threading.Lock()
    work = desk.work

    def alone(connection: Connection, asks: Sequence[str]) -> Sequence[str | Exception]:
        assert at_work.acquire(blocking=False)
        try:
            return work(connection, asks)
        finally:
            at_work.release()

    monkeypatch.setattr(desk.group, "_work", alone)

    def rounds(person: int) -> None:
        for turn in range(12):
            asks = [f"{person}/{turn}/{number}" for number in range(9)]
            told = in_a_round(desk.group, asks)
            assert list(told.values()) == [f"granted: {ask}" for ask in asks]

    def alone_many(person: int) -> None:
        for turn in range(40):
            ask = f"{person}/{turn}"
            assert desk.group.submit(ask) == f"granted: {ask}"

    with ThreadPoolExecutor(7) as pool:
        futures = [pool.submit(rounds, person) for person in range(3)]
        futures += [pool.submit(alone_many, person) for person in range(3, 7)]
        for each in futures:
            each.result(60)
    assert len(written()) == 1 + 3 * 12 * 9 + 4 * 40
    assert desk.commits < 3 * 12 + 4 * 40


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_line_that_was_cut_since_the_last_commit_is_replaced_unnoticed(
    quick: Desk,
) -> None:
    with db.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    assert quick.group.submit("a") == "granted: a"
    assert quick.batches == [["a"], ["a"]]
    assert written() == ["first", "a"]


def test_what_may_have_been_committed_is_not_done_again(quick: Desk) -> None:
    def cut(_: Connection) -> None:
        fault = OSError("gone")
        raise OperationalError("", None, fault, connection_invalidated=True)

    event.listen(db.engine, "commit", cut)
    try:
        with pytest.raises(OperationalError):
            quick.group.submit("a")
    finally:
        event.remove(db.engine, "commit", cut)
    assert quick.batches == [["a"]]
    assert quick.group.submit("b") == "granted: b"


def test_the_line_is_given_up_with_the_engine(quick: Desk) -> None:
    kept = quick.group._line._kept  # noqa: SLF001 -- nothing else tells
    assert kept is not None
    assert not kept.closed
    db.engine.dispose()
    assert kept.closed
    assert quick.group.submit("a") == "granted: a"


def test_a_forked_process_has_locks_and_a_line_of_its_own(quick: Desk) -> None:
    with quick.group._guard:  # noqa: SLF001 -- held while the process is forked
        child = os.fork()
        if child == 0:
            group = quick.group
            is_free = group._guard.acquire(timeout=1)  # noqa: SLF001 -- see above
            os._exit(0 if is_free and group._line._kept is None else 1)  # noqa: SLF001 -- see above
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert quick.group.submit("a") == "granted: a"
