# SPDX-License-Identifier: Apache-2.0
"""HTTP face of the licence check for staff: decode, one service call, encode."""

from datetime import date, datetime
from http import HTTPStatus

from flask import Blueprint

from cic.errors import HoldConflict, UnknownAmnesty
from cic.schemas import (
    AmnestiesPage,
    AmnestyRequest,
    AmnestyView,
    ChangeRequest,
    DeviceDetailView,
    DevicesPage,
    DevicesQuery,
    GraceRequest,
    GracesView,
    ReasonRequest,
    RegistrationRequest,
    ReplacementRequest,
    WithdrawalQuery,
)
from cic.service import amnesties, holds, listing, registration
from cic.service.amnesties import AmnestyFacts
from cic.standing import Verdict
from cic.views import detail_view, device_view
from fleet.clock import utcnow
from fleet.devices.errors import (
    CannotReplace,
    DeviceAlreadyRegistered,
    MacAddressTaken,
    ProcessingRestricted,
    UnknownDevice,
)
from fleet.devices.registry import UNCHANGED, NewDevice, Unchanged
from fleet.devices.serial_numbers import normalise_serial
from fleet.errors import Invalid
from fleet.ground import ground
from fleet.staff.guard import current_staff, staff_only
from fleet.staff.roles import Role
from fleet.web.contract import Answered, accepts, queries, refuses, returns
from fleet.web.paging import Page, PageQuery

blueprint = Blueprint("cic-staff", __name__, url_prefix="/cic/v1")

READERS = (
    Role.SUPPORT,
    Role.OPERATOR,
    Role.PRODUCT_MANAGER,
    Role.RELEASE_MANAGER,
)
DECIDERS = (Role.SUPPORT, Role.OPERATOR)


@blueprint.get("/devices")
@staff_only(*READERS)
@returns(DevicesPage)
@queries(DevicesQuery)
def list_devices(  # noqa: PLR0913 -- the filters of the protocol's list
    *,
    q: str,
    state: Verdict | None,
    device_type: str | None,
    locks_before: datetime | None,
    clone_suspected: bool | None,
    limit: int,
    cursor: str | None,
) -> Page[dict[str, object]]:
    """List PBXs: search, one state, or who locks before an instant, the next first."""
    page = listing.devices(
        q=q,
        state=state,
        device_type=device_type,
        locks_before=locks_before,
        clone_suspected=clone_suspected,
        limit=limit,
        cursor=cursor,
        now=utcnow(),
    )
    return Page([device_view(each) for each in page.items], page.next_cursor)


@blueprint.post("/devices")
@staff_only(*DECIDERS)
@refuses(DeviceAlreadyRegistered, MacAddressTaken)
@returns(DeviceDetailView, HTTPStatus.CREATED)
@accepts(RegistrationRequest)
def register_device(  # noqa: PLR0913 -- the columns of the factory list
    *,
    serial_number: str,
    device_secret: str,
    device_type: str,
    mac_address: str | None,
    part_number: str,
    hardware_revision: str,
    support_ends_on: date | None,
    customer: str = "",
    notes: str = "",
) -> Answered:
    """Register one PBX; the very same again changes nothing."""
    now = utcnow()
    made = registration.register(
        NewDevice(
            serial_number=serial_number,
            device_secret=device_secret,
            device_type=device_type,
            mac_address=mac_address,
            part_number=part_number,
            hardware_revision=hardware_revision,
            support_ends_on=support_ends_on,
            customer=customer,
            notes=notes,
        ),
        by=current_staff(),
        now=now,
    )
    return Answered(
        detail_view(made.serial_number, now=now),
        HTTPStatus.CREATED,
        {"Location": f"{blueprint.url_prefix}/devices/{made.serial_number}"},
    )


@blueprint.get("/devices/<serial>")
@staff_only(*READERS)
@refuses(Invalid, UnknownDevice)
@returns(DeviceDetailView)
def show_device(serial: str) -> dict[str, object]:
    """Show one PBX: its standing and why, certificates, checks, history."""
    return detail_view(normalise_serial(serial), now=utcnow())


@blueprint.patch("/devices/<serial>")
@staff_only(*DECIDERS)
@refuses(UnknownDevice, ProcessingRestricted)
@returns(DeviceDetailView)
@accepts(ChangeRequest)
def change_device(
    serial: str,
    *,
    customer: str | Unchanged = UNCHANGED,
    notes: str | Unchanged = UNCHANGED,
    grace_days: int | Unchanged | None = UNCHANGED,
    support_ends_on: date | Unchanged | None = UNCHANGED,
    reason: str,
) -> dict[str, object]:
    """Change customer, notes, own grace or end of support of one PBX."""
    serial_number, now = normalise_serial(serial), utcnow()
    holds.change(
        serial_number,
        customer=customer,
        notes=notes,
        grace_days=grace_days,
        support_ends_on=support_ends_on,
        reason=reason,
        by=current_staff(),
        now=now,
    )
    return detail_view(serial_number, now=now)


