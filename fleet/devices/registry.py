# SPDX-License-Identifier: Apache-2.0
"""The registered PBXs: take in, find, search, change.

What a service of another room gets is ``DeviceFacts``, and a row only to lock it
(``locked``). Nothing here
writes the audit log: the use case that calls knows who acts and why, and may
change more than this in the same transaction.
"""

from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from fleet.database import reading, transaction
from fleet.devices import secret as device_secret
from fleet.devices.errors import (
    DeviceAlreadyRegistered,
    MacAddressTaken,
    ProcessingRestricted,
    UnknownDevice,
)
from fleet.devices.models import Device
from fleet.devices.search import matching, rank, searchable, sought
from fleet.devices.serial_numbers import normalise_mac, normalise_serial
from fleet.errors import NotFound
from fleet.keys.keyring import Keyring
from fleet.web.paging import Order, Page

# "fleet" in ASCII: whoever adds PBXs on PostgreSQL holds this number, so that no
# two of them can add the same MAC address at the same time.
_LOCK = 0x666C656574


class Unchanged(Enum):
    """Stands for "leave it": nothing and empty are values of their own."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True, repr=False)
class DeviceFacts:
    """A registered PBX, as it was read; silent in logs and tracebacks."""

    id: int
    serial_number: str
    mac_address: str | None
    part_number: str
    device_type: str
    hardware_revision: str
    support_ends_on: date | None
    registered_at: datetime
    customer: str
    notes: str
    secret_digest: bytes
    secret_key_version: int
    objected_at: datetime | None = None
    restricted_at: datetime | None = None


@dataclass(frozen=True, repr=False)
class NewDevice:
    """A PBX to be registered, in any usual spelling."""

    serial_number: str
    device_type: str
    device_secret: str
    mac_address: str | None = None
    part_number: str = ""
    hardware_revision: str = ""
    support_ends_on: date | None = None
    customer: str = ""
    notes: str = ""


def register(new: NewDevice, *, keyring: Keyring, now: datetime) -> DeviceFacts:
    """Take a PBX in; the very same one again is found and left as it is.

    Raises ``Invalid``, ``DeviceAlreadyRegistered`` for a serial number that is
    there with another type, MAC address or secret, and ``MacAddressTaken``.
    """
    serial_number = normalise_serial(new.serial_number)
    mac_address = normalise_mac(new.mac_address) if new.mac_address else None
    device_secret.check(new.device_secret)
    key = keyring.current(device_secret.PURPOSE)
    with transaction() as session:
        keep_others_out(session)
        known = _by_serial(session, serial_number)
        if known is not None:
            return _the_same(_facts(known), new, mac_address, keyring)
        _check_mac_is_free(session, mac_address)
        row = Device(
            serial_number=serial_number,
            mac_address=mac_address,
            part_number=new.part_number,
            device_type=new.device_type,
            hardware_revision=new.hardware_revision,
            secret_digest=device_secret.digest(key, serial_number, new.device_secret),
            secret_key_version=key.version,
            support_ends_on=new.support_ends_on,
            registered_at=now,
            customer=new.customer,
            notes=new.notes,
            search_text=searchable(
                serial_number, mac_address, customer=new.customer, notes=new.notes
            ),
        )
        session.add(row)
        session.flush()
        return _facts(row)


def find(serial_number: str) -> DeviceFacts | None:
    """Return the PBX with this serial number, in any spelling.

    Raises ``Invalid`` for what is no serial number.
    """
    wanted = normalise_serial(serial_number)
    with reading() as session:
        row = _by_serial(session, wanted)
        return None if row is None else _facts(row)


def search(typed: str, *, limit: int, cursor: str | None = None) -> Page[DeviceFacts]:
    """List the PBXs that ``typed`` may mean: the likeliest first, then by serial.

    Raises ``Invalid`` for a bad cursor.
    """
    wanted = sought(typed)
    if not wanted:
        order = Order("devices", {Device.serial_number: str})
        statement = select(Device, Device.id.label("place"))
    else:
        place = rank(wanted)
        order = Order("found-devices", {place: int, Device.serial_number: str})
        statement = select(Device, place.label("place")).where(matching(wanted))
    statement = statement.where(order.after(cursor)).order_by(*order.by)

    def position(row: Row[Device, int]) -> tuple[int | str, ...]:
        serial = row[0].serial_number
        return (row[1], serial) if wanted else (serial,)

    with reading() as session:
        rows = session.execute(statement.limit(limit + 1)).all()
        return order.page(
            rows, limit=limit, position=position, view=lambda row: _facts(row[0])
        )


def change(
    serial_number: str,
    *,
    customer: str | Unchanged = UNCHANGED,
    notes: str | Unchanged = UNCHANGED,
    support_ends_on: date | Unchanged | None = UNCHANGED,
    as_asked: bool = False,
) -> tuple[DeviceFacts, DeviceFacts]:
    """Change what staff know of a PBX; return it as it was and as it is.

    ``as_asked`` is for whom the data is about (GDPR, article 16).

    Raises ``NotFound``, ``Invalid`` for what is no serial number, and
    ``ProcessingRestricted`` for what is only to be kept, unless it is ``as_asked``.
    """
    with transaction() as session:
        row = session.scalar(
            select(Device)
            .where(Device.serial_number == normalise_serial(serial_number))
            .with_for_update()
        )
        if row is None:
            raise NotFound("No PBX with this serial number is registered.")
        before = _facts(row)
        is_about_people = not (
            isinstance(customer, Unchanged) and isinstance(notes, Unchanged)
        )
        if row.restricted_at is not None and is_about_people and not as_asked:
            raise ProcessingRestricted
        if not isinstance(customer, Unchanged):
            row.customer = customer
        if not isinstance(notes, Unchanged):
            row.notes = notes
        if not isinstance(support_ends_on, Unchanged):
            row.support_ends_on = support_ends_on
        row.search_text = searchable(
            row.serial_number, row.mac_address, customer=row.customer, notes=row.notes
        )
        session.flush()
        return before, _facts(row)


def locked(session: Session, serial_number: str) -> Device:
    """Return the registry's row of a PBX, locked; raise ``UnknownDevice``.

    Whoever changes anything about one PBX takes this lock first. It lets others
    refer to the row: a check that notes an event already holds the activation
    that we wait for next, so it must not wait for us.
    """
    device = session.scalars(
        select(Device)
        .where(Device.serial_number == serial_number)
        .with_for_update(key_share=True)
    ).one_or_none()
    if device is None:
        raise UnknownDevice
    return device


def is_left_out(serial_number: str) -> bool:
    """Whether no access record of this PBX is written; of an unknown one, it is.

    Takes a serial number as it is stored.
    """
    with reading() as session:
        row = _by_serial(session, serial_number)
        return row is not None and row.left_out


def secret_is_right(
    device: DeviceFacts | None, secret: str, *, keyring: Keyring
) -> bool:
    """Whether ``secret`` is that PBX's; an unknown PBX takes as long to refuse."""
    kept = (
        (device.serial_number, device.secret_key_version, device.secret_digest)
        if device is not None
        else None
    )
    return device_secret.is_right(kept, secret, keyring=keyring)


