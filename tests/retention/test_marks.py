# SPDX-License-Identifier: Apache-2.0
"""What was erased, objected to or restricted stays so after an older restore."""

import shutil
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from freezegun import freeze_time
from make import SERIAL
from postgres import Postgres
from rights_office import CUSTOMER, LONG_AGO, Office, access_records, opened

from fleet.database import db, reading, transaction
from fleet.devices import registry
from fleet.devices.registry import DeviceFacts
from fleet.settings import Settings
from fleet.staff.audit import Wanted, entries, verify_chain
from fleet.staff.roles import cli_actor
from retention.feature import FEATURE
from retention.models import RightsMark
from retention.service import fulfilling, repeating
from retention.service.mark_file import MarkFile
from retention.service.marks import keep_all, mark_file

Restore = Callable[[], None]


@pytest.fixture
def office(proxied_app: Flask) -> Office:
    return opened(proxied_app)


@pytest.fixture
def old(proxied_app: Flask) -> Office:
    return opened(proxied_app, support_ends_on=LONG_AGO)


@pytest.fixture
def dumped(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[], Restore]:
    """Dump the database; what is returned brings the dump back."""

    def dump_sqlite() -> Restore:
        path = Path(str(db.engine.url.database))
        with sqlite3.connect(path) as live:
            with sqlite3.connect(tmp_path / "dump.sqlite3") as dump:
                live.backup(dump)
            dump.close()
        live.close()

        def restore() -> None:
            _let_go()
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            shutil.copy(tmp_path / "dump.sqlite3", path)

        return restore

    def dump_postgresql() -> Restore:
        server: Postgres = request.getfixturevalue("postgres")
        name = str(db.engine.url.database)
        _let_go()
        server.create_database(f"{name}_dump", template=name)

        def restore() -> None:
            _let_go()
            server._run("DROP DATABASE {} WITH (FORCE)", name)  # noqa: SLF001 -- drop_database does not wait
            server.create_database(name, template=f"{name}_dump")
            server.drop_database(f"{name}_dump")

        return restore

    return dump_sqlite if database_kind == "sqlite" else dump_postgresql


def _let_go() -> None:
    access_records()
    db.session.remove()
    db.engine.dispose()


def known() -> DeviceFacts:
    found = registry.find(SERIAL)
    assert found is not None
    return found


def prepare(office: Office) -> None:
    """Do what ``callhome serve`` does before it listens."""
    assert FEATURE.before_serving is not None
    with freeze_time(office.at + timedelta(days=30)):
        FEATURE.before_serving()


def test_an_erasure_is_done_again_before_anything_is_served(
    office: Office, dumped: Callable[[], Restore]
) -> None:
    restore = dumped()
    office.fulfil("erasure")
    restore()
    assert known().customer == CUSTOMER

    prepare(office)

    assert known().customer == ""
    log = entries(Wanted(action="device.rights-again"), limit=10).items
    assert [each.subject for each in log] == [f"device:{SERIAL}"]
    prepare(office)
    assert len(entries(Wanted(action="device.rights-again"), limit=10).items) == 1
    with reading() as session:
        assert verify_chain(session).whole
        assert len(session.scalars(sa.select(RightsMark)).all()) == 1


def test_a_pbx_that_was_erased_wholly_is_erased_wholly_again(
    old: Office, dumped: Callable[[], Restore]
) -> None:
    restore = dumped()
    old.fulfil("erasure", ends_service=True)
    restore()
    assert known().customer == CUSTOMER

    prepare(old)

    assert registry.find(SERIAL) is None


def test_also_where_the_older_database_thinks_it_is_supported(
    office: Office, dumped: Callable[[], Restore]
) -> None:
    restore = dumped()  # support has no end yet
    with freeze_time(office.at):
        answer = office.app.test_client().patch(
            f"/cic/v1/devices/{SERIAL}",
            json={"support_ends_on": "2020-01-01", "reason": "end of life"},
            headers=office.support,
        )
        assert answer.status_code == 200
    # In years that both clocks agree on: the database refuses by its own.
    office.at = office.at.replace(year=2026, month=11, day=20)
    office.fulfil("erasure", ends_service=True)
    restore()
    prepare(office)

    assert registry.find(SERIAL) is None


