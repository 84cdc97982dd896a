# SPDX-License-Identifier: Apache-2.0
"""What a redemption reads and writes, for a whole batch at once.

Core statements on the connection of the batch (``fleet.commits``). Rows are
locked in the one order of this house: PBXs by serial number, then vouchers by id.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    String,
    bindparam,
    insert,
    literal,
    select,
    update,
)

from fleet.commits import padded
from fleet.database import UTCDateTime
from fleet.devices.models import Device
from fleet.identity.guard import BLOCKED, LOCKED, REPLACED, standings_among
from voucher.functions import Source, Stacking, Term
from voucher.models import Batch, LedgerEntry, Product, ReleaseCode, Voucher
from voucher.service.ledger import BEGINS, LAST_SAID, Holding, Kind
from voucher.states import Life
from voucher.verdicts import Offer, Receiver


@dataclass(frozen=True)
class Ware:
    """A version of a product."""

    id: int
    names: dict[str, str]
    offer: Offer


@dataclass(eq=False, repr=False, slots=True)
class Released:
    """A release of a PBX that came from a voucher."""

    sequence: int
    source: Source
    quantity: int
    last_day: date | None
    code: str


@dataclass(eq=False, repr=False, slots=True)
class Card:
    """A voucher that somebody asks for, and what it is for; it may change hands."""

    id: int
    life: Life
    redeemed_by: int | None
    ware: Ware


@dataclass(eq=False, repr=False, slots=True)
class Pbx:
    """A PBX that somebody asks for, and what was released for it so far."""

    id: int
    serial_number: str
    device_type: str
    release_key_version: int
    # A word of ``fleet.identity.guard``; empty before its first initialisation.
    standing: str
    holding: Holding = field(default_factory=Holding)
    trials: set[int] = field(default_factory=set)
    # By the voucher that it came from.
    released: dict[int, Released] = field(default_factory=dict)

    @property
    def is_held(self) -> bool:
        """Whether staff have blocked or replaced it."""
        return self.standing in {BLOCKED, REPLACED}

    @property
    def is_locked(self) -> bool:
        """Whether it was silent for too long, and must be re-initialised."""
        return self.standing == LOCKED

    @property
    def receiver(self) -> Receiver:
        """The PBX, as the rules see it."""
        return Receiver(self.holding.terms, self.trials, self.holding.last_sequence)


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Claim:
    """A voucher that becomes a release on a PBX, a new one or one that was there."""

    card: Card
    pbx: Pbx
    released: Released
    is_new: bool
    actor: str
    now: datetime


# Statements are made once, and asked for a few sizes only: making and preparing them
# costs more than what they do.
_DEVICES = (
    select(
        Device.id, Device.serial_number, Device.device_type, Device.release_key_version
    )
    .where(Device.serial_number.in_(bindparam("serial_numbers", expanding=True)))
    .order_by(Device.serial_number)
    .with_for_update(key_share=True)
)
_CARDS = (
    select(
        Voucher.digest,
        Voucher.id,
        Voucher.exported_at,
        Voucher.allocated_at,
        Voucher.activated_at,
        Voucher.redeemed_at,
        Voucher.revoked_at,
        Voucher.redeemed_by_id,
        Batch.valid_until,
        Batch.product_id,
    )
    .join(Batch, Batch.id == Voucher.batch_id)
    .where(Voucher.digest.in_(bindparam("digests", expanding=True)))
    .order_by(Voucher.id)
    .with_for_update(of=Voucher, key_share=True)
)
_RELEASES = (
    select(
        ReleaseCode.device_id,
        ReleaseCode.sequence,
        ReleaseCode.source,
        ReleaseCode.voucher_id,
        ReleaseCode.product_id,
        ReleaseCode.quantity,
        ReleaseCode.last_day,
        ReleaseCode.code,
        LAST_SAID.label("last_said"),
    )
    .where(ReleaseCode.device_id.in_(bindparam("device_ids", expanding=True)))
    .order_by(ReleaseCode.sequence)
)
_TAKE = (
    update(Voucher)
    .where(
        Voucher.id == bindparam("voucher"),
        Voucher.redeemed_by_id.is_(None),
        Voucher.revoked_at.is_(None),
    )
    .values(
        redeemed_by_id=bindparam("redeemed_by_id"), redeemed_at=bindparam("redeemed_at")
    )
)
# Of a release that is there by now, whether it was made just now or long ago.
_ENTER = insert(LedgerEntry).from_select(
    ["happened_at", "kind", "actor", "reason", "voucher_id", "release_id", "device_id"],
    select(
        bindparam("now", type_=UTCDateTime()),
        literal(Kind.REDEEMED.value),
        bindparam("actor", type_=String()),
        literal(""),
        ReleaseCode.voucher_id,
        ReleaseCode.id,
        ReleaseCode.device_id,
    ).where(
        ReleaseCode.device_id == bindparam("device"),
        ReleaseCode.sequence == bindparam("sequence"),
    ),
    include_defaults=False,
)


class Shelf:
    """Where redemptions find what they need; it remembers products, which never change.

    Safe to use from many threads: two that read the same product write the same.
    """

    def __init__(self) -> None:
        """Begin with nothing remembered."""
        self._wares: dict[int, Ware] = {}

    def lock_pbxs(
        self,
        connection: Connection,
        serial_numbers: Collection[str],
        *,
        now: datetime,
    ) -> dict[str, Pbx]:
        """Lock some PBXs and read what each has; by serial number."""
        rows = connection.execute(
            _DEVICES, {"serial_numbers": padded(serial_numbers)}
        ).all()
        if not rows:
            return {}
        ids = padded([row.id for row in rows])
        words = standings_among(connection, ids, now=now)
        by_id = {row.id: Pbx(*row, standing=words.get(row.id, "")) for row in rows}
        released = connection.execute(_RELEASES, {"device_ids": ids}).all()
        wares = self._known(connection, {row.product_id for row in released})
        for row in released:
            _add(by_id[row.device_id], row, wares[row.product_id].offer)
        return {each.serial_number: each for each in by_id.values()}

    def lock_cards(
        self, connection: Connection, digests: Collection[bytes]
    ) -> dict[bytes, Card]:
        """Lock the vouchers that any of some digests is kept of; by that digest."""
        if not digests:
            return {}
        rows = connection.execute(_CARDS, {"digests": padded(digests)}).all()
        wares = self._known(connection, {row.product_id for row in rows})
        return {row.digest: _card(row, wares[row.product_id]) for row in rows}

    def _known(
        self, connection: Connection, product_ids: set[int]
    ) -> Mapping[int, Ware]:
        """Return the products that are remembered, those of ``product_ids`` included.

        Not all at once: a batch is not to wait for a catalogue.
        """
        new = product_ids - self._wares.keys()
        if new:
            query = select(Product.__table__).where(Product.id.in_(new))
            for row in connection.execute(query):
                self._wares[row.id] = _ware(row)
        return self._wares


def keep(connection: Connection, claims: Sequence[Claim]) -> None:
    """Write down what was redeemed: who has it, what for, and that it happened.

    The condition of the update cannot fail, since the vouchers are locked; if it
    does, nothing of the batch is kept (``RuntimeError``).
    """
    new = [_release_row(claim) for claim in claims if claim.is_new]
    if new:
        connection.execute(insert(ReleaseCode), new)
    connection.execute(_ENTER, [_entry_row(claim) for claim in claims])
    taken = connection.execute(_TAKE, [_take_row(claim) for claim in claims])
    if taken.rowcount != len(claims):
        raise RuntimeError("a locked voucher was redeemed by somebody else")


def keep_key_versions(connection: Connection, pbxs: Collection[Pbx]) -> None:
    """Note for good which master key the codes of some PBXs are made with."""
    for pbx in pbxs:
        connection.execute(
            update(Device)
            .where(Device.id == pbx.id, Device.release_key_version == 0)
            .values(release_key_version=pbx.release_key_version)
        )


def _add(pbx: Pbx, row: Row[*tuple[Any, ...]], offer: Offer) -> None:
    source = Source(row.source)
    pbx.holding.last_sequence = row.sequence
    if source is Source.TRIAL:
        pbx.trials.add(offer.product_number)
    if row.last_said in BEGINS:
        pbx.holding.terms.append(
            Term(offer.function, row.quantity, row.last_day, offer.stacking, source)
        )
    if row.voucher_id is not None:
        pbx.released[row.voucher_id] = Released(
            row.sequence, source, row.quantity, row.last_day, row.code
        )


def _card(row: Row[*tuple[Any, ...]], ware: Ware) -> Card:
    life = Life(
        exported_at=row.exported_at,
        allocated_at=row.allocated_at,
        activated_at=row.activated_at,
        redeemed_at=row.redeemed_at,
        revoked_at=row.revoked_at,
        valid_until=row.valid_until,
    )
    return Card(id=row.id, life=life, redeemed_by=row.redeemed_by_id, ware=ware)


def _ware(row: Row[*tuple[Any, ...]]) -> Ware:
    offer = Offer(
        product_number=row.product_number,
        function=row.function,
        unit=row.unit,
        quantity=row.quantity,
        duration_days=row.duration_days,
        stacking=Stacking(row.stacking),
        trial=row.trial,
        device_types=row.device_types,
        prerequisites=row.prerequisites,
    )
    return Ware(id=row.id, names=row.names, offer=offer)


def _release_row(claim: Claim) -> dict[str, object]:
    return {
        "device_id": claim.pbx.id,
        "sequence": claim.released.sequence,
        "source": claim.released.source.value,
        "voucher_id": claim.card.id,
        "product_id": claim.card.ware.id,
        "product_number": claim.card.ware.offer.product_number,
        "quantity": claim.released.quantity,
        "last_day": claim.released.last_day,
        "code": claim.released.code,
        "released_at": claim.now,
    }


def _entry_row(claim: Claim) -> dict[str, object]:
    return {
        "now": claim.now,
        "actor": claim.actor,
        "device": claim.pbx.id,
        "sequence": claim.released.sequence,
    }


def _take_row(claim: Claim) -> dict[str, object]:
    return {
        "voucher": claim.card.id,
        "redeemed_by_id": claim.pbx.id,
        "redeemed_at": claim.now,
    }
