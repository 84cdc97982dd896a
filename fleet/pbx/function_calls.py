# SPDX-License-Identifier: Apache-2.0
"""What a PBX does about its functions: vouchers, sync, codes that are typed in."""

from dataclasses import replace
from typing import Final

from fleet.pbx import life
from fleet.pbx.answers import decoded_release_key
from fleet.pbx.box import Box
from fleet.pbx.codes import VOUCHER_SYMBOLS, NotAccepted, read_symbols
from fleet.pbx.errors import Nothing, NotInitialised, Refused
from fleet.pbx.functions import Entitlements, UnknownProduct
from fleet.pbx.record import Record
from fleet.pbx.release_codes import Release, read_release_code
from fleet.pbx.voucher_center import Released, VoucherCenter

ABOUT_THE_VOUCHER: Final = frozenset({400, 404, 409})
"""Refusals that asking again would not change; any other may pass."""

SYNC_IN: Final = 86400
"""Seconds to the next sync where the answer that was as good as one names none."""


class FunctionCalls:
    """Sync, redemption and release codes of one PBX; each returns what was heard."""

    def __init__(self, box: Box, center: VoucherCenter) -> None:
        """Ask ``center`` on behalf of ``box``."""
        self._box = box
        self._center = center

    def sync(self) -> Entitlements | Nothing:
        """Ask for the functions, once nothing waits any more for its redemption."""
        box = self._box
        if box.record.credentials is None:
            return NotInitialised("this PBX has no certificate yet")
        for code in box.record.vouchers:
            heard = self._redeem(code)
            if isinstance(heard, Nothing) and code in box.record.vouchers:
                return heard
        try:
            answer = self._center.entitlements(held=box.held())
        except Nothing as nothing:
            return self._not_synced(nothing)
        box.step(
            life.Entitled(answer.entitlements, answer.next_sync_in),
            key_set=answer.key_set,
        )
        return answer.entitlements

    def redeem(self, typed: str) -> Released | Nothing:
        """Redeem a voucher, and keep its code until the vendor has decided on it.

        After a lost answer, or without network, the PBX goes on trying by itself. That
        is safe, for the vendor gives this PBX the same answer again.

        Raises ``Mistyped``, and then has asked nobody.
        """
        code = read_symbols(typed, symbols=VOUCHER_SYMBOLS)
        record = self._box.record
        waiting = tuple(dict.fromkeys((*record.vouchers, code)))
        self._box.step(life.VoucherEntered(), replace(record, vouchers=waiting))
        heard = self._redeem(code)
        if isinstance(heard, Released) and self._box.record.vouchers:
            self._box.step(life.VoucherEntered())  # others that wait are due now
        return heard

    def start_trial(self, product_number: int) -> Released | Nothing:
        """Try a product."""
        box = self._box
        if box.record.credentials is None:
            return NotInitialised("this PBX has no certificate yet")
        try:
            released = self._center.start_trial(product_number, held=box.held())
        except Nothing as nothing:
            box.tell(life.Notice.NOT_REDEEMED, nothing.reason)
            return nothing
        return self._take(released, box.record)

    def enter_code(self, typed: str) -> Release:
        """Take a release code that a person typed in, with nobody to ask.

        Raises ``NotAccepted``, which says to the person why.
        """
        box = self._box
        release = self._read(typed)
        box.state.holding.check_is_new(release)
        product = box.firmware.catalogue.get(release.product_number)
        if product is None:
            raise UnknownProduct(
                f"this firmware does not know product {release.product_number}: "
                "update it, or let the PBX ask the vendor"
            )
        box.step(life.CodeEntered(release, product))
        return release

    def _redeem(self, code: str) -> Released | Nothing:
        """Redeem ``code``, which waits until it is redeemed or refused for good."""
        box = self._box
        if box.record.credentials is None:
            return NotInitialised("this PBX has no certificate yet")
        waiting = tuple(each for each in box.record.vouchers if each != code)
        try:
            released = self._center.redeem(code, held=box.held())
        except Refused as refused:
            if refused.code is None or refused.status not in ABOUT_THE_VOUCHER:
                return self._not_synced(refused)
            box.keep(replace(box.record, vouchers=waiting))
            box.tell(life.Notice.NOT_REDEEMED, refused.reason)
            return refused
        except Nothing as nothing:
            return self._not_synced(nothing)
        return self._take(released, replace(box.record, vouchers=waiting))

    def _take(self, released: Released, record: Record) -> Released:
        """Keep signed entitlements; the code beside them is shown if it is genuine."""
        sequence = None
        try:
            sequence = self._read(released.release_code or "").sequence
        except NotAccepted:
            released = replace(released, release_code=None)
        self._box.step(
            life.Entitled(released.entitlements, SYNC_IN, sequence=sequence),
            record,
            key_set=released.key_set,
        )
        return released

    def _read(self, typed: str) -> Release:
        """Read a release code; raises ``NotAccepted``."""
        key = self._box.record.release_key
        if key is None:
            raise NotAccepted("this PBX must be initialised before it takes codes")
        return read_release_code(
            typed,
            serial_number=self._box.identity.serial_number,
            release_key=decoded_release_key(key),
        )

    def _not_synced(self, nothing: Nothing) -> Nothing:
        self._box.step(life.NotSynced(nothing.reason, nothing.retry_after))
        return nothing