def test_an_erasure_during_support_never_ends_a_licence_later(
    office: Office, dumped: Callable[[], Restore]
) -> None:
    restore = dumped()
    office.fulfil("erasure")
    restore()
    with freeze_time(office.at):
        office.app.test_client().patch(
            f"/cic/v1/devices/{SERIAL}",
            json={"support_ends_on": "2020-01-01", "reason": "end of life"},
            headers=office.support,
        )

    prepare(office)

    assert known().customer == ""


def test_objection_and_restriction_come_back_as_they_were_last(
    office: Office, dumped: Callable[[], Restore]
) -> None:
    restore = dumped()
    office.own("POST", "device/objection", {})
    office.at += timedelta(minutes=1)
    objected_at = office.at
    office.own("POST", "device/objection", {"withdraw": True})
    office.at += timedelta(minutes=1)
    office.own("POST", "device/objection", {})
    objected_at = office.at
    number = office.fulfil("restriction")["request"]["id"]
    office.send("POST", f"requests/{number}/lifting", {"told": "by letter"})
    restore()
    assert known().objected_at is None

    prepare(office)

    assert known().objected_at == objected_at
    assert known().restricted_at is None


def test_the_job_does_it_too(office: Office, dumped: Callable[[], Restore]) -> None:
    restore = dumped()
    office.fulfil("restriction")
    restore()
    [job] = [each for each in FEATURE.jobs if each.name == "repeat-rights"]
    job.work(office.at)

    assert known().restricted_at is not None


def test_the_file_is_there_before_the_answer_and_names_nobody(office: Office) -> None:
    office.fulfil("erasure")

    file = mark_file()
    [line] = file.lines()
    assert line.kind == "erased"
    text = file.path.read_text()
    assert SERIAL not in text
    assert CUSTOMER not in text
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_what_was_not_committed_is_not_marked(office: Office) -> None:
    with pytest.raises(ZeroDivisionError):
        _fail_after_erasing(office)
    assert mark_file().lines() == []
    assert known().customer == CUSTOMER
    # Nor by the next thing that this session commits.
    office.own("POST", "device/objection", {})
    assert [each.kind for each in mark_file().lines()] == ["objected"]


def _fail_after_erasing(office: Office) -> None:
    number = office.take("erasure")
    with freeze_time(office.at), transaction():
        fulfilling.fulfil(number, fulfilling.Wishes(), by=cli_actor(), now=office.at)
        raise ZeroDivisionError


def test_where_the_file_cannot_be_written_nobody_is_told_that_all_is_well(
    office: Office,
) -> None:
    number = office.take("erasure")
    folder = mark_file().path.parent
    folder.parent.joinpath("retention").write_text("in the way")
    path = f"requests/{number}/fulfilment"
    refused = office.send("POST", path, {})
    assert (refused.status_code, refused.json["type"]) == (
        503,
        "/problems/marks-not-kept",
    )
    assert refused.headers["Retry-After"]
    folder.unlink()

    again = office.send("POST", path, {})
    assert again.status_code == 200
    assert [each.kind for each in mark_file().lines()] == ["erased"]


def test_a_mark_of_another_node_is_added_to_the_file(office: Office) -> None:
    office.fulfil("erasure")
    [line] = mark_file().lines()
    mark_file().path.unlink()

    assert keep_all() == 1
    assert mark_file().lines() == [line]
    assert keep_all() == 0


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_torn_line_hides_no_other(office: Office) -> None:
    office.own("POST", "device/objection", {})
    office.own("POST", "device/objection", {"withdraw": True})
    file = mark_file()
    whole = file.path.read_bytes()
    file.path.write_bytes(whole + whole[:40])
    office.own("POST", "device/objection", {})

    assert [each.kind for each in file.lines()] == [
        "objected",
        "objection-withdrawn",
        "objected",
    ]


def test_a_mark_whose_key_is_gone_is_left_for_when_it_is_back(
    office: Office, dumped: Callable[[], Restore], settings: Settings
) -> None:
    restore = dumped()
    office.fulfil("erasure")
    key = settings.data_dir / "keys" / "rights-mark" / "1.key"
    kept = key.rename(key.with_suffix(".kept"))
    restore()
    with freeze_time(office.at):
        assert repeating.repeat(office.at).unreadable in {0, 1}
    kept.rename(key)
    with freeze_time(office.at):
        repeating.repeat(office.at)

    assert known().customer == ""


def test_the_file_of_no_installation_is_empty(tmp_path: Path) -> None:
    assert MarkFile(tmp_path).lines() == []
