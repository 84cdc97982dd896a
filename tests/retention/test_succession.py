# SPDX-License-Identifier: Apache-2.0
"""What somebody objected to or restricted holds for the PBX that takes over."""

from datetime import timedelta

import pytest
from flask import Flask
from freezegun import freeze_time
from make import SERIAL, TestPbx, make_device
from rights_office import Office, access_records, opened
from sqlalchemy import delete, update
from werkzeug.test import TestResponse

from fleet.database import transaction
from fleet.devices import registry
from fleet.devices.models import Device
from fleet.devices.registry import DeviceFacts
from fleet.staff.audit import Wanted, entries
from retention.models import RightsMark
from retention.service import repeating
from retention.service.marks import mark_file

HEIR = "CX1000000002"
COLUMNS = {"objection": "objected_at", "restriction": "restricted_at"}
WHY = "the disk is broken"


@pytest.fixture
def office(proxied_app: Flask) -> Office:
    office = opened(proxied_app)
    with freeze_time(office.at):
        make_device(HEIR)
        assert heir_of(office).initialise().status_code == 201
    return office


def heir_of(office: Office) -> TestPbx:
    return TestPbx(office.app.test_client(), HEIR)


def replace(office: Office) -> TestResponse:
    with freeze_time(office.at):
        return office.app.test_client().post(
            f"/cic/v1/devices/{SERIAL}/replacement",
            json={"by": HEIR, "reason": WHY},
            headers=office.support,
        )


def known(serial_number: str = HEIR) -> DeviceFacts:
    found = registry.find(serial_number)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", COLUMNS)
def test_the_heir_is_left_out_since_its_predecessor_was(
    office: Office, kind: str
) -> None:
    office.fulfil(kind)
    since, lines = office.at, len(mark_file().lines())
    office.at += timedelta(days=3)
    assert replace(office).status_code == 200
    assert {name: getattr(known(), name) for name in COLUMNS.values()} == {
        each: since if each == COLUMNS[kind] else None for each in COLUMNS.values()
    }
    assert len(mark_file().lines()) == lines + 1
    actions = {each.action for each in entries(about_heir(), limit=9).items}
    said = {"objection": "device.object", "restriction": "device.restrict"}[kind]
    assert said in actions
    before = access_records()
    with freeze_time(office.at):
        heir = heir_of(office)
        assert heir.initialise().status_code == 201
        assert heir.check().status_code == 200
    assert access_records() == before

    # The same again changes nothing.
    assert replace(office).status_code == 200
    assert len(mark_file().lines()) == lines + 1


def about_heir() -> Wanted:
    return Wanted(subject=f"device:{HEIR}")


def test_of_nobody_who_did_not_ask_anything_is_handed_down(office: Office) -> None:
    lines = mark_file().lines()
    assert replace(office).status_code == 200
    assert (known().objected_at, known().restricted_at) == (None, None)
    assert mark_file().lines() == lines


def test_an_heir_that_objected_itself_keeps_its_own_instant(office: Office) -> None:
    with freeze_time(office.at), transaction() as session:
        session.execute(
            update(Device)
            .where(Device.serial_number == HEIR)
            .values(objected_at=office.at - timedelta(days=1))
        )
    own = known().objected_at
    office.fulfil("objection")
    lines = mark_file().lines()
    assert replace(office).status_code == 200
    assert known().objected_at == own
    assert mark_file().lines() == lines


def test_a_replacement_that_fails_hands_nothing_down(office: Office) -> None:
    office.fulfil("objection")
    with freeze_time(office.at):
        answer = office.app.test_client().post(
            f"/cic/v1/devices/{HEIR}/block",
            json={"reason": WHY},
            headers=office.support,
        )
        assert answer.status_code == 200
    lines = mark_file().lines()
    assert replace(office).status_code == 409
    assert known().objected_at is None
    assert mark_file().lines() == lines


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_restore_cannot_lose_it(office: Office, kind: str) -> None:
    """Also where the heir had taken an objection of its own back, in between."""
    office.fulfil(kind)
    with freeze_time(office.at + timedelta(days=1)):
        heir = heir_of(office)
        assert heir.initialise().status_code == 201
        for body in ({}, {"withdraw": True}):
            answer = heir.client.post(
                "/retention/v1/device/objection", json=body, headers=heir.headers
            )
            assert answer.status_code == 200
    office.at += timedelta(days=2)
    assert replace(office).status_code == 200

    # The database as it was before all of this.
    with transaction() as session:
        nothing = {"objected_at": None, "restricted_at": None}
        session.execute(update(Device).values(nothing))
        session.execute(delete(RightsMark))
    with freeze_time(office.at):
        repeating.repeat(office.at)
    for serial_number in (SERIAL, HEIR):
        assert getattr(known(serial_number), COLUMNS[kind]) is not None
