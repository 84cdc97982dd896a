# SPDX-License-Identifier: Apache-2.0
"""HTTP face of the Voucher Center for PBXs: redeem, try, sync."""

from datetime import datetime
from http import HTTPStatus
from random import random

from flask import Blueprint

from fleet.devices import registry
from fleet.errors import TooMany
from fleet.identity.guard import (
    ACTIVE,
    LOCKED,
    certificate_holder,
    current_certificate,
    current_device,
    device_only,
)
from fleet.keys.errors import CannotSign
from fleet.server.pulse import ClockNotTrusted, timekeeper
from fleet.web.access_log import leave_out, note
from fleet.web.addresses import client_address
from fleet.web.contract import (
    Answered,
    accepts,
    also_answers,
    queries,
    refuses,
    returns,
)
from voucher.codes import shown
from voucher.entitlements import next_sync_in
from voucher.errors import (
    MistypedCode,
    PrerequisiteMissing,
    ProductRetired,
    ReleaseCodesExhausted,
    TrialAlreadyUsed,
    UnknownProduct,
    VoucherAlreadyRedeemed,
    VoucherExpired,
    VoucherNotActivated,
    VoucherNotForThisDevice,
    VoucherNotValid,
    WithoutEffect,
)
from voucher.schemas.wire import (
    EntitlementsAnswer,
    EntitlementsQuery,
    RedemptionRequest,
    ReleaseAnswer,
    TrialRequest,
)
from voucher.service import entitling, redemptions, trials
from voucher.service.redemptions import Redeemed, Way
from voucher.service.trials import Started

blueprint = Blueprint("voucher", __name__, url_prefix="/voucher/v1")


@blueprint.post("/redemptions")
@certificate_holder
@refuses(
    MistypedCode,
    VoucherNotValid,
    VoucherAlreadyRedeemed,
    VoucherExpired,
    VoucherNotActivated,
    VoucherNotForThisDevice,
    PrerequisiteMissing,
    TrialAlreadyUsed,
    WithoutEffect,
    ReleaseCodesExhausted,
    TooMany,
    CannotSign,
    ClockNotTrusted,
)
@returns(ReleaseAnswer, HTTPStatus.CREATED)
@also_answers(HTTPStatus.OK)
@accepts(RedemptionRequest)
def redeem(*, code: str, nonce: str) -> Answered:
    """Redeem a voucher for this PBX.

    Again for the same PBX: 200 with the very same release code.
    """
    certificate = current_certificate()
    if registry.is_left_out(certificate.serial_number):
        leave_out()  # its PBX is looked up with many others, later
    now = _begin()
    redeemed = redemptions.redeem(
        code,
        serial_number=certificate.serial_number,
        way=Way.PBX,
        address=client_address(),
        certificate=certificate.fingerprint,
        now=now,
    )
    return _released(redeemed, certificate.serial_number, nonce=nonce, now=now)


@blueprint.post("/trials")
@device_only(ACTIVE)
@refuses(
    UnknownProduct,
    ProductRetired,
    TrialAlreadyUsed,
    VoucherNotForThisDevice,
    PrerequisiteMissing,
    WithoutEffect,
    ReleaseCodesExhausted,
    CannotSign,
    ClockNotTrusted,
)
@returns(ReleaseAnswer, HTTPStatus.CREATED)
@also_answers(HTTPStatus.OK)
@accepts(TrialRequest)
def start_trial(*, product_number: int, nonce: str) -> Answered:
    """Try a product, once for each serial number.

    Again while the trial runs: 200 with the very same release code.
    """
    now = _begin()
    serial_number = current_device().serial_number
    started = trials.start(serial_number, product_number, now=now)
    return _released(started, serial_number, nonce=nonce, now=now)


@blueprint.get("/entitlements")
@device_only(ACTIVE, LOCKED)
@refuses(CannotSign, ClockNotTrusted)
@returns(EntitlementsAnswer)
@queries(EntitlementsQuery)
def entitlements(*, nonce: str) -> dict[str, object]:
    """Tell the PBX what it may use: after a boot, daily, and when its admin asks."""
    now = _begin()
    device = current_device()
    has = entitling.entitled_now(device.device_id, now)
    return {
        "entitlements": entitling.signed(has, device.serial_number, nonce, now),
        "next_sync_in": next_sync_in(random()),  # noqa: S311 -- spreads a load, guards nothing
    }


def _begin() -> datetime:
    """Return the instant of the request, noted; what cannot be signed is not begun."""
    note("voucher")
    now = timekeeper().now()
    entitling.check_can_sign(now)
    return now


def _released(
    made: Redeemed | Started, serial_number: str, *, nonce: str, now: datetime
) -> Answered:
    return Answered(
        {
            "product_number": made.product_number,
            "quantity": made.quantity,
            "release_code": shown(made.release_code),
            "redeemed_at": made.redeemed_at,
            "entitlements": entitling.signed(made.has, serial_number, nonce, now),
        },
        HTTPStatus.CREATED if made.is_new else HTTPStatus.OK,
    )
