# SPDX-License-Identifier: Apache-2.0
"""The proof: counters, ledger, schema and partitions; and every stored byte."""

import base64
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from recording import keep_records
from sqlalchemy import delete, insert, text, update

from fleet.clock import utcnow
from fleet.database import db, writing
from fleet.web.access_rooms import GREATEST_AGE
from fleet.web.models import AccessRecord
from retention.cli import retention
from retention.models import AccessCount, DaySeal
from retention.service import byte_search, ledger, runs
from retention.service.byte_search import read_address, search
from retention.service.verifying import Fault, verify

ROOM = "access_record_2020010112"
HOURS = "FROM ('2020-01-01 12:00:00+00') TO ('2020-01-01 13:00:00+00')"
FUTURE = "access_record_2099010112"

CANARY = "83.1.12.77"
CANARY_6 = "2001:db8:c4d:7::1"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

POSTGRESQL = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


@pytest.fixture
def sealed(app: Flask) -> datetime:
    """A day of the past that a run has sealed, and partly deleted; now."""
    assert app.testing
    now = utcnow()
    for source in range(12):
        keep_records([now - 3 * DAY], address=f"192.0.2.{source}")
    keep_records([now - GREATEST_AGE - 2 * DAY] * 5)
    runs.run(by="cli", wait=timedelta(0))
    return now


def faults(now: datetime) -> set[tuple[str, str]]:
    return {(each.about, each.says) for each in verify(now)}


def test_what_a_run_leaves_behind_is_as_promised(sealed: datetime) -> None:
    assert verify(sealed) == []


def test_counters_that_were_changed_are_found(sealed: datetime) -> None:
    with writing(db.engine) as connection:
        more = AccessCount.requests + 1
        connection.execute(
            update(AccessCount)
            .where(AccessCount.begins_on >= (sealed - 10 * DAY).date())
            .values(requests=more)
        )
    [fault] = verify(sealed)
    assert fault.about == "counters"
    assert fault.says.endswith(": 12 records were sealed, 13 are counted")


def test_a_seal_that_was_lost_is_found(sealed: datetime) -> None:
    with writing(db.engine) as connection:
        connection.execute(delete(DaySeal).where(DaySeal.records == 12))
    [fault] = verify(sealed)
    assert fault.says.endswith(": 0 records were sealed, 12 are counted")


def test_records_that_nobody_deleted_and_that_are_gone_are_found(
    app: Flask,
) -> None:
    assert app.testing
    now = utcnow()
    day = (now - GREATEST_AGE - 3 * DAY).date()
    seal = {"service": "cic", "records": 9, "threshold": 10, "sealed_at": now}
    count = {"period": "day", "service": "cic", "device_type": "other"}
    count |= {"software_version": "other", "country": "", "requests": 9}
    with writing(db.engine) as connection:
        for begins, deleted in ((day, 7), (day - DAY, 9), (day - 2 * DAY, 11)):
            row = seal | {"day": begins, "deleted": deleted, "lost": 0}
            connection.execute(insert(DaySeal).values(row))
            connection.execute(
                insert(AccessCount).values(count | {"begins_on": begins})
            )
    says = f"cic, {day}: 2 records are gone, and no run has deleted them"
    assert faults(now) == {("deletion", says)}
    # Not those that are only late to go.
    begin = datetime.combine(day, datetime.min.time(), UTC)
    keep_records([begin + HOUR] * 2)
    found = faults(now)
    assert all(about != "deletion" for about, _ in found)


def test_a_ledger_that_was_changed_is_found(
    sealed: datetime, database_kind: str
) -> None:
    with writing(db.engine) as connection:
        if database_kind == "sqlite":
            connection.execute(text("DROP TRIGGER retention_entry_refuse_update"))
        else:
            trigger = "retention_entry_refuse_change"
            table = "ALTER TABLE retention_entry"
            connection.execute(text(f"{table} DISABLE TRIGGER {trigger}"))
        connection.execute(text("UPDATE retention_entry SET run = 7 WHERE id = 1"))
    assert ledger.verify_chain().broken_at == 1
    [fault] = verify(sealed)
    assert fault == Fault("ledger", "entry 1: changed after it was written")


