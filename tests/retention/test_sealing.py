# SPDX-License-Identifier: Apache-2.0
"""A day is folded into counters once, by whoever is first, and into known words."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sa
from flask import Flask
from make import make_device
from making_records import (
    DAY,
    HOUR,
    NOON,
    TYPE,
    VERSION,
    Count,
    Seal,
    catalogue,
    counts,
    entries,
    from_many,
    left,
    put,
    record,
    run_at,
    seals,
    told,
)
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from cic.models import Activation
from cic.service.vocabulary import confirmed
from fleet.database import db, transaction, writing
from fleet.devices import vocabulary
from fleet.web.access_log import Access
from retention import countries
from retention.countries import Countries
from retention.service import catalogue as words
from retention.service import sealing, tallying
from retention.service.sealing import Sealer

MONDAY = date(2027, 3, 1)
LATER = NOON + 3 * DAY


def refuse(table: str, which: str) -> None:
    """Let the database refuse rows of a table from now on."""
    with writing(db.engine) as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(
                f"CREATE TRIGGER refuse BEFORE INSERT ON {table} WHEN {which}"
                " BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
            return
        connection.exec_driver_sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'refused'; END $$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW"
            f" WHEN ({which}) EXECUTE FUNCTION refuse()"
        )


def relent(table: str) -> None:
    with writing(db.engine) as connection:
        on = f" ON {table}" if connection.dialect.name == "postgresql" else ""
        connection.exec_driver_sql(f"DROP TRIGGER refuse{on}")


def sealer() -> Sealer:
    """One that nobody keeps from working: it has no lease to lose."""
    return Sealer(db.engine, Countries(""), fence=lambda _: None, now=LATER)


# Once


def test_of_many_that_seal_a_day_at_once_one_does(app: Flask) -> None:
    assert app.testing
    catalogue((TYPE, VERSION))
    records = put([*from_many(40, NOON), *from_many(12, NOON, service="voucher")])
    sealers = [sealer() for _ in range(4)]
    begin = Barrier(len(sealers))

    def seal(each: Sealer) -> int:
        # All have read the day before any of them writes.
        done = each.seal(MONDAY, between=begin.wait)
        return 0 if done is None else done.records

    with ThreadPoolExecutor(len(sealers)) as pool:
        assert sorted(pool.map(seal, sealers)) == [0, 0, 0, 52]
    assert counts() == told(records, {(TYPE, VERSION)})
    assert [each.records for each in seals()] == [40, 12]


def test_a_day_is_sealed_with_its_counters_or_not_at_all(app: Flask) -> None:
    assert app.testing
    catalogue((TYPE, VERSION))
    records = put([*from_many(12, NOON), *from_many(12, NOON, service="voucher")])
    refuse("access_count", "NEW.service = 'voucher'")
    report = run_at(LATER)
    assert (report.state, report.sealed_days, report.overdue) == ("partial", 0, 0)
    assert (seals(), counts()) == ([], [])
    relent("access_count")
    report = run_at(LATER + HOUR)
    assert (report.state, report.sealed_days) == ("ok", 1)
    assert counts() == told(records, {(TYPE, VERSION)})


def test_a_day_that_cannot_be_sealed_holds_up_no_other(app: Flask) -> None:
    assert app.testing
    for day in range(3):
        put(from_many(12, NOON + day * DAY))
    refuse("day_seal", "NEW.day = '2027-03-02' AND NEW.records > 0")
    report = run_at(NOON + 10 * DAY)
    assert (report.state, report.sealed_days) == ("partial", 2)
    assert [each.day.day for each in seals()] == [1, 3]
    assert entries() == [(1, "began"), (1, "ended")]
    assert len(left()) == 36


@pytest.mark.parametrize(
    ("which", "sealed"),
    [
        (
            " AND NEW.records > 0",
            [Seal(MONDAY, "cic", 0, 12, 12)],
        ),
        ("", []),
    ],
    ids=["the seal is refused", "even the note of the loss is"],
)
def test_at_the_limit_deletion_wins_and_the_loss_is_told(
    app: Flask, which: str, sealed: list[Seal]
) -> None:
    assert app.testing
    put([*from_many(12, NOON), *from_many(13, NOON + DAY)])
    refuse("day_seal", f"NEW.day = '2027-03-01'{which}")
    report = run_at(NOON + 20 * DAY)
    assert (report.deleted, report.lost, report.sealed_records) == (25, 12, 13)
    assert (report.state, report.overdue) == ("partial", 0)
    assert left() == []
    assert [each for each in seals() if each.day == MONDAY] == sealed
    assert {each.begins_on for each in counts()} == {MONDAY + DAY}
    # What comes of such a day later is lost, too, and not late.
    relent("day_seal")
    put([record(NOON)])
    if sealed:
        report = run_at(NOON + 21 * DAY)
        assert (report.lost, report.late, report.state) == (1, 0, "ok")


class _Broken(Countries):
    """A fault that nobody has thought of, in what only counting needs."""

    def of(self, address: str) -> str:
        raise TypeError(address)


def test_no_fault_in_counting_keeps_what_is_too_old(app: Flask, tmp_path: Path) -> None:
    app.extensions["countries"] = _Broken(tmp_path / "country.mmdb")
    put([*from_many(12, NOON), *from_many(13, NOON + 18 * DAY)])
    report = run_at(NOON + 20 * DAY)
    assert (report.state, report.deleted, report.lost) == ("partial", 12, 12)
    assert len(left()) == 13


# What is counted


@pytest.mark.parametrize("slice_", [1, 7, 50_000])
def test_the_counters_are_those_of_a_naive_count(
    app: Flask, slice_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.testing
    monkeypatch.setattr(tallying, "RECORDS_IN_SLICE", slice_)
    known = {(f"T{kind}", f"{version}") for kind in range(2) for version in range(3)}
    catalogue(*known)
    chance = random.Random(slice_)
    records = put(
        Access(
            chance.choice(["cic", "updates", "backup"]),
            # Many at the same instant, which no slice may part or count twice.
            NOON + timedelta(minutes=chance.randrange(600)),
            f"198.51.100.{chance.randrange(200)}",
            f"T{chance.randrange(2)}",
            str(min(chance.randrange(5), 3)),
        )
        for _ in range(600)
    )
    run_at(LATER)
    assert counts() == told(records, known)
    assert sum(each.records for each in seals()) == 600


def test_only_words_of_the_catalogue_are_ever_told(app: Flask) -> None:
    assert app.testing
    catalogue((TYPE, ""), (TYPE, VERSION))
    put(from_many(10, NOON))
    # However many say the same, as one attacker's thousand addresses could.
    put(from_many(12, NOON, version="0151-2345678"))
    put(from_many(12, NOON, device_type="of Anna"))
    put(record(NOON, f"192.0.2.{n}", version=f"0151-234567{n}") for n in range(50))
    put(record(NOON, f"192.0.2.{n}", device_type=f"of Anna {n}") for n in range(50))
    put(record(NOON, f"192.0.2.{n}", device_type=None, version=None) for n in range(9))
    put(record(NOON, f"192.0.2.{n}", device_type="other", version=VERSION) for n in "1")
    run_at(LATER)
    assert counts() == [
        Count("day", MONDAY, "cic", TYPE, VERSION, "", 10),
        Count("day", MONDAY, "cic", TYPE, "other", "", 62),
        Count("day", MONDAY, "cic", "other", "other", "", 72),
    ]


def test_what_clients_write_takes_no_memory(app: Flask) -> None:
    assert app.testing
    catalogue((TYPE, VERSION))
    put(record(NOON, version=f"by hand {n}") for n in range(5000))
    put(record(NOON, version=VERSION) for n in range(5000))
    with db.engine.connect() as connection:
        known = words.read(connection)
    counted = tallying.Tally(known, Countries(""))
    [cells] = tallying.tally(db.engine, MONDAY, counted).values()
    assert sorted((each.group[:2], each.requests) for each in cells) == [
        ((TYPE, VERSION), 5000),
        ((TYPE, "other"), 5000),
    ]
    assert counted.size <= 2


def test_a_network_of_ipv6_is_one_source_however_many_addresses_it_has(
    app: Flask,
) -> None:
    assert app.testing
    one = [record(NOON, f"2001:db8:1:{n:x}::1") for n in range(200)]
    # Networks that no database shows among the first, if it sorts.
    nine = [record(NOON, f"2001:db8:ff{n}::1") for n in range(10, 19)]
    put([*one, *nine[:8]])
    run_at(LATER)
    assert [each.period for each in counts()] == ["held"]
    # With a tenth source it is a day, in whatever order a database shows them.
    tenth = [
        each._replace(accessed_at=each.accessed_at + DAY) for each in [*one, *nine]
    ]
    put(tenth)
    run_at(LATER + DAY)
    assert [(each.period, each.requests) for each in counts()] == [
        ("day", 209),
        ("held", 208),
    ]


def test_days_of_few_sources_are_told_with_their_week(app: Flask) -> None:
    assert app.testing
    sunday = NOON + 6 * DAY
    put([*from_many(9, NOON), record(sunday, "192.0.2.99")])
    put(from_many(5, sunday + DAY))
    put(from_many(2, NOON, service="voucher"))
    run_at(NOON + 9 * DAY)
    next_monday = MONDAY + timedelta(days=7)
    assert counts() == [
        Count("ever", date(1970, 1, 1), "voucher", "", "", "", 2),
        Count("held", next_monday, "cic", "other", "other", "", 5),
        Count("week", MONDAY, "cic", "other", "other", "", 10),
    ]


def test_countries_are_told_where_a_database_is_configured(
    app: Flask, tmp_path: Path
) -> None:
    catalogue((TYPE, VERSION))
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Country")
    writer.insert_network(IPSet(["192.0.2.0/24"]), {"country": {"iso_code": "DE"}})
    writer.insert_network(IPSet(["198.51.100.0/24"]), {"country": {"iso_code": "AT"}})
    writer.to_db_file(str(tmp_path / "country.mmdb"))
    countries.register(app, tmp_path / "country.mmdb")
    put(from_many(30, NOON))
    put(record(NOON, f"198.51.100.{n}") for n in range(10) for _ in range(2))
    put(record(NOON, f"203.0.113.{n}") for n in range(12))
    put([record(NOON + DAY)])
    run_at(LATER)
    assert counts() == [
        Count("day", MONDAY, "cic", TYPE, VERSION, "AT", 20),
        Count("day", MONDAY, "cic", TYPE, VERSION, "DE", 30),
        Count("day", MONDAY, "cic", TYPE, VERSION, "ZZ", 12),
        Count("held", MONDAY + DAY, "cic", "other", "other", "ZZ", 1),
    ]


# Who vouches for words


def make_pbxs(
    count: int, version: str, device_type: str = TYPE, first: int = 0
) -> None:
    """Registered PBXs that have checked with success."""
    for number in range(first, first + count):
        serial = f"CX2{number:09d}"
        facts = make_device(serial, device_type=device_type, now=NOON)
        with transaction() as session:
            session.merge(
                Activation(
                    device_id=facts.id,
                    device_type=device_type,
                    software_version=version,
                    last_success_at=NOON,
                )
            )


def test_ten_pbxs_make_a_version_a_word_and_nine_do_not(app: Flask) -> None:
    assert app.testing
    make_pbxs(10, "2.0.1")
    make_pbxs(9, "2.0.2", first=10)
    make_pbxs(9, "1.0", device_type="COMtrexx Flex", first=20)
    with db.engine.connect() as connection:
        assert confirmed(connection) == {(TYPE, ""), (TYPE, "2.0.1")}
        assert vocabulary.versions(connection) >= confirmed(connection)


def test_the_catalogue_learns_words_as_a_day_is_sealed_and_keeps_them(
    app: Flask,
) -> None:
    assert app.testing
    make_pbxs(10, VERSION)
    put(from_many(12, NOON))
    run_at(LATER)
    assert [each[3:5] for each in counts()] == [(TYPE, VERSION)]
    with transaction() as session:
        session.execute(sa.update(Activation).values(software_version="3.0"))
    put(from_many(12, NOON + 3 * DAY))
    run_at(LATER + 3 * DAY)
    assert [each[3:5] for each in counts()] == [(TYPE, VERSION)] * 2


def test_the_threshold_is_ten() -> None:
    assert sealing.THRESHOLD == 10
