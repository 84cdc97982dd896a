# SPDX-License-Identifier: Apache-2.0
"""The audit log: written with the change, in one chain, and never edited."""

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from fleet.database import db, reading, transaction
from fleet.errors import Invalid
from fleet.staff import audit
from fleet.staff.audit import ChainReport, Wanted
from fleet.staff.roles import Role, StaffMember

pytestmark = pytest.mark.usefixtures("app")

# What is refused before the database is asked needs only one of them.
ANY_DATABASE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

NOON = datetime(2026, 11, 22, 12, 0, 0, 654321, tzinfo=UTC)
ANNA = StaffMember(1, "anna", Role.SUPPORT)


def note(
    action: str = "device.block",
    subject: str = "device:ABC123",
    *,
    actor: StaffMember = ANNA,
    now: datetime = NOON,
) -> int:
    with transaction() as session:
        return audit.record(
            session,
            actor=actor,
            action=action,
            subject=subject,
            reason="stolen, says Müller",
            before={"hold": "", "until": None},
            after={"hold": "blocked", "until": NOON, "day": date(2026, 1, 2)},
            now=now,
        )


def verify() -> ChainReport:
    with reading() as session:
        return audit.verify_chain(session)


def test_an_entry_says_who_what_whom_why_and_when() -> None:
    note()
    (entry,) = audit.entries(Wanted(), limit=5).items
    assert (entry.id, entry.actor, entry.role) == (1, "anna", "support")
    assert (entry.action, entry.subject) == ("device.block", "device:ABC123")
    assert entry.reason == "stolen, says Müller"
    assert entry.happened_at == NOON
    assert entry.before == {"hold": "", "until": None}
    assert entry.after == {
        "day": "2026-01-02",
        "hold": "blocked",
        "until": "2026-11-22T12:00:00Z",
    }


def test_a_change_that_is_undone_leaves_no_entry() -> None:
    def change_ones_mind() -> None:
        with transaction():
            note()
            raise InterruptedError

    with pytest.raises(InterruptedError):
        change_ones_mind()
    assert note() == 1


def test_several_entries_of_one_transaction_follow_each_other() -> None:
    with transaction():
        assert [note(), note(), note()] == [1, 2, 3]
    assert verify() == ChainReport(3, verify().last_hash)
    assert verify().whole


def test_an_empty_log_is_whole() -> None:
    assert verify() == ChainReport(0, "00" * 32)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET reason = 'nothing' WHERE id = 1",
        "UPDATE audit_entry SET reason = reason",
        "DELETE FROM audit_entry WHERE id = 2",
        "DELETE FROM audit_entry",
    ],
)
def test_the_database_refuses_to_edit_an_entry(statement: str) -> None:
    note()
    note()
    with pytest.raises(DBAPIError), transaction() as session:
        session.execute(text(statement))
    assert verify().entries == 2
    assert verify().whole


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("as_replica", [False, True])
def test_nor_can_all_entries_be_truncated(as_replica: bool) -> None:
    note()
    role = "replica" if as_replica else "origin"
    statement = f"SET LOCAL session_replication_role = {role}; TRUNCATE audit_entry"
    with pytest.raises(DBAPIError), transaction() as session:
        session.execute(text(statement))
    assert verify().entries == 1


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_nor_can_one_be_replaced() -> None:
    note()
    note()
    with pytest.raises(DBAPIError), transaction() as session:
        session.execute(
            text(
                "INSERT OR REPLACE INTO audit_entry SELECT 1, happened_at, actor, role,"
                " action, subject, 'nothing', before, after, previous_hash, hash"
                " FROM audit_entry WHERE id = 1"
            )
        )
    assert verify().whole


def without_triggers(kind: str) -> list[str]:
    """Return what somebody would have to do who owns the database."""
    if kind == "postgresql":
        return ["ALTER TABLE audit_entry DISABLE TRIGGER ALL"]
    return [
        f"DROP TRIGGER audit_entry_refuse_{each}"
        for each in ("update", "delete", "gap")
    ]