def test_a_column_that_no_category_names_is_found(sealed: datetime) -> None:
    with writing(db.engine) as connection:
        connection.execute(text("ALTER TABLE device ADD COLUMN last_address text"))
        connection.execute(text("CREATE TABLE diary (line text)"))
    assert faults(sealed) == {
        ("schema", f"{column} is stored, and no category says why")
        for column in ("device.last_address", "diary.line")
    }


def room(name: str, hours: str) -> str:
    return f"CREATE TABLE {name} PARTITION OF access_record FOR VALUES {hours}"


def without_statistics(name: str) -> str:
    return f"ALTER TABLE {name} ALTER address SET STATISTICS 0"


NO_HOUR = "FROM ('2099-01-01 12:00:00+00') TO ('2099-01-01 14:00:00+00')"
ONE_HOUR = "FROM ('2099-01-01 12:00:00+00') TO ('2099-01-01 13:00:00+00')"
FILL = """
    INSERT INTO access_record (service, accessed_at, address)
    SELECT 'cic', '2099-01-01 12:30+00', '192.0.2.' || n % 7
    FROM generate_series(1, 100) AS n
"""


@POSTGRESQL
@pytest.mark.parametrize(
    ("statements", "says"),
    [
        pytest.param(
            ["CREATE TABLE access_record_all PARTITION OF access_record DEFAULT"],
            {"access_record_all is of no hour: DEFAULT"},
            id="a default partition",
        ),
        pytest.param(
            [room(ROOM, HOURS), without_statistics(ROOM)],
            {f"{ROOM} is over its age, and is still there"},
            id="an old one",
        ),
        pytest.param(
            [room(FUTURE, NO_HOUR), without_statistics(FUTURE)],
            {f"{FUTURE} is of another hour: FOR VALUES {NO_HOUR}"},
            id="of two hours",
        ),
        pytest.param(
            [f"CREATE TABLE {ROOM} (LIKE access_record)"],
            {f"{ROOM} is a room that nothing is deleted from"},
            id="not attached",
        ),
        pytest.param(
            [room(FUTURE, ONE_HOUR), FILL, f"ANALYZE {FUTURE}"],
            {
                f"{FUTURE} has statistics gathered of addresses",
                f"pg_stats tells addresses of {FUTURE}",
            },
            id="with statistics",
        ),
    ],
)
def test_a_room_outside_the_rules_is_found(
    app: Flask, statements: list[str], says: set[str]
) -> None:
    assert app.testing
    with writing(db.engine) as connection:
        for each in statements:
            connection.execute(text(each))
    found = {said for about, said in faults(utcnow()) if about == "rooms"}
    assert found == says


# Every form in which an address can have got somewhere

FORMS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "text": lambda raw, _: raw,
    "text in capitals": lambda raw, _: raw.upper(),
    "text in hex": lambda raw, _: raw.hex().encode(),
    "text in base64": lambda raw, _: base64.b64encode(raw),
    "packed": lambda _, packed: packed,
    "hex": lambda _, packed: packed.hex().encode(),
    "hex in capitals": lambda _, packed: packed.hex().upper().encode(),
    "base64": lambda _, packed: base64.b64encode(packed),
    "base64 for URLs": lambda _, packed: base64.urlsafe_b64encode(packed),
}


@pytest.mark.parametrize("address", [CANARY, CANARY_6])
@pytest.mark.parametrize("form", FORMS)
def test_an_address_is_found_in_each_form(
    tmp_path: Path, address: str, form: str
) -> None:
    wanted = ip_address(address)
    data = FORMS[form](address.encode(), wanted.packed)
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "file.wal"
    file.write_bytes(b"\0\xff\x80" + data + b"\xff\x01")
    (tmp_path / "another").write_bytes(b"nothing of interest" * 99)
    found = search([wanted], [tmp_path])
    assert {each.file for each in found.traces} == {file}
    name = form.removesuffix(" in capitals").removesuffix(" for URLs")
    assert name in {each.form for each in found.traces}
    assert (found.files, found.unread) == (2, [])
    assert search([ip_address("198.51.100.4")], [tmp_path]).traces == []


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:0db8:0000:0000:0000:0000:0000:0001"),
        ("2001:db8::1", "2001:DB8:0:0:0:0:0:1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:83.1.12.77", "83.1.12.77"),
        (" 83.1.12.77 ", "83.1.12.77"),
    ],
)
def test_an_address_has_many_spellings(tmp_path: Path, said: str, stored: str) -> None:
    (tmp_path / "log").write_text(f"from {stored} port 1\n")
    assert search([read_address(said)], [tmp_path]).traces


