# SPDX-License-Identifier: Apache-2.0
"""Requests that take turns on one thread: in order, apart, and none forgotten."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import ContextVar

import pytest
from server.harness import Client, Server, post

from fleet.commits import others_first
from fleet.server import lanes
from fleet.server.admission import Lane
from fleet.server.connection import Connection
from fleet.server.rounds import MOST_IN_ROUND, Round

JOINT = 'joint_paths=__import__("re").compile(rb"/cic/joint.*")'


def hold(
    serve: Callable[[str], None], names: Iterator[str], served: list[str] | None = None
) -> list[str]:
    """Hold a round, and return who was given back, and in which order."""
    back: list[str] = [] if served is None else served
    # For a round, a connection is whatever is handed to `serve`.
    held = Round(serve, back.extend)  # type: ignore[arg-type] # see above
    held.hold(lambda: next(names, None))  # type: ignore[arg-type, return-value]
    return back


def give_way() -> None:
    let_others_ask = others_first.get()
    assert let_others_ask is not None
    let_others_ask()


def test_all_have_asked_before_the_first_goes_on_and_they_go_on_in_order() -> None:
    steps: list[str] = []

    def serve(name: str) -> None:
        steps.append(f"{name} asks")
        give_way()
        steps.append(f"{name} goes on")

    assert hold(serve, iter("abc")) == ["a", "b", "c"]
    assert steps == [
        *("a asks", "b asks", "c asks"),
        *("a goes on", "b goes on", "c goes on"),
    ]


def test_who_asks_for_nothing_is_done_at_once_and_who_asks_twice_is_called_twice() -> (
    None
):
    done: list[str] = []

    def serve(name: str) -> None:
        for _ in range(["none", "once", "twice"].index(name)):
            give_way()
        done.append(name)

    hold(serve, iter(["twice", "once", "none"]))
    assert done == ["none", "once", "twice"]


def test_each_has_a_context_of_its_own() -> None:
    mine: ContextVar[str] = ContextVar("mine", default="nobody's")
    seen: list[str] = []

    def serve(name: str) -> None:
        assert mine.get() == "nobody's"
        mine.set(name)
        give_way()
        seen.append(mine.get())

    hold(serve, iter("abc"))
    assert seen == ["a", "b", "c"]
    assert mine.get() == "nobody's"
    assert others_first.get() is None


def test_a_round_has_an_end() -> None:
    names = map(str, range(3 * MOST_IN_ROUND))
    assert len(hold(lambda _: give_way(), names)) == MOST_IN_ROUND
    assert next(names) == str(MOST_IN_ROUND)


def test_they_are_given_back_several_at_once_as_they_are_answered() -> None:
    answered: list[int] = []
    back: list[tuple[int, ...]] = []

    def serve(number: int) -> None:
        give_way()
        answered.append(number)

    def give_back(numbers: Sequence[int]) -> None:
        assert [*answered][-len(numbers) :] == [*numbers]
        back.append(tuple(numbers))

    numbers = iter(range(MOST_IN_ROUND - 1))
    held = Round(serve, give_back)  # type: ignore[arg-type] # as in `hold`
    held.hold(lambda: next(numbers, None))  # type: ignore[arg-type, return-value]
    assert [len(each) for each in back] == [16, 16, 16, 15]


@pytest.mark.parametrize("late", [False, True])
def test_what_one_raises_leaves_the_others_in_peace(late: bool) -> None:
    done: list[str] = []

    def serve(name: str) -> None:
        if name == "b" and not late:
            raise MemoryError
        give_way()
        if name == "b":
            raise MemoryError
        done.append(name)

    back: list[str] = []
    with pytest.raises(MemoryError):
        hold(serve, iter("abc"), back)
    assert done == ["a", "c"]
    assert sorted(back) == ["a", "b", "c"]


@pytest.fixture
def connect(joint: Server) -> Iterator[Callable[[], Client]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(joint.connect())


@pytest.fixture
def joint(start: Callable[..., Server]) -> Server:
    return start(options=JOINT)


def ask(client: Client, name: str, *, seconds: float = 0.0) -> None:
    client.send(post(f"/cic/joint?{seconds}", name.encode()))


def test_those_who_wait_are_served_together_and_each_gets_its_own(
    connect: Callable[[], Client],
) -> None:
    first, *others = [connect() for _ in range(20)]
    shared = 0
    for turn in range(5):
        ask(first, f"first {turn}", seconds=0.2)
        time.sleep(0.05)
        for number, client in enumerate(others):
            ask(client, f"{number} {turn}")
        said = [json.loads(client.answer().body) for client in (first, *others)]
        names = [f"first {turn}", *(f"{number} {turn}" for number in range(19))]
        assert [each["said"] for each in said] == names
        shared += sum(each["asked"] > 1 for each in said)
    assert shared > 20


def test_a_failure_in_a_round_is_answered_and_the_others_are_not_harmed(
    joint: Server, connect: Callable[[], Client]
) -> None:
    first, good, bad, gone, late = [connect() for _ in range(5)]
    ask(first, "first", seconds=0.3)
    time.sleep(0.1)
    ask(good, "good")
    bad.send(post("/cic/joint-boom?secret", b"secret"))
    ask(gone, "gone")
    gone.close()
    ask(late, "late")
    assert first.answer().status == 200
    assert json.loads(good.answer().body)["said"] == "good"
    assert bad.answer().status == 500
    assert json.loads(late.answer().body)["said"] == "late"
    assert "secret" not in joint.logged()
    assert joint.check() < 1


def test_a_round_that_hangs_holds_up_nothing_else(joint: Server) -> None:
    with joint.connect() as hanging, joint.connect() as behind:
        ask(hanging, "hanging", seconds=2)
        time.sleep(0.2)
        ask(behind, "behind")
        time.sleep(0.05)
        begun = time.monotonic()
        assert joint.check() < 1
        with joint.connect() as other:
            assert other.get("/empty").status == 204
        assert time.monotonic() - begun < 1
        assert hanging.answer().status == 200
        assert json.loads(behind.answer().body)["said"] == "behind"


def test_while_one_round_hangs_the_next_is_held_by_another_thread(
    joint: Server,
) -> None:
    """As before a database that is stuck: they wait, rather than be sent away."""
    with joint.connect() as hanging, joint.connect() as behind:
        ask(hanging, "hanging", seconds=2)
        time.sleep(0.1)
        begun = time.monotonic()
        ask(behind, "behind")
        assert json.loads(behind.answer().body)["said"] == "behind"
        assert 0.2 < time.monotonic() - begun < 1
        assert hanging.answer().status == 200


def queue(pool: lanes.Pool, name: str, *, joint: bool) -> None:
    with socket.socket() as sock:
        connection = Connection(sock, client=name, server="")
    connection.joint = joint
    connection.lane = Lane.CHECK if joint else Lane.OTHER
    pool.put(connection)
    pool.call_round()


def test_while_joint_requests_wait_nothing_else_is_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "PATIENCE", 30)
    begun: list[str] = []
    in_round, go_on, done = (threading.Event() for _ in range(3))

    def serve(connection: Connection) -> None:
        begun.append(str(connection.client))
        if connection.client == "first":
            in_round.set()
            assert go_on.wait(10)
        if connection.client == "other":
            done.set()

    pool = lanes.Pool(name="tested", threads=4, serve=serve, give_back=list)
    queue(pool, "first", joint=True)
    assert in_round.wait(10)
    queue(pool, "second", joint=True)
    queue(pool, "other", joint=False)
    time.sleep(0.2)
    assert begun == ["first"]
    go_on.set()
    assert done.wait(10)
    assert begun == ["first", "second", "other"]
    pool.stop()


def test_who_waits_too_long_behind_a_round_is_told_to_come_back(
    start: Callable[..., Server],
) -> None:
    server = start(threads=4, options=f"{JOINT}, check_wait_seconds=0.2")
    with ExitStack() as stack:
        hanging, too, behind = [stack.enter_context(server.connect()) for _ in "123"]
        ask(hanging, "hanging", seconds=2)
        time.sleep(0.1)
        ask(too, "hanging, too", seconds=2)  # a second, and no third
        time.sleep(0.4)
        ask(behind, "behind")
        begun = time.monotonic()
        answer = behind.answer()
        assert time.monotonic() - begun < 1.2
        assert answer.status == 503
        assert int(answer.fields["retry-after"]) >= 1
        assert hanging.answer().status == too.answer().status == 200
        ask(behind, "once more")
        assert json.loads(behind.answer().body)["said"] == "once more"


def test_a_stop_finishes_the_round_and_those_behind_it(
    joint: Server, connect: Callable[[], Client]
) -> None:
    clients = [connect() for _ in range(8)]
    ask(clients[0], "0", seconds=0.7)
    time.sleep(0.2)
    for number, client in enumerate(clients[1:], start=1):
        ask(client, str(number))
    time.sleep(0.1)
    stopping = threading.Thread(target=joint.stop)
    stopping.start()
    for number, client in enumerate(clients):
        answer = client.answer()
        assert json.loads(answer.body)["said"] == str(number)
        assert answer.fields["connection"] == "close"
        assert client.at_end()
    stopping.join()


def test_many_at_once_get_what_is_theirs(joint: Server) -> None:
    def talk(person: int) -> None:
        with joint.connect() as client:
            for number in range(30):
                name = f"{person}/{number}"
                ask(client, name)
                assert json.loads(client.answer().body)["said"] == name
                if number % 7 == 0:
                    assert client.get("/empty").status == 204

    with ThreadPoolExecutor(40) as pool:
        for _ in pool.map(talk, range(40)):
            pass
