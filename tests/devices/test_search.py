# SPDX-License-Identifier: Apache-2.0
"""A customer on the telephone is found, however their name is typed."""

from datetime import UTC, datetime

import pytest
from flask import Flask

from fleet.devices import registry
from fleet.devices.registry import NewDevice
from fleet.ground import ground

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SERIAL = "RV1000000006"
OTHER = "RV1000000007"


def register(serial_number: str, *, customer: str, notes: str = "") -> None:
    new = NewDevice(
        serial_number=serial_number,
        device_type="T1",
        device_secret="correct-horse-battery",
        mac_address="58:9e:c6:0d:8c:73" if serial_number == SERIAL else None,
        customer=customer,
        notes=notes,
    )
    registry.register(new, keyring=ground().keyring, now=NOON)


def found(typed: str) -> list[str]:
    return [each.serial_number for each in registry.search(typed, limit=50).items]


@pytest.fixture
def customers(app: Flask) -> None:  # noqa: ARG001 -- in its context
    """The one who is looked for, and one who is not."""
    register(SERIAL, customer="Bäckerei Müller", notes="Große Straße 5, bei O'Brien")
    register(OTHER, customer="Joost Posthof", notes="S/N RV1000000099 before")


@pytest.mark.usefixtures("customers")
def test_a_customer_is_found_with_umlauts_and_without() -> None:
    for typed in (
        "Bäckerei Müller",
        "MULLER",
        "mueller",
        "Mu\u0308ller",
        "baeckerei",
        "backerei mueller",
        "ckerei",
        "Grosse Strasse",
        "grosse straße",
        "O\u2019Brien",
        "obrien",
        "Müller, 5",
        "Müller,",
        "\u201eBäckerei Müller\u201c",
        "\u00abMüller\u00bb",
        '"Müller" & 5',
    ):
        assert found(typed) == [SERIAL], typed


@pytest.mark.usefixtures("customers")
def test_a_number_is_found_with_what_is_printed_before_it() -> None:
    for typed in (
        "SN: RV1000000006",
        "SN:RV1000000006",
        "S/N RV1000000006",
        "serial RV1000000006",
        "Serial number: RV1000000006",
        "Seriennummer RV1000000006",
        "RV/1000000006",
        "\u201cRV1000000006\u201d",
        "rv-1000 000006",
        "MAC 58:9E:C6:0D:8C:73",
        "mac: 589e.c60d.8c73",
        "MAC address 58-9e-c6",
    ):
        assert found(typed) == [SERIAL], typed


@pytest.mark.usefixtures("customers")
def test_what_is_near_is_not_found() -> None:
    # "joe" is no other spelling of "jo", nor "poe" of "po"; a pair of a MAC
    # address is looked for where it stands.
    for typed in ("joest", "poest", "milller", "9e:58", "...", "\u201c\u201d", "&"):
        assert found(typed) == [], typed


@pytest.mark.usefixtures("app")
def test_a_name_that_was_written_without_umlauts_is_found_with_them() -> None:
    register(SERIAL, customer="Mueller-Bauer, Lodz")
    register(OTHER, customer="Moller")
    for typed in ("Müller", "muller", "MUELLER", "eller", "müller-bauer", "Łódź"):
        assert found(typed) == [SERIAL], typed


@pytest.mark.usefixtures("app")
def test_a_label_alone_is_a_word_like_any_other() -> None:
    register(SERIAL, customer="MAC Systems")
    register(OTHER, customer="Meier")
    assert found("mac") == [SERIAL]
    assert found("mac systems") == [SERIAL]


@pytest.mark.usefixtures("app")
def test_the_very_serial_number_comes_first_whatever_stands_around_it() -> None:
    register(OTHER, customer="was RV1000000008 before")
    register("RV1000000008", customer="Meier")
    register("RV10000000081", customer="Meier")
    first = ["RV1000000008", "RV10000000081", OTHER]
    for typed in ("RV1000000008", "SN: rv-1000000008", "serial RV/1000000008"):
        assert found(typed) == first, typed
