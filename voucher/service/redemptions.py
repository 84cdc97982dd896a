# SPDX-License-Identifier: Apache-2.0
"""Redemption, by a PBX and by a person, through one path.

Many at once in one transaction (``fleet.commits``): the PBXs and the vouchers are
locked, each ask is judged by what those before it have changed
(``voucher.verdicts``), and a voucher is taken by one conditional write. Nobody is
answered before the commit. Whoever asks again, after a lost answer or years
later, gets the same release code.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import cast

from flask import Flask, current_app
from sqlalchemy import Connection

from fleet.commits import GroupCommit
from fleet.database import db
from fleet.devices.errors import UnknownDevice
from fleet.devices.release_keys import release_key
from fleet.devices.serial_numbers import normalise_serial
from fleet.errors import Refusal, Unavailable
from fleet.identity.guard import (
    DeviceNotPermitted,
    DeviceNotRecognised,
    believed_among,
)
from fleet.web import throttle
from fleet.web.throttle import Guessing
from voucher.codes import canonical
from voucher.errors import VoucherNotValid
from voucher.functions import Function, Source, Term
from voucher.release_code import Release, encode
from voucher.service import refusals
from voucher.service.digests import digests_of, known_digests_of
from voucher.service.entitling import Entitled, entitled
from voucher.service.held import (
    Card,
    Claim,
    Pbx,
    Released,
    Shelf,
    keep,
    keep_key_versions,
)
from voucher.service.refusals import Refused
from voucher.verdicts import check_fits, check_lasts, is_repeat, last_day_for

# Only codes that do not exist are guesses. 90 random bits cannot be guessed at any
# rate; the limits keep the noise down, and are wide enough for a NAT full of
# people, since a slip of the pen is found before anything is counted.
VOUCHER_CODE = Guessing("voucher-code", per_serial=10, per_address=60)


class Way(StrEnum):
    """How a redemption came in."""

    PBX = "pbx"
    BROWSER = "browser"


class NoSuchVoucher(Exception):  # noqa: N818 -- an answer to the one who counts guesses
    """No voucher has this code."""


@dataclass(frozen=True, repr=False, slots=True)
class Ask:
    """One redemption: what may be kept of the code, for which PBX, and who asks.

    ``certificate`` is the fingerprint of a verified one that is not looked up yet.
    """

    digests: Sequence[bytes]
    serial_number: str
    way: Way
    address: str
    certificate: bytes | None
    now: datetime


@dataclass(frozen=True, repr=False, slots=True)
class Redeemed:
    """What a voucher became, and all that the PBX has by now.

    ``release_code`` has 25 symbols without hyphens.
    """

    is_new: bool
    serial_number: str
    product_number: int
    names: dict[str, str]
    function: str
    unit: str
    quantity: int
    release_code: str
    redeemed_at: datetime
    expires_on: date | None
    has: Entitled

    @property
    def functions(self) -> list[Function]:
        """All that the PBX may use by now."""
        return self.has.functions


def redeem(
    typed_code: str,
    *,
    serial_number: str,
    way: Way,
    address: str,
    certificate: bytes | None = None,
    now: datetime,
) -> Redeemed:
    """Redeem a voucher for a PBX; again for the same PBX gives the same code.

    ``certificate`` is the fingerprint of the PBX's own, verified, where that is
    still to be looked up: for many at once that costs less.

    Raises ``MistypedCode`` before anything else is looked at or counted,
    ``Invalid`` for what is no serial number, ``DeviceNotRecognised``, ``TooMany``
    after too many codes that do not exist, a refusal of ``voucher.verdicts``, and,
    where the code itself is good, ``UnknownDevice`` or ``DeviceNotPermitted``.
    """
    code = canonical(typed_code)
    serial_number = normalise_serial(serial_number)
    digests = known_digests_of(code)
    ask = Ask(digests, serial_number, way, address, certificate, now)
    try:
        return _redemptions().redeem(ask)
    except NoSuchVoucher:
        digests = digests_of(code)
    if digests != ask.digests:  # a key was made a moment ago, elsewhere
        with suppress(NoSuchVoucher):
            return _redemptions().redeem(replace(ask, digests=digests))
    throttle.wrong(VOUCHER_CODE, address, serial=serial_number, now=now)
    raise VoucherNotValid


class Redemptions:
    """Redeems vouchers, as many as arrive together in one commit."""

    def __init__(self, app: Flask) -> None:
        """Redeem in the database of ``app``."""
        with app.app_context():
            self._together: GroupCommit[Ask, Redeemed] = GroupCommit(
                db.engine, self._work
            )
        self._shelf = Shelf()

    def redeem(self, ask: Ask) -> Redeemed:
        """Redeem one voucher; return once that is committed.

        Raises ``NoSuchVoucher`` or the refusal.
        """
        return self._together.submit(ask)

    def _work(
        self, connection: Connection, asks: Sequence[Ask]
    ) -> Sequence[Redeemed | Exception]:
        now = max(ask.now for ask in asks)
        serial_numbers = {ask.serial_number for ask in asks}
        pbxs = self._shelf.lock_pbxs(connection, serial_numbers, now=now)
        refused = _refused_at_the_door(connection, asks, pbxs, now=now)
        clients = [(ask.address, ask.serial_number) for ask in asks]
        stopped = throttle.check_many(connection, VOUCHER_CODE, clients, now=now)
        admitted = [
            ask for ask, refusal in zip(asks, refused, strict=True) if not refusal
        ]
        cards = self._shelf.lock_cards(
            connection, {each for ask in admitted for each in ask.digests}
        )
        desk = _Desk()
        replies: list[Redeemed | Exception] = []
        for ask, refusal, stop in zip(asks, refused, stopped, strict=True):
            card = next((cards[each] for each in ask.digests if each in cards), None)
            pbx = pbxs.get(ask.serial_number)
            # Who has a code that exists is never told to wait for a neighbour who
            # guesses: 90 random bits need no lock against being right.
            no = refusal or (stop if card is None else None)
            replies.append(no or desk.answer(ask, card, pbx))
        desk.close(connection)
        return replies


def register(app: Flask) -> None:
    """Let ``app`` redeem vouchers."""
    app.extensions["redemptions"] = Redemptions(app)


def _redemptions() -> Redemptions:
    return cast("Redemptions", current_app.extensions["redemptions"])


def _refused_at_the_door(
    connection: Connection,
    asks: Sequence[Ask],
    pbxs: Mapping[str, Pbx],
    *,
    now: datetime,
) -> list[Refusal | None]:
    """Return for each ask why its code is not even looked at.

    A PBX that is locked is answered by everything but redemption (protocol,
    section 1); a person may redeem for it all the same.
    """
    shown = {ask.certificate for ask in asks if ask.certificate is not None}
    believed = believed_among(connection, shown, now=now) if shown else {}
    refused: list[Refusal | None] = []
    for ask in asks:
        if ask.certificate is None:  # a person, who shows none
            refused.append(None)
        elif believed.get(ask.certificate) != ask.serial_number:
            refused.append(DeviceNotRecognised())
        elif pbxs[ask.serial_number].is_held or pbxs[ask.serial_number].is_locked:
            refused.append(DeviceNotPermitted())
        else:
            refused.append(None)
    return refused


class _Desk:
    """Where the asks of one batch follow one another; each sees those before it."""

    def __init__(self) -> None:
        self._claims: list[Claim] = []
        self._keyed: list[Pbx] = []
        self._refused: list[Refused] = []

    def answer(
        self, ask: Ask, card: Card | None, pbx: Pbx | None
    ) -> Redeemed | Exception:
        """Decide one ask; what is refused is refused to its asker alone."""
        if card is None:
            self._note(ask, VoucherNotValid.code, None, pbx)
            return NoSuchVoucher()
        try:
            return self._redeem(ask, card, pbx)
        except Unavailable as fault:  # ours, and says nothing about the voucher
            return fault
        except Refusal as refusal:
            self._note(ask, refusal.code, card, pbx)
            return refusal

    def close(self, connection: Connection) -> None:
        """Write down what was decided."""
        keep_key_versions(connection, self._keyed)
        if self._claims:
            keep(connection, self._claims)
        refusals.note(connection, self._refused)

    def _note(self, ask: Ask, problem: str, card: Card | None, pbx: Pbx | None) -> None:
        self._refused.append(
            Refused(
                problem=problem,
                way=ask.way.value,
                device_id=pbx.id if pbx else None,
                voucher_id=card.id if card else None,
                now=ask.now,
            )
        )

    def _redeem(self, ask: Ask, card: Card, pbx: Pbx | None) -> Redeemed:
        repeats = is_repeat(
            card.life,
            redeemed_by=card.redeemed_by,
            device_id=pbx.id if pbx else None,
            now=ask.now,
        )
        if pbx is None:
            raise UnknownDevice
        if pbx.is_held:
            raise DeviceNotPermitted
        if not repeats:
            self._take(ask, card, pbx)
        return _redeemed(card, pbx, is_new=not repeats, now=ask.now)

    def _take(self, ask: Ask, card: Card, pbx: Pbx) -> None:
        """Give the voucher to the PBX: for the asks that follow, then for good."""
        check_fits(
            pbx.device_type,
            pbx.holding.terms,
            device_types=card.ware.offer.device_types,
            prerequisites=card.ware.offer.prerequisites,
            now=ask.now,
        )
        released = pbx.released.get(card.id)
        is_new = released is None
        if released is None:
            released = self._release(card, pbx, ask.now)
        else:
            check_lasts(released.last_day, ask.now)
        pbx.holding.terms.append(
            Term(
                card.ware.offer.function,
                released.quantity,
                released.last_day,
                card.ware.offer.stacking,
                released.source,
            )
        )
        card.life = replace(card.life, redeemed_at=ask.now)
        card.redeemed_by = pbx.id
        self._claims.append(Claim(card, pbx, released, is_new, ask.way.value, ask.now))

    def _release(self, card: Card, pbx: Pbx, now: datetime) -> Released:
        offer = card.ware.offer
        last_day = last_day_for(offer, pbx.receiver, now)
        version, key = release_key(pbx.serial_number, pbx.release_key_version)
        if not pbx.release_key_version:
            pbx.release_key_version = version
            self._keyed.append(pbx)
        pbx.holding.last_sequence += 1
        says = Release(
            pbx.holding.last_sequence, offer.product_number, offer.quantity, last_day
        )
        released = Released(
            sequence=pbx.holding.last_sequence,
            source=Source.TRIAL if offer.trial else Source.VOUCHER,
            quantity=offer.quantity,
            last_day=last_day,
            code=encode(says, serial_number=pbx.serial_number, release_key=key),
        )
        if offer.trial:
            pbx.trials.add(offer.product_number)
        pbx.released[card.id] = released
        return released


def _redeemed(card: Card, pbx: Pbx, *, is_new: bool, now: datetime) -> Redeemed:
    released = pbx.released[card.id]
    return Redeemed(
        is_new=is_new,
        serial_number=pbx.serial_number,
        product_number=card.ware.offer.product_number,
        names=card.ware.names,
        function=card.ware.offer.function,
        unit=card.ware.offer.unit,
        quantity=released.quantity,
        release_code=released.code,
        redeemed_at=card.life.redeemed_at or now,
        expires_on=released.last_day,
        has=entitled(pbx.holding, now),
    )
