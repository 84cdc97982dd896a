# SPDX-License-Identifier: Apache-2.0
"""The registry: who is in it, and how somebody on the telephone finds them."""

import threading
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from flask import Flask
from sqlalchemy import func, select

from fleet.database import reading
from fleet.devices import registry
from fleet.devices.errors import DeviceAlreadyRegistered, MacAddressTaken
from fleet.devices.models import Device
from fleet.devices.registry import DeviceFacts, NewDevice
from fleet.errors import Invalid, NotFound, Refusal
from fleet.ground import ground

pytestmark = pytest.mark.usefixtures("app")

# What is refused before the database is asked needs only one of them.
ANY_DATABASE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECRET = "correct-horse-battery"


def make_device(serial_number: str = "ABC123456", **columns: str | date) -> DeviceFacts:
    new = NewDevice(serial_number=serial_number, device_type="T1", device_secret=SECRET)
    new = replace(new, **columns)  # type: ignore[arg-type] # the fields above
    return registry.register(new, keyring=ground().keyring, now=NOON)


def found(typed: str) -> list[str]:
    return [each.serial_number for each in registry.search(typed, limit=50).items]


def test_a_pbx_is_found_under_any_spelling_of_its_serial_number() -> None:
    made = make_device(mac_address="58-9E-C6-0D-8C-73", customer="Müller GmbH")
    assert registry.find("abc-123 456") == made
    assert made.mac_address == "58:9e:c6:0d:8c:73"
    assert registry.find("XYZ999999") is None
    with pytest.raises(Invalid):
        registry.find("short")


def test_the_same_pbx_may_be_registered_again() -> None:
    assert make_device(notes="first") == make_device(notes="again")


@pytest.mark.parametrize(
    "other",
    [
        {"device_type": "T2"},
        {"device_secret": "another-secret-entirely"},
        {"mac_address": "00:00:00:00:00:01"},
    ],
)
def test_a_serial_number_is_one_pbx(other: dict[str, str]) -> None:
    made = make_device()
    with pytest.raises(DeviceAlreadyRegistered):
        make_device(**other)
    assert registry.find("ABC123456") == made


def test_a_mac_address_is_one_pbx() -> None:
    make_device(mac_address="58:9e:c6:0d:8c:73")
    with pytest.raises(MacAddressTaken):
        make_device("XYZ999999", mac_address="589EC60D8C73")


def test_two_that_register_one_mac_address_at_once_cannot_both(app: Flask) -> None:
    refused: list[Refusal] = []
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        with app.app_context():
            barrier.wait()
            try:
                make_device(f"RACE{number:04}", mac_address="58:9e:c6:0d:8c:73")
            except MacAddressTaken as refusal:
                refused.append(refusal)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading() as session:
        count = session.scalar(select(func.count()).select_from(Device))
    assert (count, len(refused)) == (1, 3)


@ANY_DATABASE
@pytest.mark.parametrize(
    "secret", ["too few", "x" * 201, "with\nbreak-and-more", "ä" * 20]
)
def test_a_device_secret_is_long_printable_ascii(secret: str) -> None:
    with pytest.raises(Invalid) as refused:
        make_device(device_secret=secret)
    assert secret not in str(refused.value.fields)


def test_only_the_right_secret_is_right() -> None:
    device, keyring = make_device(), ground().keyring
    other = make_device("XYZ999999", device_secret="another-secret-entirely")
    assert registry.secret_is_right(device, SECRET, keyring=keyring)
    assert not registry.secret_is_right(device, SECRET + "x", keyring=keyring)
    assert not registry.secret_is_right(other, SECRET, keyring=keyring)
    assert not registry.secret_is_right(None, SECRET, keyring=keyring)
    assert not registry.secret_is_right(device, "\ud800", keyring=keyring)


def test_an_old_secret_stays_right_under_a_new_key() -> None:
    device, keyring = make_device(), ground().keyring
    keyring.rotate("device-secret")
    assert registry.secret_is_right(device, SECRET, keyring=keyring)
    younger = make_device("XYZ999999")
    assert younger.secret_key_version == device.secret_key_version + 1
    assert registry.secret_is_right(younger, SECRET, keyring=keyring)
    assert make_device() == device


def test_facts_about_a_pbx_do_not_show_in_logs() -> None:
    new = NewDevice(serial_number="ABC123456", device_type="T", device_secret=SECRET)
    assert SECRET not in repr(new)
    assert "ABC123456" not in repr(new)


@pytest.fixture
def customers(app: Flask) -> None:  # noqa: ARG001 -- in its context
    """Two PBXs, one of which is looked for."""
    make_device(
        "AB12CD34",
        mac_address="58:9e:c6:0d:8c:73",
        customer="Müller & Söhne, Groß-Gerau",
        notes="steht im\nKeller, 100% voll, rack_7, A/B\\C",
    )
    make_device("XYZ999999", customer="Meier", notes="10 racks 7")


@pytest.mark.usefixtures("customers")
def test_a_pbx_is_found_by_what_people_have() -> None:
    for typed in (
        "AB12CD34",
        "ab12-cd 34",
        "12 cd",
        "58:9e:c6",
        "0D-8C-73",
        "c60d.8c73",
        "müller",
        "MÜLLER",
        "Mu\u0308ller",  # an umlaut of two characters
        "gross-gerau",
        "GROẞ-GERAU",
        "Söhne müller",
        "müller keller",  # customer and note together
        "  im   Keller ",
        "100%",
        "rack_7",
        "A/B\\C",
    ):
        assert found(typed) == ["AB12CD34"], typed


@pytest.mark.usefixtures("customers")
def test_what_is_not_there_is_not_found() -> None:
    for typed in ("nobody", "müller meier", "%%", "__", "'", "AB12CD34 meier"):
        assert found(typed) == [], typed


def test_the_likeliest_come_first() -> None:
    make_device("ZZAAA111")
    make_device("AAA1119")
    make_device("AAA111")
    make_device("BBB222", notes="replaces AAA111")
    assert found("aaa-111") == ["AAA111", "AAA1119", "BBB222", "ZZAAA111"]


@pytest.mark.parametrize("typed", ["", "x0"])
def test_all_that_is_found_comes_page_by_page(typed: str) -> None:
    serials = sorted(f"X{number:07}" for number in range(25))
    for serial in reversed(serials):
        make_device(serial)
    seen: list[str] = []
    cursor = None
    for _ in range(10):
        page = registry.search(typed, limit=4, cursor=cursor)
        seen.extend(each.serial_number for each in page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == serials


def test_a_change_is_found_and_says_what_was_before() -> None:
    make_device(customer="Meier", support_ends_on=date(2030, 1, 1))
    before, after = registry.change("abc-123456", customer="Müller")
    assert (before.customer, after.customer) == ("Meier", "Müller")
    assert found("müller") == ["ABC123456"]
    assert found("meier") == []
    assert after.support_ends_on == date(2030, 1, 1)
    _, last = registry.change("ABC123456", support_ends_on=None, notes="x")
    assert (last.support_ends_on, last.notes, last.customer) == (None, "x", "Müller")


def test_an_unknown_pbx_cannot_be_changed() -> None:
    with pytest.raises(NotFound):
        registry.change("ABC123456", notes="x")
