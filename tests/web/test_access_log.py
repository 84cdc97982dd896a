# SPDX-License-Identifier: Apache-2.0
"""What is remembered of a device request, and how it gets to the database."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from prometheus_client import REGISTRY

from fleet.database import db
from fleet.settings import Settings
from fleet.web import access_log
from fleet.web.access_log import AccessLog, access, flush, note, rows_of
from fleet.web.models import AccessRecord

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
PEER = {"REMOTE_ADDR": "192.0.2.7"}


def stored() -> list[sa.Row[tuple[object, ...]]]:
    table = AccessRecord.__table__
    columns = [column for column in table.columns if column.name != "id"]
    with db.engine.connect() as connection:
        return list(connection.execute(sa.select(*columns).order_by(table.c.id)))


def records_dropped() -> float:
    return REGISTRY.get_sample_value("callhome_access_records_dropped_total") or 0


def make_record(service: str = "cic", version: str = "1") -> access_log.Access:
    return access(
        service,
        address="192.0.2.7",
        now=NOON,
        device_type="T1",
        software_version=version,
    )


@pytest.mark.parametrize(
    ("service", "kept"),
    [
        ("cic", ("T1", "1")),
        ("updates", ("T1", "1")),
        ("backup", ("T1", "1")),
        ("voucher", (None, None)),
    ],
)
def test_a_record_holds_what_its_service_promises(
    service: str, kept: tuple[str | None, str | None]
) -> None:
    record = make_record(service)

    assert (record.device_type, record.software_version) == kept
    assert (record.address, record.accessed_at) == ("192.0.2.7", NOON)


def test_a_service_that_promises_nothing_keeps_nothing() -> None:
    with pytest.raises(ValueError, match="has not said"):
        make_record("gossip")


def test_what_is_noted_is_in_the_database_within_a_second(stored_app: Flask) -> None:
    with stored_app.test_request_context(environ_base=PEER):
        note("cic", device_type="T1", software_version="1.2.3")
    deadline = time.monotonic() + 5
    while not stored() and time.monotonic() < deadline:
        time.sleep(0.02)

    assert deadline - time.monotonic() > 4
    [row] = stored()
    assert (row.service, row.address) == ("cic", "192.0.2.7")
    assert (row.device_type, row.software_version) == ("T1", "1.2.3")
    assert row.accessed_at.tzinfo is not None


def test_text_that_no_database_takes_is_made_to_fit(stored_app: Flask) -> None:
    with stored_app.test_request_context(environ_base=PEER):
        note("cic", device_type="a\0b\udc80" * 99, software_version=None)

    assert flush()
    [row] = stored()
    assert row.device_type.startswith("ab?")
    assert len(row.device_type) <= 64


@pytest.mark.usefixtures("stored_app")
def test_many_records_go_in_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MOST_TOGETHER", 7)
    log = AccessLog(db.engine)
    for number in range(30):
        log.add(make_record(version=str(number)))

    assert log.flush()
    assert [row.software_version for row in stored()] == [str(n) for n in range(30)]


def test_records_outlive_a_database_that_is_away(
    make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "MOST_WAITING", 5)
    dropped = records_dropped()
    app = make_app(Settings(database_url=f"sqlite:///{tmp_path}/away/x.sqlite3"))
    with app.app_context():
        log = AccessLog(db.engine)
        for number in range(4):
            log.add(make_record(version=str(number)))
        assert not log.flush()
        for number in range(4, 8):
            log.add(make_record(version=str(number)))
        assert not log.flush()

        (tmp_path / "away").mkdir()
        AccessRecord.metadata.create_all(db.engine, [AccessRecord.__table__])

        assert log.flush()
        kept = [row.software_version for row in stored()]
    assert kept == ["3", "4", "5", "6", "7"]
    assert records_dropped() == dropped + 3


@pytest.mark.usefixtures("stored_app")
def test_one_bad_record_does_not_hold_up_the_others() -> None:
    log = AccessLog(db.engine)
    log.add(access_log.Access("cic", None, "x"))  # type: ignore[arg-type] # bad
    log.flush()
    log.add(make_record())

    assert log.flush()
    assert len(stored()) == 1


def writers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "access-log"]


@pytest.mark.usefixtures("stored_app")
def test_the_thread_ends_when_there_is_nothing_to_write() -> None:
    log = AccessLog(db.engine)
    before = set(writers())
    log.add(make_record())
    [thread] = set(writers()) - before

    thread.join(5)

    assert not thread.is_alive()
    log.add(make_record())
    assert set(writers()) - before
    assert log.flush()
    assert len(stored()) == 2


@pytest.mark.usefixtures("stored_app")
def test_a_forked_process_writes_only_its_own() -> None:
    log = AccessLog(db.engine)
    log.add(make_record())

    child = os.fork()
    if child == 0:
        os._exit(log.waiting)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert log.flush()
    assert len(stored()) == 1


@pytest.mark.usefixtures("stored_app")
def test_rows_fit_a_batch_of_the_callers_own() -> None:
    record = make_record("voucher")
    access_log.access_log().rooms.prepare([record.accessed_at])
    with db.engine.begin() as connection:
        connection.execute(sa.insert(AccessRecord), rows_of([record]))

    [row] = stored()
    assert (row.service, row.device_type) == ("voucher", None)


PROGRAM = """
import sys
from datetime import UTC, datetime
import sqlalchemy as sa
from fleet.web.access_log import AccessLog, access
log = AccessLog(sa.create_engine(sys.argv[1]))
now = datetime(2030, 1, 1, tzinfo=UTC)
log.add(access("cic", address="192.0.2.7", now=now))
"""


def test_a_process_that_ends_writes_what_waits(
    stored_app: Flask, database_url: str
) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, database_url], check=True)

    with stored_app.app_context():
        assert len(stored()) == 1
