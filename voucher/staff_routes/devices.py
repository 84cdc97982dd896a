# SPDX-License-Identifier: Apache-2.0
"""HTTP face for staff: what single PBXs have, are given, and have taken back."""

from http import HTTPStatus

from flask import Blueprint

from fleet.clock import utcnow
from fleet.devices.errors import UnknownDevice
from fleet.devices.serial_numbers import normalise_serial
from fleet.errors import Invalid
from fleet.identity.guard import DeviceNotPermitted
from fleet.staff.guard import current_staff, staff_only
from fleet.staff.roles import Role
from fleet.web.contract import (
    Answered,
    accepts,
    also_answers,
    refuses,
    returns,
)
from voucher.errors import (
    NothingToConfirm,
    NotInForce,
    PrerequisiteMissing,
    ProductRetired,
    ReleaseCodesExhausted,
    SecondPersonNeeded,
    TrialAlreadyUsed,
    UnknownProduct,
    UnknownRelease,
    VoucherNotForThisDevice,
    VoucherStateConflict,
    WithoutEffect,
)
from voucher.schemas.desk import (
    LARGEST_ID,
    DeviceFunctionsView,
    GrantRequest,
    MoveRequest,
    ReasonRequest,
    ReleaseView,
)
from voucher.service.desk import grants, histories, moves, reversals, standings
from voucher.service.desk.histories import OfDevice
from voucher.service.desk.standings import Released

blueprint = Blueprint("voucher-devices", __name__, url_prefix="/voucher/v1")

DECIDERS = (Role.SUPPORT, Role.PRODUCT_MANAGER)

_RELEASE = f"/releases/<int(max={LARGEST_ID}):release_id>"


@blueprint.get("/devices/<serial>")
@staff_only(*DECIDERS)
@refuses(Invalid, UnknownDevice)
@returns(DeviceFunctionsView)
def show_device(serial: str) -> OfDevice:
    """Show what one PBX has, how it came to it, and what it was refused."""
    return histories.of_device(normalise_serial(serial), now=utcnow())


@blueprint.post("/grants")
@staff_only(*DECIDERS)
@refuses(
    UnknownDevice,
    DeviceNotPermitted,
    UnknownProduct,
    ProductRetired,
    TrialAlreadyUsed,
    VoucherNotForThisDevice,
    PrerequisiteMissing,
    WithoutEffect,
    ReleaseCodesExhausted,
)
@also_answers(HTTPStatus.OK)
@returns(ReleaseView, HTTPStatus.CREATED)
@accepts(GrantRequest)
def grant(*, serial_number: str, product_number: int, reason: str) -> Answered:
    """Give a PBX a product without a voucher; a trial that runs is found again."""
    now = utcnow()
    made = grants.grant(
        serial_number,
        product_number=product_number,
        reason=reason,
        by=current_staff(),
        now=now,
    )
    status = HTTPStatus.CREATED if made.is_new else HTTPStatus.OK
    return Answered(standings.shown(made.release.id, now=now), status)


@blueprint.post(f"{_RELEASE}/move")
@staff_only(*DECIDERS)
@refuses(
    UnknownRelease,
    UnknownDevice,
    DeviceNotPermitted,
    NotInForce,
    VoucherNotForThisDevice,
    VoucherStateConflict,
    ReleaseCodesExhausted,
)
@returns(ReleaseView)
@accepts(MoveRequest)
def move(release_id: int, *, to_serial_number: str, reason: str) -> Released:
    """Move a release to another PBX, which gets a release code of its own."""
    now = utcnow()
    moved = moves.move(
        release_id,
        to_serial_number=to_serial_number,
        reason=reason,
        by=current_staff(),
        now=now,
    )
    return standings.shown(moved.id, now=now)


@blueprint.post(f"{_RELEASE}/reversal")
@staff_only(*DECIDERS)
@refuses(UnknownRelease, NotInForce)
@returns(ReleaseView)
@accepts(ReasonRequest)
def request_reversal(release_id: int, *, reason: str) -> Released:
    """Ask to take a release back; a second person confirms it within a week."""
    now = utcnow()
    reversals.request(release_id, reason=reason, by=current_staff(), now=now)
    return standings.shown(release_id, now=now)


@blueprint.post(f"{_RELEASE}/reversal/confirmation")
@staff_only(*DECIDERS)
@refuses(UnknownRelease, SecondPersonNeeded, NothingToConfirm)
@returns(ReleaseView)
@accepts(ReasonRequest)
def confirm_reversal(release_id: int, *, reason: str) -> Released:
    """Take a release back that somebody else has asked to; its voucher is free."""
    now = utcnow()
    reversals.confirm(release_id, reason=reason, by=current_staff(), now=now)
    return standings.shown(release_id, now=now)