@pytest.mark.parametrize(
    ("forgery", "broken_at"),
    [
        ("UPDATE audit_entry SET reason = 'nothing' WHERE id = 2", 2),
        ("UPDATE audit_entry SET actor = 'berta' WHERE id = 3", 3),
        ("UPDATE audit_entry SET after = '{}' WHERE id = 1", 1),
        ("UPDATE audit_entry SET hash = previous_hash WHERE id = 3", 3),
        ("DELETE FROM audit_entry WHERE id = 1", 1),
        ("DELETE FROM audit_entry WHERE id = 2", 2),
        ("UPDATE audit_entry SET id = 9 WHERE id = 3", 3),
    ],
)
def test_a_forgery_by_the_owner_of_the_database_shows(
    database_kind: str, forgery: str, broken_at: int
) -> None:
    for _ in range(3):
        note()
    with transaction() as session:
        for statement in (*without_triggers(database_kind), forgery):
            session.execute(text(statement))
    assert verify().broken_at == broken_at


def test_a_cut_end_shows_by_the_last_hash(database_kind: str) -> None:
    note()
    note()
    noted = verify().last_hash
    with transaction() as session:
        for statement in without_triggers(database_kind):
            session.execute(text(statement))
        session.execute(text("DELETE FROM audit_entry WHERE id = 2"))
    assert verify().whole
    assert verify().last_hash != noted


def test_many_writers_at_once_make_one_chain(app: Flask) -> None:
    failed: list[Exception] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        with app.app_context():
            barrier.wait()
            try:
                for _ in range(5):
                    note()
            except Exception as fault:  # noqa: BLE001 -- told by the test
                failed.append(fault)
            finally:
                db.session.remove()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert verify().entries == 40
    assert verify().whole


@ANY_DATABASE
@pytest.mark.parametrize(
    "name", ["device_secret", "token", "password", "release_key", "voucher_code"]
)
def test_what_is_named_like_a_secret_is_not_written_down(name: str) -> None:
    with pytest.raises(ValueError, match="secret"), transaction() as session:
        audit.record(
            session,
            actor=ANNA,
            action="x.y",
            subject="x:1",
            reason="x",
            before={},
            after={"inner": {name: "hush"}},
            now=NOON,
        )


def test_entries_are_found_by_what_is_known() -> None:
    berta = StaffMember(2, "berta", Role.OPERATOR)
    note(now=NOON)
    note("device.unblock", now=NOON + timedelta(hours=1))
    note(subject="device:XYZ999", actor=berta, now=NOON + timedelta(hours=2))

    def found(**wanted: str | datetime) -> list[int]:
        page = audit.entries(Wanted(**wanted), limit=9)  # type: ignore[arg-type] # its fields
        return [each.id for each in page.items]

    assert found() == [3, 2, 1]
    assert found(subject="device:ABC123") == [2, 1]
    assert found(actor="berta") == [3]
    assert found(action="device.unblock") == [2]
    assert found(since=NOON + timedelta(hours=1)) == [3, 2]
    assert found(until=NOON + timedelta(hours=1)) == [1]
    assert found(actor="anna", since=NOON + timedelta(hours=1)) == [2]


def test_entries_come_page_by_page_while_new_ones_are_written() -> None:
    for _ in range(5):
        note()
    first = audit.entries(Wanted(), limit=2)
    note()
    second = audit.entries(Wanted(), limit=2, cursor=first.next_cursor)
    third = audit.entries(Wanted(), limit=2, cursor=second.next_cursor)
    seen = [each.id for page in (first, second, third) for each in page.items]
    assert seen == [5, 4, 3, 2, 1]
    with pytest.raises(Invalid):
        audit.entries(Wanted(), limit=2, cursor="AAAA")