@blueprint.post("/devices/<serial>/block")
@staff_only(*DECIDERS)
@refuses(UnknownDevice, HoldConflict)
@returns(DeviceDetailView)
@accepts(ReasonRequest)
def block_device(serial: str, *, reason: str) -> dict[str, object]:
    """Block one PBX: it gets its verdict and updates, and nothing else."""
    serial_number, now = normalise_serial(serial), utcnow()
    holds.block(serial_number, reason=reason, by=current_staff(), now=now)
    return detail_view(serial_number, now=now)


@blueprint.post("/devices/<serial>/unblock")
@staff_only(*DECIDERS)
@refuses(UnknownDevice, HoldConflict)
@returns(DeviceDetailView)
@accepts(ReasonRequest)
def unblock_device(serial: str, *, reason: str) -> dict[str, object]:
    """Lift a block; its time does not count as silence of the PBX."""
    serial_number, now = normalise_serial(serial), utcnow()
    holds.unblock(serial_number, reason=reason, by=current_staff(), now=now)
    return detail_view(serial_number, now=now)


@blueprint.post("/devices/<serial>/reinitialisation")
@staff_only(*DECIDERS)
@refuses(UnknownDevice)
@returns(DeviceDetailView)
@accepts(ReasonRequest)
def open_reinitialisation(serial: str, *, reason: str) -> dict[str, object]:
    """Let one PBX re-initialise itself again although its limit was reached."""
    serial_number, now = normalise_serial(serial), utcnow()
    holds.open_reinitialisation(
        serial_number, reason=reason, by=current_staff(), now=now
    )
    return detail_view(serial_number, now=now)


@blueprint.delete("/devices/<serial>/clone-suspicion")
@staff_only(*DECIDERS)
@refuses(UnknownDevice)
@returns(DeviceDetailView)
@queries(WithdrawalQuery)
def clear_clone_suspicion(serial: str, *, reason: str) -> dict[str, object]:
    """Take back that one PBX may have a clone; repeated, it changes nothing."""
    serial_number, now = normalise_serial(serial), utcnow()
    holds.clear_suspicion(serial_number, reason=reason, by=current_staff(), now=now)
    return detail_view(serial_number, now=now)


@blueprint.post("/devices/<serial>/replacement")
@staff_only(*DECIDERS)
@refuses(UnknownDevice, HoldConflict, CannotReplace)
@returns(DeviceDetailView)
@accepts(ReplacementRequest)
def replace_device(serial: str, *, by: str, reason: str) -> dict[str, object]:
    """Let another PBX take the place of this one, for good."""
    serial_number, now = normalise_serial(serial), utcnow()
    holds.replace(
        serial_number, replaced_by=by, reason=reason, by=current_staff(), now=now
    )
    return detail_view(serial_number, now=now)


@blueprint.get("/amnesties")
@staff_only(*READERS)
@returns(AmnestiesPage)
@queries(PageQuery)
def list_amnesties(*, limit: int, cursor: str | None) -> Page[AmnestyFacts]:
    """List all amnesties, newest first."""
    return amnesties.amnesties(limit=limit, cursor=cursor)


@blueprint.post("/amnesties")
@staff_only(*DECIDERS)
@returns(AmnestyView, HTTPStatus.CREATED)
@accepts(AmnestyRequest)
def grant_amnesty(*, until: datetime, reason: str) -> AmnestyFacts:
    """Promise that no PBX locks before an instant; locked ones may run again."""
    return amnesties.grant(until=until, reason=reason, by=current_staff(), now=utcnow())


@blueprint.delete("/amnesties/<int(max=9223372036854775807):amnesty_id>")
@staff_only(*DECIDERS)
@refuses(UnknownAmnesty)
@returns(AmnestyView)
@queries(WithdrawalQuery)
def withdraw_amnesty(amnesty_id: int, *, reason: str) -> AmnestyFacts:
    """Withdraw an amnesty; leases that were given keep what they say."""
    return amnesties.withdraw(
        amnesty_id, reason=reason, by=current_staff(), now=utcnow()
    )


@blueprint.get("/graces")
@staff_only(*READERS)
@returns(GracesView)
def list_graces() -> dict[str, object]:
    """List the grace of each device type, where it is not the default."""
    return _graces()


@blueprint.put("/graces/<device_type>")
@staff_only(*DECIDERS)
@returns(GracesView)
@accepts(GraceRequest)
def set_grace(
    device_type: str, *, grace_days: int | None, reason: str
) -> dict[str, object]:
    """Set the grace of all PBXs of one device type, from the next check on."""
    amnesties.set_grace(
        device_type,
        grace_days=grace_days,
        reason=reason,
        by=current_staff(),
        now=utcnow(),
    )
    return _graces()


def _graces() -> dict[str, object]:
    return {
        "default_grace_days": ground().settings.grace_days,
        "items": amnesties.graces(),
    }
