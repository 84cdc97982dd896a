# SPDX-License-Identifier: Apache-2.0
"""The ways the Voucher Center turns a request down."""

from fleet.errors import Conflict, Forbidden, Invalid, NotFound


class MistypedCode(Invalid):
    """The check symbols do not fit: a slip of the pen, and no attack."""

    code = "mistyped-code"
    reason = "The code is mistyped."


class VoucherNotValid(NotFound):
    """There is no such voucher, or it was revoked."""

    code = "voucher-not-valid"
    reason = "There is no valid voucher with this code."


class VoucherNotActivated(Conflict):
    """The voucher exists and was not sold yet."""

    code = "voucher-not-activated"
    reason = "This voucher was not activated at its sale yet."


class VoucherExpired(Conflict):
    """The voucher's own time is over."""

    code = "voucher-expired"
    reason = "This voucher was not redeemed in time and has expired."


class VoucherNotForThisDevice(Conflict):
    """The product is not for PBXs of this type."""

    code = "voucher-not-for-this-device"
    reason = "This voucher is not for this type of PBX."


class VoucherAlreadyRedeemed(Conflict):
    """Another PBX has it."""

    code = "voucher-already-redeemed"
    reason = "This voucher was redeemed for another PBX."


class ReleaseCodesExhausted(Conflict):
    """All 1,023 release codes of a PBX are used."""

    code = "release-codes-exhausted"
    reason = "All 1,023 release codes of this PBX are used."


class PrerequisiteMissing(Conflict):
    """The product needs a function that the PBX does not have."""

    code = "prerequisite-missing"
    reason = "The PBX lacks a function that this product needs."


class WithoutEffect(Conflict):
    """The PBX has as much for as long; redeeming it would waste it."""

    code = "voucher-without-effect"
    reason = "The PBX already has this function for ever; nothing would be gained."


class TrialAlreadyUsed(Conflict):
    """A trial is had once for each serial number."""

    code = "trial-already-used"
    reason = "This PBX has had its trial of this product."


class UnknownProduct(NotFound):
    """There is no product with this number."""

    code = "unknown-product"
    reason = "There is no product with this number."


class ProductAlreadyExists(Conflict):
    """The product number is taken by a product that is another one."""

    code = "product-already-exists"
    reason = "There is another product with this number; make a new version of it."


class ProductRetired(Conflict):
    """Nothing new is made of a retired product."""

    code = "product-retired"
    reason = "This product is retired: no new batch, trial or grant is made of it."


class UnknownBatch(NotFound):
    """There is no batch with this number, for this caller."""

    code = "unknown-batch"
    reason = "There is no batch with this number."


class UnknownVoucher(NotFound):
    """There is no such voucher, for this caller."""

    code = "unknown-voucher"
    reason = "There is no such voucher."


class UnknownRelease(NotFound):
    """There is no release with this number."""

    code = "unknown-release"
    reason = "There is no release with this number."


class AlreadyExported(Conflict):
    """Codes are exported once, then masked for ever."""

    code = "codes-already-exported"
    reason = "These codes were exported before, and are never shown again."


class VoucherStateConflict(Conflict):
    """What the voucher has become does not allow it."""

    code = "voucher-state-conflict"
    reason = "The state of this voucher does not allow that."


class NotInForce(Conflict):
    """The release is not in force any more."""

    code = "release-not-in-force"
    reason = "This release is not in force on this PBX: it was moved or reversed."


class SecondPersonNeeded(Forbidden):
    """A reversal is asked for by one person and confirmed by another."""

    code = "second-person-needed"
    reason = "A reversal is confirmed by somebody else than the one who asked for it."


class NothingToConfirm(Conflict):
    """Nobody has asked for this reversal."""

    code = "nothing-to-confirm"
    reason = "Nobody has asked for this reversal, or it was dealt with."