@settings(max_examples=300, deadline=None)
@given(
    before=st.binary(max_size=5),
    after=st.binary(max_size=5),
    address=st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    packed=st.booleans(),
    for_urls=st.booleans(),
)
def test_base64_is_found_wherever_it_stands(
    before: bytes,
    after: bytes,
    address: byte_search.Address,
    packed: bool,
    for_urls: bool,
) -> None:
    raw = address.packed if packed else str(address).encode()
    encode = base64.urlsafe_b64encode if for_urls else base64.b64encode
    data = encode(before + raw + after)
    forms = byte_search._forms([address])  # noqa: SLF001 -- a file for each would take long
    assert any(each.is_in(data, data.lower()) for each in forms)


def test_what_lies_across_two_chunks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_search, "CHUNK", 64)
    for shift in range(64):
        (tmp_path / "file").write_bytes(b"-" * shift + CANARY.encode() + b"-" * 200)
        assert search([ip_address(CANARY)], [tmp_path]).traces, shift
    read: list[int] = []
    search([ip_address(CANARY)], [tmp_path], read.append)
    assert sum(read) == (tmp_path / "file").stat().st_size


def test_a_place_inside_another_is_read_once_and_no_link_is_followed(
    tmp_path: Path,
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text(CANARY)
    (tmp_path / "link").symlink_to(tmp_path / "in" / "file")
    found = search([ip_address(CANARY)], [tmp_path, tmp_path / "in", tmp_path / "no"])
    assert [each.file for each in found.traces] == [tmp_path / "in" / "file"]
    assert found.files == 1


# At the command line


def test_a_stored_address_is_found_until_it_is_too_old(
    app: Flask, runner: FlaskCliRunner, database_kind: str
) -> None:
    """In the database's own files, and in none of them after a run."""
    assert app.testing
    keep_records([utcnow() - GREATEST_AGE + HOUR / 60] * 20, address=CANARY)
    words = ["verify", "--search", CANARY, "--json"]
    if database_kind == "postgresql":
        checkpoint()
    first = runner.invoke(retention, words)
    told = json.loads(first.stdout)["search"]
    assert first.exit_code == 1
    assert told["found"]
    assert told["unread"] == []
    assert CANARY not in first.output
    if database_kind == "sqlite":  # PostgreSQL's log of this server is every test's
        with writing(db.engine) as connection:
            at = utcnow() - GREATEST_AGE
            connection.execute(update(AccessRecord).values(accessed_at=at))
        runs.run(by="cli", wait=timedelta(0))
        after = runner.invoke(retention, words)
        assert json.loads(after.stdout)["search"]["found"] == []
        assert after.exit_code == 0


def checkpoint() -> None:
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as line:
        line.execute(text("CHECKPOINT"))


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_logs_and_dumps_elsewhere_are_searched_too(
    app: Flask, runner: FlaskCliRunner, tmp_path: Path
) -> None:
    assert app.testing
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "service.log").write_text(f"from {CANARY_6}\n")
    more = ["--in", str(folder)]
    said = runner.invoke(
        retention,
        ["verify", "--search", "-", *more],
        input=f"{CANARY}\n\n{CANARY_6}\n",
    )
    assert said.exit_code == 1
    assert f"FOUND   {folder / 'service.log'} (text)" in said.output
    assert CANARY_6 not in said.output


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_what_is_no_address_is_not_repeated(runner: FlaskCliRunner) -> None:
    said = runner.invoke(retention, ["verify", "--search", "83.1.12.777"])
    assert said.exit_code == 2
    assert "83.1.12" not in said.output


def test_the_command_says_what_is_wrong_by_its_exit_code(
    sealed: datetime, runner: FlaskCliRunner
) -> None:
    assert sealed
    good = runner.invoke(retention, ["verify"])
    assert (good.exit_code, good.output[:2]) == (0, "ok")
    with writing(db.engine) as connection:
        connection.execute(text("CREATE TABLE diary (line text)"))
    bad = runner.invoke(retention, ["verify", "--json"])
    assert bad.exit_code == 1
    [fault] = json.loads(io.StringIO(bad.stdout).read())["faults"]
    assert fault["about"] == "schema"
