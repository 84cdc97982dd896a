# SPDX-License-Identifier: Apache-2.0
"""Many at once: whatever races, the state is that of some order, one by one."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier, Event, Thread
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from freezegun import freeze_time
from make import NOBODY, SERIAL, TestPbx, make_csr, make_device, verified
from sqlalchemy import func, select, text
from werkzeug.test import TestResponse

from cic.models import Activation
from cic.service import holds, initialisation
from cic.service.standings import activation_of
from fleet.database import db, reading, transaction, writing
from fleet.devices.registry import locked
from fleet.errors import Refusal
from fleet.identity.csr import read_csr
from fleet.identity.models import DeviceCertificate
from fleet.server.rounds import Round
from fleet.web import access_log
from fleet.web.models import AccessRecord
from retention.service.deleting_rooms import rooms

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OTHER = "CX1000000002"

T = TypeVar("T")

Held = Callable[..., Activation]
History = Callable[..., list[str]]


def at(after: timedelta) -> AbstractContextManager[object]:
    return freeze_time(BIRTH + after, ignore=["psycopg", "sqlalchemy"])


def together(works: Sequence[Callable[[], T]]) -> list[T]:
    """Do all of it at the same time."""
    begin = Barrier(len(works))

    def one(work: Callable[[], T]) -> T:
        begin.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(one, works))


def twin(house: Flask, pbx: TestPbx, *, new_key: bool = False) -> TestPbx:
    """The same PBX in another thread."""
    key = ec.generate_private_key(ec.SECP256R1()) if new_key else pbx.key
    return replace(pbx, client=house.test_client(), key=key, chain=list(pbx.chain))


def in_force() -> list[bytes]:
    with reading() as session:
        return list(
            session.scalars(
                select(DeviceCertificate.der).where(
                    DeviceCertificate.revoked_at.is_(None)
                )
            )
        )


def test_a_hundred_checks_of_one_pbx_at_once_are_right(
    house: Flask, pbx: TestPbx, held: Held, history: History
) -> None:
    with at(DAY):
        pbx.check()
        current = pbx.continuation
        twins = [twin(house, pbx) for _ in range(20)]
        works = [each.check for each in twins]
        answers = together(works)
        for each in twins:
            each.continuation = current
        for _ in range(4):
            answers += together(works)
            for each in twins:
                each.continuation = current
        leases = [verified(each.get_json()["lease"]) for each in answers]
        assert {each["verdict"] for each in leases} == {"active"}
        assert {each["generation"] for each in leases} == {1}
        assert (
            len({each["jti"] for each in leases}) == len({*map(nonce, leases)}) == 100
        )
        assert len({each.get_json()["continuation"] for each in answers}) == 1
    row = held()
    assert row.continuation == answers[0].get_json()["continuation"]
    assert row.previous_continuation == current
    assert row.clone_suspected_at is None
    assert row.silent_since == row.last_check_at == BIRTH + DAY
    assert history() == ["initialised"]
    access_log.flush()
    with reading() as session:
        count = session.scalar(select(func.count()).select_from(AccessRecord))
    assert count == 1 + 1 + 100


def test_checks_that_take_turns_on_one_thread_are_right_as_well(
    house: Flask, pbx: TestPbx, held: Held
) -> None:
    """One PBX many times, a stranger, and a PBX that is refused, in one round."""
    with at(DAY):
        pbx.check()
        current = pbx.continuation
        other = TestPbx(house.test_client(), make_device(OTHER).serial_number)
        assert other.initialise().status_code == 201
        twins = [twin(house, pbx) for _ in range(20)]
        liar = twin(house, pbx)
        works = [
            *(each.check for each in twins[:10]),
            partial(liar.check, serial_number=OTHER),
            other.check,
            partial(liar.check, nonce="short"),
            *(each.check for each in twins[10:]),
        ]
        answers: list[TestResponse] = []
        held_round = Round(lambda work: answers.append(work()), list)  # type: ignore[arg-type, operator] # here a connection is a check
        line = iter(works)
        held_round.hold(lambda: next(line, None))  # type: ignore[arg-type, return-value]
    # Who asks for no commit is answered at once, the others in order.
    assert [each.status_code for each in answers] == [403, 400] + 21 * [200]
    leases = [verified(each.get_json()["lease"]) for each in answers[2:]]
    assert [each["sub"] for each in leases] == 10 * [SERIAL] + [OTHER] + 10 * [SERIAL]
    assert len({each["jti"] for each in leases}) == len({*map(nonce, leases)}) == 21
    assert len({each.headers["x-request-id"] for each in answers}) == 23
    tokens = {
        each.get_json()["continuation"]
        for each, lease in zip(answers[2:], leases, strict=True)
        if lease["sub"] == SERIAL
    }
    row = held()
    assert tokens == {row.continuation}
    assert row.previous_continuation == current
    assert row.clone_suspected_at is None


def nonce(lease: dict[str, object]) -> str:
    return str(lease["nonce"])


def test_checks_of_many_pbxs_at_once_do_not_mix(house: Flask) -> None:
    with at(0 * DAY):
        pbxs = []
        for number in range(12):
            serial = make_device(f"CX20000000{number:02}").serial_number
            pbxs.append(TestPbx(house.test_client(), serial))
            assert pbxs[-1].initialise().status_code == 201
        holds.block(pbxs[0].serial_number, reason="", by=NOBODY, now=BIRTH)
        answers = together([each.check for each in pbxs])
    for pbx, answer in zip(pbxs, answers, strict=True):
        lease = verified(answer.get_json()["lease"])
        assert lease["sub"] == pbx.serial_number
        assert lease["verdict"] == ("blocked" if pbx is pbxs[0] else "active")
    assert len({each.get_json()["continuation"] for each in answers}) == len(pbxs)


def test_two_initialisations_at_once_leave_one_certificate(
    house: Flask, new_pbx: TestPbx, history: History
) -> None:
    with at(0 * DAY):
        twins = [twin(house, new_pbx, new_key=True) for _ in range(2)]
        answers = together([each.initialise for each in twins])
        assert [each.status_code for each in answers] == [201, 201]
        generations = [
            verified(each.get_json()["lease"])["generation"] for each in answers
        ]
        assert sorted(generations) == [1, 2]
        assert (
            answers[0].get_json()["release_key"] == answers[1].get_json()["release_key"]
        )
        # The one that came later is the one that is believed.
        last = twins[generations.index(2)]
        [valid] = in_force()
        assert x509.load_der_x509_certificate(valid) == last.chain[0]
        checks = {each.check().status_code: each for each in twins}
        assert set(checks) == {200, 403}
        assert checks[200] is last
    assert history() == ["initialised", "reinitialised"]


def test_one_request_that_arrives_several_times_at_once_gets_one_certificate(
    house: Flask, new_pbx: TestPbx, history: History
) -> None:
    csr = make_csr(new_pbx.key, SERIAL)
    with at(0 * DAY):
        twins = [twin(house, new_pbx) for _ in range(4)]
        answers = together([partial(each.initialise, csr=csr) for each in twins])
    assert [each.status_code for each in answers] == [201] * 4
    assert len({each.get_json()["certificate_chain"] for each in answers}) == 1
    assert len(in_force()) == 1
    assert history() == ["initialised"]


def test_the_limit_holds_against_many_attempts_at_once(
    house: Flask, pbx: TestPbx, history: History
) -> None:
    with at(DAY):
        twins = [twin(house, pbx, new_key=True) for _ in range(6)]
        answers = together([each.initialise for each in twins])
    assert sorted(each.status_code for each in answers) == [201] * 3 + [409] * 3
    assert history() == ["initialised", *["reinitialised"] * 3]
    assert len(in_force()) == 1


def test_a_reinitialisation_in_a_storm_of_checks_ends_the_old_certificate(
    house: Flask, pbx: TestPbx, held: Held
) -> None:
    done = Event()
    seen: list[tuple[bool, TestResponse]] = []

    def storm() -> None:
        mine = twin(house, pbx)
        while True:
            was_done = done.is_set()
            seen.append((was_done, mine.check()))
            if was_done:
                return

    with at(DAY):
        threads = [Thread(target=storm) for _ in range(6)]
        for thread in threads:
            thread.start()
        fresh = twin(house, pbx, new_key=True)
        try:
            answer = fresh.initialise()
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert answer.status_code == 201, answer.get_json()
        assert {each.status_code for was_done, each in seen if was_done} == {403}
        assert {each.status_code for _, each in seen} <= {200, 403}
        for _, each in seen:
            if each.status_code == 200:
                assert verified(each.get_json()["lease"])["generation"] == 1
        assert fresh.lease()["verdict"] == "active"
    assert (held().generation, held().clone_suspected_at) == (2, None)


def test_a_check_that_waited_for_a_reinitialisation_is_refused(
    house: Flask, pbx: TestPbx, held: Held, database_kind: str
) -> None:
    answers: list[TestResponse] = []
    old = twin(house, pbx)
    waiting = Thread(target=lambda: answers.append(old.check()))
    request = read_csr(make_csr(ec.generate_private_key(ec.SECP256R1()), "").encode())
    with at(DAY):
        with transaction() as session:
            activation_of(session, locked(session, SERIAL))
            waiting.start()
            wait_for_a_lock(database_kind)
            initialisation.initialise(
                SERIAL,
                device_secret=pbx.device_secret,
                csr=request,
                software_version="2.0.1",
                address="",
                now=BIRTH + DAY,
            )
        waiting.join()
    assert answers[0].status_code == 403
    assert held().continuation == ""


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_a_check_that_notes_an_event_does_not_wait_for_who_will_wait_for_it(
    house: Flask, pbx: TestPbx, history: History
) -> None:
    answers: list[TestResponse] = []
    clone = twin(house, pbx)
    with at(DAY):
        pbx.check()
        checking = Thread(target=lambda: answers.append(clone.check()))
        with transaction() as session:
            locked(session, SERIAL)
            checking.start()
            checking.join(timeout=5)
            assert len(answers) == 1
        checking.join()
    assert answers[0].status_code == 200
    assert history() == ["initialised", "clone-suspected"]


def wait_for_a_lock(database_kind: str) -> None:
    """Until somebody waits for a row of ours."""
    if database_kind == "sqlite":
        time.sleep(0.2)
        return
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with db.engine.connect() as connection:
        while not connection.scalar(waits):
            time.sleep(0.02)


def test_of_two_replacements_that_cross_one_is_refused(
    house: Flask, held: Held
) -> None:
    def replace_by(one: str, other: str) -> Callable[[], str]:
        def work() -> str:
            with house.app_context():
                try:
                    holds.replace(
                        one, replaced_by=other, reason="", by=NOBODY, now=BIRTH
                    )
                except Refusal as refusal:
                    return refusal.code
                return "done"

        return work

    with at(0 * DAY):
        make_device()
        make_device(OTHER)
        works = [replace_by(SERIAL, OTHER), replace_by(OTHER, SERIAL)]
        said = together(works)
    assert sorted(said) == ["done", "replacement-impossible"]
    assert {held().hold, held(OTHER).hold} == {"", "replaced"}


def test_a_check_needs_no_room_for_its_access_record(
    house: Flask, pbx: TestPbx
) -> None:
    """Retention on a host whose clock is ahead takes the room that is in use."""
    with at(DAY):
        assert pbx.check().status_code == 200
        access_log.flush()
        if db.engine.dialect.name == "postgresql":
            with writing(db.engine) as connection:
                for room in rooms(connection):
                    connection.execute(
                        text("SELECT access_record_expire(:at, :end, :end)"),
                        {"at": room, "end": BIRTH + 30 * DAY},
                    )
                assert not rooms(connection)

        assert pbx.check().status_code == 200
        assert house.extensions["access_log"].flush()

    with reading() as session:
        count = session.scalar(select(func.count()).select_from(AccessRecord))
    assert count == (1 if db.engine.dialect.name == "postgresql" else 3)