def keep_others_out(session: Session) -> None:
    """Let nobody else add PBXs until this transaction ends."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def _by_serial(session: Session, serial_number: str) -> Device | None:
    return session.scalar(select(Device).where(Device.serial_number == serial_number))


def _check_mac_is_free(session: Session, mac_address: str | None) -> None:
    if mac_address is None:
        return
    holders = select(Device.id).where(Device.mac_address == mac_address)
    if session.scalar(holders.limit(1)) is not None:
        raise MacAddressTaken


def _the_same(
    known: DeviceFacts, new: NewDevice, mac_address: str | None, keyring: Keyring
) -> DeviceFacts:
    if (
        known.device_type != new.device_type
        or known.mac_address != mac_address
        or not secret_is_right(known, new.device_secret, keyring=keyring)
    ):
        raise DeviceAlreadyRegistered
    return known


def _facts(row: Device) -> DeviceFacts:
    return DeviceFacts(
        id=row.id,
        serial_number=row.serial_number,
        mac_address=row.mac_address,
        part_number=row.part_number,
        device_type=row.device_type,
        hardware_revision=row.hardware_revision,
        support_ends_on=row.support_ends_on,
        registered_at=row.registered_at,
        customer=row.customer,
        notes=row.notes,
        secret_digest=row.secret_digest,
        secret_key_version=row.secret_key_version,
        objected_at=row.objected_at,
        restricted_at=row.restricted_at,
    )
