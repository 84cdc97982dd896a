# SPDX-License-Identifier: Apache-2.0
"""All that is stored about one PBX, told by the registry of what is stored.

Whatever the registry says is about a PBX and may be handed out is read here, table by
table, so no table can be forgotten: a new column is in the registry, or its test fails.
Keys, digests and whatever else proves somebody's identity are no answer to anybody.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Column, ColumnElement, LargeBinary, String, Table, select
from sqlalchemy.orm import Session

from fleet.database import Base, reading
from fleet.devices.errors import UnknownDevice
from fleet.devices.models import Device
from fleet.web.languages import Language
from retention.policies import Category, Kind, load

Value = str | int | bool | None | list[Any] | dict[str, Any]


class Audience(Enum):
    """Who reads: whoever answers for the PBX, or a third party of their choice."""

    SUBJECT = "subject"
    THIRD_PARTY = "third-party"


# The one thing in bytes that is for others to read.
_CERTIFICATE = "device_certificate.der"

# What a third party does not get, who may have the data that a PBX makes (EU Data
# Act, article 5): what was written down about people, and what opens functions.
NOT_FOR_OTHERS = frozenset(
    {
        "device.customer",
        "device.notes",
        "activation.hold_reason",
        "life_event.detail",
        "ledger_entry.actor",
        "ledger_entry.reason",
        "release_code.code",
    }
)
NO_TABLES_FOR_OTHERS = frozenset({"audit_entry", "rights_request", "data_share"})

# Columns that name a product, and how it is found: table after table.
_NAMES_A_PRODUCT = {
    "release_code.product_id": ("product",),
    "voucher.batch_id": ("voucher_batch", "product"),
}
_OF_A_PRODUCT = (
    "product_number",
    "names",
    "function",
    "unit",
    "quantity",
    "duration_days",
)


@dataclass(frozen=True)
class Record:
    """One row of what is stored, named by its table and a running number."""

    name: str
    fields: Mapping[str, Value]


@dataclass(frozen=True)
class Gathered:
    """One category of the registry with what is stored under it."""

    category: Category
    kept: Mapping[Language, str]
    records: Sequence[Record]


@dataclass(frozen=True)
class Export:
    """All that is stored about one PBX at one instant."""

    serial_number: str
    gathered_at: datetime
    audience: Audience
    categories: Sequence[Gathered]


def gather(
    serial_number: str, *, audience: Audience = Audience.SUBJECT, now: datetime
) -> Export:
    """Return what is stored about a PBX; raise ``UnknownDevice``."""
    registry = load()
    with reading() as session:
        device = session.scalars(
            select(Device).where(Device.serial_number == serial_number)
        ).one_or_none()
        if device is None:
            raise UnknownDevice
        found = [
            Gathered(
                category,
                {each: registry.duration(category, each) for each in Language},
                list(_records(session, category, device, audience)),
            )
            for category in registry
            if category.exported and not category.coming
        ]
    told = [each for each in found if each.records]
    return Export(serial_number, now, audience, told)


def is_about(table: Table, subject: str, device: Device) -> ColumnElement[bool]:
    """Return the condition that a row is about a PBX, by the column that says so.

    That is its row id, or, in a column of text, its serial number.
    """
    column = table.c[subject]
    if isinstance(column.type, String):
        serial = device.serial_number
        return column.in_([serial, f"device:{serial}"])
    return column == device.id


def spelled(value: Value) -> str:
    """Return a value as a cell of a table shows it; nothing is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _records(
    session: Session, category: Category, device: Device, audience: Audience
) -> Iterator[Record]:
    for name in category.tables:
        subject = load().subject_of(name)
        table = Base.metadata.tables[name]
        columns = [
            table.c[each]
            for each in category.columns_of(name)
            if _is_told(table.c[each], category, audience)
        ]
        if not subject or not columns:
            continue
        rows = session.execute(
            select(*columns)
            .where(is_about(table, subject, device))
            .order_by(*table.primary_key.columns)
        ).all()
        for number, row in enumerate(rows, 1):
            fields: dict[str, Value] = {}
            for column, value in zip(columns, row, strict=True):
                fields |= _told(session, column, value)
            yield Record(f"{name}-{number}", fields)


def _is_told(column: Column[Any], category: Category, audience: Audience) -> bool:
    name = str(column)
    if category.kind is Kind.SECRET:
        return False
    if isinstance(column.type, LargeBinary):
        return name == _CERTIFICATE
    if audience is Audience.SUBJECT:
        return True
    return name not in NOT_FOR_OTHERS and column.table.name not in NO_TABLES_FOR_OTHERS


def _told(session: Session, column: Column[Any], value: object) -> Mapping[str, Value]:
    path = _NAMES_A_PRODUCT.get(str(column))
    if path is not None:
        return {"product": _product(session, path, value)}
    return {column.name: _plain(value)}


def _product(session: Session, path: Sequence[str], row_id: object) -> Value:
    """Follow ids to a product, and tell what it is."""
    for name in path[:-1]:
        table = Base.metadata.tables[name]
        row_id = session.scalar(select(table.c.product_id).where(table.c.id == row_id))
    product = Base.metadata.tables[path[-1]]
    row = session.execute(
        select(*(product.c[each] for each in _OF_A_PRODUCT)).where(
            product.c.id == row_id
        )
    ).one()
    return dict(zip(_OF_A_PRODUCT, row, strict=True))


def _plain(value: object) -> Value:
    """Return a value as JSON knows it, as exactly as it is stored."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        certificate = x509.load_der_x509_certificate(value)
        return certificate.public_bytes(Encoding.PEM).decode()
    if value is None or isinstance(value, str | int | list | dict):
        return value
    raise TypeError(f"a value of the kind {type(value).__name__} cannot be told")
