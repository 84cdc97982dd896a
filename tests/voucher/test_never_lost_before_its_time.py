# SPDX-License-Identifier: Apache-2.0
"""What was sold is kept as long as the PBX is supported, and no end is moved unseen."""

import io
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from keeping import NOON, OTHER, attempt, make_sold, refused, stored
from make import NOBODY, SECRET, SERIAL
from making import make_product

from cic.service import holds
from fleet.database import reading, transaction
from fleet.devices import factory_list
from fleet.devices.models import Device
from fleet.ground import ground
from fleet.staff import audit
from voucher.models import ReleaseCode
from voucher.service.desk import grants

LONG_AGO = date(2020, 1, 31)
FAR = date(2040, 1, 31)

# In the order in which rows refer to one another.
FORGET = (
    "DELETE FROM ledger_entry WHERE device_id IS NOT NULL",
    "DELETE FROM release_code",
    "DELETE FROM voucher WHERE redeemed_by_id IS NOT NULL",
)


@pytest.fixture(autouse=True)
def sold(app: Flask) -> None:  # noqa: ARG001 -- in its context
    """A voucher that was sold, and redeemed for the PBX ``SERIAL``."""
    make_sold()


def end_support(day: date | None, serial_number: str = SERIAL) -> None:
    """Let support end as staff do."""
    holds.change(
        serial_number, support_ends_on=day, reason="sold off", by=NOBODY, now=NOON
    )


def support_ends_on(serial_number: str = SERIAL) -> date | None:
    with reading() as session:
        return session.scalar(
            sa.select(Device.support_ends_on).where(
                Device.serial_number == serial_number
            )
        )


def set_end(day: date | None, serial_number: str = SERIAL) -> str:
    """Return a statement that moves an end of support, past all of our code."""
    value = f"'{day}'" if day else "NULL"
    return (
        f"UPDATE device SET support_ends_on = {value}"
        f" WHERE serial_number = '{serial_number}'"
    )


# The databases' own clocks decide; they are not frozen.


def test_after_the_end_of_support_it_can_be_deleted() -> None:
    end_support(LONG_AGO)
    attempt(*FORGET)
    left = stored()
    assert left["release_code"] == []
    assert {len(left["voucher"])} == {3}
    assert all(
        entry[2] in {"created", "exported", "allocated", "activated"}
        for entry in left["ledger_entry"]
    )
    attempt("DELETE FROM activation")
    attempt(f"DELETE FROM device WHERE serial_number = '{SERIAL}'")


def test_before_it_cannot() -> None:
    end_support(FAR)
    for each in FORGET:
        refused(each)


def test_nor_on_the_last_day_wherever_that_still_is() -> None:
    now = datetime.now(UTC)
    at_its_latest = (now - timedelta(hours=12)).date()
    end_support(at_its_latest)
    for each in FORGET:
        refused(each)
    end_support(at_its_latest - timedelta(days=1))
    attempt(*FORGET)


def test_what_was_not_sold_is_no_part_of_it() -> None:
    end_support(LONG_AGO)
    refused("DELETE FROM voucher WHERE redeemed_by_id IS NULL")
    refused("DELETE FROM ledger_entry WHERE device_id IS NULL")
    refused("DELETE FROM voucher_batch WHERE id = 2")
    refused("DELETE FROM product")


def test_the_end_of_one_pbx_is_not_that_of_another() -> None:
    make_product(19)
    grants.grant(OTHER, product_number=19, reason="goodwill", by=NOBODY, now=NOON)
    end_support(LONG_AGO, OTHER)
    with reading() as session:
        there = session.scalar(
            sa.select(ReleaseCode.device_id).where(ReleaseCode.product_number == 19)
        )
    refused(f"DELETE FROM ledger_entry WHERE device_id <> {there}")
    attempt(f"DELETE FROM ledger_entry WHERE device_id = {there}")
    refused(f"DELETE FROM release_code WHERE device_id <> {there}")
    attempt(f"DELETE FROM release_code WHERE device_id = {there}")


# An end of support that comes sooner needs an entry in the audit log.


def test_no_end_of_support_is_brought_forward_unseen() -> None:
    refused(set_end(LONG_AGO))
    refused(set_end(FAR))
    end_support(FAR)
    refused(set_end(LONG_AGO))
    refused(set_end(FAR - timedelta(days=1)))


def test_one_may_come_later_or_never_again() -> None:
    end_support(FAR)
    attempt(set_end(FAR + timedelta(days=1)))
    attempt(set_end(None))
    refused(set_end(FAR - timedelta(days=1)))


def test_what_the_audit_log_says_can_follow_and_only_that() -> None:
    with transaction() as session:
        audit.record(
            session,
            actor=NOBODY,
            action="device.change",
            subject=f"device:{SERIAL}",
            reason="sold off",
            before={"support_ends_on": None},
            after={"support_ends_on": FAR},
            now=NOON,
        )
    refused(set_end(LONG_AGO))
    attempt(set_end(FAR))


def test_what_it_said_before_is_of_no_use() -> None:
    end_support(LONG_AGO)
    end_support(FAR)
    refused(set_end(LONG_AGO))


def test_of_a_pbx_for_which_nothing_was_sold_nobody_asks() -> None:
    attempt(set_end(LONG_AGO, OTHER))


def test_staff_bring_an_end_forward_and_it_is_written_down() -> None:
    end_support(FAR)
    end_support(LONG_AGO)
    assert support_ends_on() == LONG_AGO
    entry, *_ = audit.entries(audit.Wanted(subject=f"device:{SERIAL}"), limit=9).items
    assert entry.before["support_ends_on"] == "2040-01-31"
    assert entry.after["support_ends_on"] == "2020-01-31"


def import_list(*days: tuple[str, str]) -> None:
    head = (
        "serial_number,mac_address,part_number,device_type,hardware_revision,"
        "device_secret,support_ends_on"
    )
    lines = [
        f"{serial},,S30852-H2716-R101,COMtrexx VM,1.0,{SECRET},{day}"
        for serial, day in days
    ]
    report = factory_list.import_factory_list(
        io.BytesIO("\n".join([head, *lines, ""]).encode()),
        keyring=ground().keyring,
        actor=NOBODY,
        reason="contract of 2026",
        now=NOON,
    )
    assert report.faults == ()


def test_so_does_a_factory_list_pbx_by_pbx() -> None:
    import_list((SERIAL, "2039-12-31"), (OTHER, "2039-12-31"))
    import_list((SERIAL, "2038-12-31"), (OTHER, "2041-12-31"))
    assert support_ends_on() == date(2038, 12, 31)
    assert support_ends_on(OTHER) == date(2041, 12, 31)
    subjects = [
        (each.subject, each.after.get("support_ends_on"), each.reason)
        for each in reversed(audit.entries(audit.Wanted(), limit=9).items)
    ]
    assert subjects == [
        (f"device:{SERIAL}", "2039-12-31", "contract of 2026"),
        (f"device:{OTHER}", "2039-12-31", "contract of 2026"),
        ("devices:factory-list", None, "contract of 2026"),
        (f"device:{SERIAL}", "2038-12-31", "contract of 2026"),
        ("devices:factory-list", None, "contract of 2026"),
    ]
    with reading() as session:
        assert audit.verify_chain(session).whole
