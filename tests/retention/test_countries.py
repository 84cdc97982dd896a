# SPDX-License-Identifier: Apache-2.0
"""Where an address is, by a real database file."""

import os
import threading
from pathlib import Path

import pytest
from flask import Flask
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from retention import countries as module
from retention.countries import Countries, countries

ADDRESS = "83.1.12.77"
MAXMIND = {"country": {"iso_code": "DE", "names": {"en": "Germany"}}}


def make_database(path: Path, entries: dict[str, object], *, version: int = 6) -> Path:
    """Write a database at once, as an updater does: under another name first."""
    writer = MMDBWriter(version, "Test-Country", ipv4_compatible=version == 6)
    for network, entry in entries.items():
        writer.insert_network(IPSet([network]), entry)
    new = path.with_suffix(".new")
    writer.to_db_file(str(new))
    new.replace(path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is to be."""
    return tmp_path / "countries.mmdb"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", 0.0)


def test_without_a_database_there_are_no_countries() -> None:
    for nothing in ("", Path()):
        none = Countries(nothing)
        assert (none.configured, none.of(ADDRESS), none.warnings()) == (False, "", [])


@pytest.mark.parametrize(
    ("entry", "country"),
    [
        (MAXMIND, "DE"),
        ({"country": "DE"}, "DE"),
        ({"country_code": "DE", "country": "Germany"}, "DE"),
        ({"registered_country": {"iso_code": "DE"}}, "ZZ"),
        ({"country": {"iso_code": "de"}}, "ZZ"),
        ({"country": {"iso_code": "DEU"}}, "ZZ"),
        ({"country": {"iso_code": "D1"}}, "ZZ"),
        ({"country": {"iso_code": 49}}, "ZZ"),
        ({"country": {}}, "ZZ"),
        ({"country": "Germany"}, "ZZ"),
        ({}, "ZZ"),
        ("DE", "ZZ"),
    ],
)
def test_every_makers_form_is_read_and_only_two_letters_are_a_country(
    path: Path, entry: object, country: str
) -> None:
    make_database(path, {"83.1.12.0/24": entry})
    assert Countries(path).of(ADDRESS) == country


@pytest.mark.parametrize(
    ("address", "country"),
    [
        (ADDRESS, "DE"),
        ("::ffff:83.1.12.77", "DE"),
        ("2002:5301:0c4d::1", "DE"),
        ("64:ff9b::83.1.12.77", "DE"),
        ("2001:0:4136:e378:8000:63bf:acfe:f3b2", "DE"),
        ("2a02:810d::1", "FR"),
        ("2a02:810d::1%eth0", "FR"),
        ("83.1.13.77", "ZZ"),
        ("10.0.0.1", "ZZ"),
        ("2001:db8::1", "ZZ"),
        ("83.1.12.77, 10.0.0.1", "ZZ"),
        ("", "ZZ"),
    ],
)
def test_the_whole_address_is_looked_up_and_the_one_that_it_carries(
    path: Path, address: str, country: str
) -> None:
    french = {"country": {"iso_code": "FR"}}
    make_database(path, {"83.1.12.0/24": MAXMIND, "2a02:810d::/32": french})
    assert Countries(path).of(address) == country


def test_a_database_of_ipv4_knows_no_ipv6(path: Path) -> None:
    make_database(path, {"83.1.12.0/24": MAXMIND}, version=4)
    found = Countries(path)
    assert (found.of(ADDRESS), found.of("2a02:810d::1")) == ("DE", "ZZ")
    assert found.warnings() == []


def test_a_file_that_is_replaced_is_read_again(path: Path) -> None:
    found = Countries(make_database(path, {"83.1.12.0/24": MAXMIND}))
    assert found.of(ADDRESS) == "DE"
    make_database(path, {"83.1.12.0/24": {"country": "AT"}})
    assert found.of(ADDRESS) == "AT"


def test_it_is_looked_at_once_a_second_only(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", 1000.0)
    found = Countries(make_database(path, {"83.1.12.0/24": MAXMIND}))
    assert found.of(ADDRESS) == "DE"
    make_database(path, {"83.1.12.0/24": {"country": "AT"}})
    assert found.of(ADDRESS) == "DE"


def test_a_new_file_that_is_copied_over_the_old_one_ends_nothing(path: Path) -> None:
    """A mapped file that is cut short is a SIGBUS: the reader has its own copy."""
    found = Countries(make_database(path, {"83.1.12.0/24": MAXMIND}))
    assert found.of(ADDRESS) == "DE"
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(10)
    assert found.of(ADDRESS) == "DE"  # what was read before is better than nothing
    assert "not yet whole" in found.warnings()[0]
    path.write_bytes(whole)
    assert (found.of(ADDRESS), found.warnings()) == ("DE", [])


@pytest.mark.parametrize("content", [None, b"", b"no database", os.urandom(4096)])
def test_a_missing_or_broken_file_is_a_warning_and_no_failure(
    path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    if content is not None:
        path.write_bytes(content)
    found = Countries(path)
    assert [found.of(ADDRESS), found.of("2a02::1"), found.of("x")] == ["ZZ"] * 3
    assert len(found.warnings()) == 1
    assert "PBX_COUNTRY_DATABASE" in found.warnings()[0]
    assert len(caplog.records) == 1, "once, not for each address"
    assert ADDRESS not in caplog.text
    make_database(path, {"83.1.12.0/24": MAXMIND})
    assert (found.of(ADDRESS), found.warnings()) == ("DE", [])


def test_a_file_that_goes_away_is_told_and_what_was_read_is_still_used(
    path: Path,
) -> None:
    found = Countries(make_database(path, {"83.1.12.0/24": MAXMIND}))
    assert found.of(ADDRESS) == "DE"
    path.rename(path.with_suffix(".away"))
    assert found.of(ADDRESS) == "DE"
    assert "cannot be read" in found.warnings()[0]
    path.with_suffix(".away").rename(path)
    assert (found.of(ADDRESS), found.warnings()) == ("DE", [])


def test_a_database_that_is_damaged_inside_never_fails_a_look_up(path: Path) -> None:
    whole = make_database(path, {"83.1.12.0/24": MAXMIND}).read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        found = Countries(path).of(ADDRESS)
        assert len(found) == 2


def test_many_threads_may_ask_while_the_file_changes(path: Path) -> None:
    found = Countries(make_database(path, {"83.1.12.0/24": MAXMIND}))
    answers: set[str] = set()
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            answers.add(found.of(ADDRESS))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    for code in ("AT", "CH", "DE") * 5:
        make_database(path, {"83.1.12.0/24": {"country": code}})
    ended.set()
    for each in threads:
        each.join()
    assert answers <= {"DE", "AT", "CH"}


def test_the_application_has_them(app: Flask) -> None:
    assert app.extensions["countries"] is countries()
    assert countries().configured is False
