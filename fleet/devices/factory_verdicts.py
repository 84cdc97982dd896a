# SPDX-License-Identifier: Apache-2.0
"""Judges rows of the factory list by the registry: new, changed, the same, or wrong.

Reads the registry, many rows at a time, and never writes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from fleet.devices import secret
from fleet.devices.factory_lines import FactoryRow, LineFault
from fleet.devices.models import Device
from fleet.devices.search import searchable
from fleet.keys.keyring import Keyring, VersionedKey

_KNOWN = (
    Device.id,
    Device.serial_number,
    Device.mac_address,
    Device.part_number,
    Device.device_type,
    Device.hardware_revision,
    Device.secret_digest,
    Device.secret_key_version,
    Device.support_ends_on,
    Device.customer,
    Device.notes,
)


class Decision(Enum):
    """What becomes of a row."""

    ADDED = "added"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, repr=False)
class Known:
    """A registered PBX that a row names, as far as a list can change it."""

    id: int
    serial_number: str
    mac_address: str | None
    part_number: str
    device_type: str
    hardware_revision: str
    secret_digest: bytes
    secret_key_version: int
    support_ends_on: date | None
    customer: str
    notes: str


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """The decision on one row, and what it rests on."""

    row: FactoryRow
    decision: Decision
    known: Known | None = None
    replaces_secret: bool = False
    faults: Sequence[LineFault] = ()

    @property
    def ends_support_earlier(self) -> bool:
        """Whether the row brings an end of support forward."""
        if self.known is None or self.row.support_ends_on is None:
            return False
        before = self.known.support_ends_on
        return before is None or self.row.support_ends_on < before


class Judge:
    """Judges the rows of one list, in their order."""

    def __init__(
        self,
        session: Session,
        keyring: Keyring,
        suspects: frozenset[int],
        *,
        replace_secrets: bool,
    ) -> None:
        """``suspects`` are the hashes of what may stand in the list twice."""
        self._session = session
        self._keyring = keyring
        self._key: VersionedKey = keyring.current(secret.PURPOSE)
        self._suspects = suspects
        self._replace_secrets = replace_secrets
        self._seen: dict[str, int] = {}

    def judge(self, rows: Sequence[FactoryRow]) -> list[Verdict]:
        """Return a verdict on each of ``rows``."""
        known = self._known(rows)
        holders = self._holders(rows)
        return [
            self._verdict(row, known.get(row.serial_number), holders) for row in rows
        ]

    def new_columns(self, verdict: Verdict) -> dict[str, object]:
        """Return what is written for a PBX that is added."""
        row = verdict.row
        return {
            "serial_number": row.serial_number,
            "mac_address": row.mac_address,
            "part_number": row.part_number,
            "device_type": row.device_type,
            "hardware_revision": row.hardware_revision,
            "support_ends_on": row.support_ends_on,
            "secret_digest": self._digest(row),
            "secret_key_version": self._key.version,
            "customer": "",
            "notes": "",
            "search_text": searchable(row.serial_number, row.mac_address),
        }

    def changed_columns(self, verdict: Verdict) -> dict[str, object]:
        """Return what is written for a PBX that is updated."""
        row, known = verdict.row, verdict.known
        if known is None:
            raise ValueError("only a registered PBX can be updated")
        mac_address = row.mac_address or known.mac_address
        digest, version = known.secret_digest, known.secret_key_version
        if verdict.replaces_secret:
            digest, version = self._digest(row), self._key.version
        return {
            "id": known.id,
            "mac_address": mac_address,
            "part_number": row.part_number,
            "hardware_revision": row.hardware_revision,
            "support_ends_on": row.support_ends_on,
            "secret_digest": digest,
            "secret_key_version": version,
            "search_text": searchable(
                known.serial_number,
                mac_address,
                customer=known.customer,
                notes=known.notes,
            ),
        }

    def _digest(self, row: FactoryRow) -> bytes:
        return secret.digest(self._key, row.serial_number, row.device_secret)

    def _known(self, rows: Iterable[FactoryRow]) -> dict[str, Known]:
        serials = [row.serial_number for row in rows]
        found: Iterable[Row[*tuple[object, ...]]] = self._session.execute(
            select(*_KNOWN).where(Device.serial_number.in_(serials))
        )
        known = (Known(*each) for each in found)  # type: ignore[arg-type] # in the order of the columns
        return {each.serial_number: each for each in known}

    def _holders(self, rows: Iterable[FactoryRow]) -> dict[str, str]:
        """Return whose the MAC addresses of ``rows`` are so far."""
        macs = [row.mac_address for row in rows if row.mac_address is not None]
        found = self._session.execute(
            select(Device.mac_address, Device.serial_number).where(
                Device.mac_address.in_(macs)
            )
        )
        return {mac: serial for mac, serial in found if mac is not None}

    def _verdict(
        self, row: FactoryRow, known: Known | None, holders: dict[str, str]
    ) -> Verdict:
        faults = [*self._repeats(row), *_foreign_mac(row, holders)]
        if known is None:
            if faults:
                return Verdict(row, Decision.REFUSED, faults=faults)
            return Verdict(row, Decision.ADDED)
        other_secret = not self._is_right(row, known)
        faults.extend(_contradictions(row, known))
        if other_secret and not self._replace_secrets:
            fault = (
                "is not the one that this serial number is registered with "
                "(--replace-secrets would replace that)"
            )
            faults.append(LineFault(row.line, "device_secret", fault))
        if faults:
            return Verdict(row, Decision.REFUSED, faults=faults)
        changes = other_secret or _differs(row, known)
        decision = Decision.UPDATED if changes else Decision.UNCHANGED
        return Verdict(row, decision, known, replaces_secret=other_secret)

    def _is_right(self, row: FactoryRow, known: Known) -> bool:
        kept = (known.serial_number, known.secret_key_version, known.secret_digest)
        return secret.is_right(kept, row.device_secret, keyring=self._keyring)

    def _repeats(self, row: FactoryRow) -> Iterator[LineFault]:
        for name, value in (
            ("serial_number", row.serial_number),
            ("mac_address", row.mac_address),
        ):
            if value is None or hash(value) not in self._suspects:
                continue
            first = self._seen.setdefault(value, row.line)
            if first != row.line:
                yield LineFault(row.line, name, f"stands on line {first} already")


def _foreign_mac(row: FactoryRow, holders: dict[str, str]) -> Iterator[LineFault]:
    holder = holders.get(row.mac_address) if row.mac_address is not None else None
    if holder is not None and holder != row.serial_number:
        yield LineFault(row.line, "mac_address", "is another registered PBX's")


def _contradictions(row: FactoryRow, known: Known) -> Iterator[LineFault]:
    fault = "is not what this serial number is registered with"
    if row.device_type != known.device_type:
        yield LineFault(row.line, "device_type", fault)
    if None not in {row.mac_address, known.mac_address} and (
        row.mac_address != known.mac_address
    ):
        yield LineFault(row.line, "mac_address", fault)


def _differs(row: FactoryRow, known: Known) -> bool:
    return (
        row.part_number != known.part_number
        or row.hardware_revision != known.hardware_revision
        or row.support_ends_on != known.support_ends_on
        or (row.mac_address is not None and known.mac_address is None)
    )
