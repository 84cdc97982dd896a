# SPDX-License-Identifier: Apache-2.0
"""Requests that arrive together share a commit, and no other fate."""

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
)
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from fleet import commits
from fleet.commits import GroupCommit
from fleet.database import db
from fleet.errors import Conflict

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
        self._opened.set()
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
