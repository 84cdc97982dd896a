# SPDX-License-Identifier: Apache-2.0
"""HTTP face for staff: what people ask of their data, by when, and what was done."""

from datetime import datetime
from http import HTTPStatus

from flask import Blueprint, Response, request

from fleet.clock import utcnow
from fleet.devices.errors import UnknownDevice
from fleet.devices.registry import UNCHANGED, Unchanged
from fleet.devices.serial_numbers import normalise_serial
from fleet.errors import Invalid
from fleet.staff.guard import current_staff, staff_only
from fleet.staff.roles import Role
from fleet.web.contract import Answered, accepts, queries, refuses, returns, says
from fleet.web.languages import choose
from fleet.web.paging import Page, PageQuery
from retention.errors import (
    ErasureEndsService,
    ExtensionTooLate,
    MarksNotKept,
    RequestClosed,
    TooManyShares,
    UnknownRequest,
    UnknownShare,
)
from retention.schemas.rights import (
    ErasurePlanView,
    ExportView,
    ExtensionRequest,
    FormatQuery,
    FulfilledView,
    FulfilmentRequest,
    LiftingRequest,
    RefusalRequest,
    RightsRequestRequest,
    RightsRequestsPage,
    RightsRequestsQuery,
    RightsRequestView,
    SharesPage,
    ShareView,
)
from retention.service import erasing, fulfilling, requests, sharing
from retention.service.fulfilling import Wishes
from retention.service.requests import Kind, NewRequest, RequestFacts, State, Wanted
from retention.service.sharing import ShareFacts
from retention.views import csv_answer, export_view, fulfilled_view

blueprint = Blueprint("retention-rights", __name__, url_prefix="/retention/v1")

ID = "int(max=9223372036854775807)"
ANSWERERS = (Role.SUPPORT, Role.OPERATOR)


@blueprint.get("/requests")
@staff_only(*ANSWERERS)
@refuses(Invalid)
@returns(RightsRequestsPage)
@queries(RightsRequestsQuery)
def list_rights_requests(
    *,
    state: State | None,
    kind: Kind | None,
    serial_number: str | None,
    limit: int,
    cursor: str | None,
) -> Page[RequestFacts]:
    """List what people ask: the overdue first, then the open, then the closed."""
    wanted = Wanted(state=state, kind=kind, serial_number=serial_number)
    return requests.listed(wanted, limit=limit, cursor=cursor, now=utcnow())


@blueprint.post("/requests")
@staff_only(*ANSWERERS)
@refuses(UnknownDevice)
@returns(RightsRequestView, HTTPStatus.CREATED)
@accepts(RightsRequestRequest)
def take_request_down(
    *,
    serial_number: str,
    kind: Kind,
    verified_by: str,
    reason: str,
    received_at: datetime | None,
) -> Answered:
    """Take down what somebody asks; the answer is due a calendar month later."""
    new = NewRequest(serial_number, kind, verified_by, reason, received_at)
    made = requests.take_down(new, by=current_staff(), now=utcnow())
    location = f"{blueprint.url_prefix}/requests/{made.id}"
    return Answered(made, HTTPStatus.CREATED, {"Location": location})


@blueprint.get(f"/requests/<{ID}:request_id>")
@staff_only(*ANSWERERS)
@refuses(UnknownRequest)
@returns(RightsRequestView)
def show_rights_request(request_id: int) -> RequestFacts:
    """Show one request, and the receipt of what was done."""
    return requests.find(request_id, now=utcnow())


@blueprint.post(f"/requests/<{ID}:request_id>/extension")
@staff_only(*ANSWERERS)
@refuses(UnknownRequest, RequestClosed, ExtensionTooLate)
@returns(RightsRequestView)
@accepts(ExtensionRequest)
def extend_request(request_id: int, *, because: str) -> RequestFacts:
    """Take two more months; the person was told so within the first."""
    return requests.extend(
        request_id, because=because, by=current_staff(), now=utcnow()
    )


@blueprint.post(f"/requests/<{ID}:request_id>/refusal")
@staff_only(*ANSWERERS)
@refuses(UnknownRequest, RequestClosed)
@returns(RightsRequestView)
@accepts(RefusalRequest)
def refuse_request(request_id: int, *, because: str) -> RequestFacts:
    """Refuse a request, with the reason that the person is told."""
    return requests.refuse(
        request_id, because=because, by=current_staff(), now=utcnow()
    )


@blueprint.post(f"/requests/<{ID}:request_id>/fulfilment")
@staff_only(*ANSWERERS)
@refuses(
    UnknownRequest,
    UnknownDevice,
    RequestClosed,
    ErasureEndsService,
    TooManyShares,
    MarksNotKept,
)
@returns(FulfilledView)
@accepts(FulfilmentRequest)
def fulfil_request(  # noqa: PLR0913 -- the fields of the request
    request_id: int,
    *,
    answer: str = "",
    customer: str | Unchanged = UNCHANGED,
    notes: str | Unchanged = UNCHANGED,
    ends_service: bool,
    recipient: str,
    expires_in_days: int,
) -> dict[str, object]:
    """Do what a request asks for; only an operator erases or restricts.

    Again, the same answer; a read token is shown once, data for a week.
    """
    wishes = Wishes(
        answer=answer,
        customer=customer,
        notes=notes,
        ends_service=ends_service,
        recipient=recipient,
        days=expires_in_days,
    )
    done = fulfilling.fulfil(request_id, wishes, by=current_staff(), now=utcnow())
    return fulfilled_view(done)


@blueprint.get(f"/requests/<{ID}:request_id>/data")
@staff_only(*ANSWERERS)
@refuses(UnknownRequest, UnknownDevice, RequestClosed)
@says("application/json", "text/csv")
@returns(ExportView)
@queries(FormatQuery)
def show_handed_out(
    request_id: int,
    *,
    format: str | None,  # noqa: A002 -- the query's name
) -> Response | dict[str, object]:
    """Show what a request for access or portability was fulfilled with, for a week.

    Each time is in the audit log.
    """
    export = fulfilling.handed_out(request_id, by=current_staff(), now=utcnow())
    if format == "csv":
        return csv_answer(export, choose(request.accept_languages, None))
    return export_view(export)


@blueprint.post(f"/requests/<{ID}:request_id>/lifting")
@staff_only(*ANSWERERS)
@refuses(UnknownRequest, UnknownDevice, RequestClosed, MarksNotKept)
@returns(RightsRequestView)
@accepts(LiftingRequest)
def lift_restriction(request_id: int, *, told: str) -> RequestFacts:
    """End a restriction, of which the person was told before, or an objection."""
    return fulfilling.lift(request_id, told=told, by=current_staff(), now=utcnow())


@blueprint.get("/devices/<serial>/erasure")
@staff_only(*ANSWERERS)
@refuses(Invalid, UnknownDevice)
@returns(ErasurePlanView)
def plan_erasure(serial: str) -> dict[str, object]:
    """Say what an erasure would take of one PBX, and what the law keeps, and why."""
    return erasing.told(erasing.plan(normalise_serial(serial), now=utcnow()))


@blueprint.get("/devices/<serial>/shares")
@staff_only(*ANSWERERS)
@refuses(Invalid, UnknownDevice)
@returns(SharesPage)
@queries(PageQuery)
def list_shares(serial: str, *, limit: int, cursor: str | None) -> Page[ShareFacts]:
    """List who may read what is stored about one PBX, and who no longer may."""
    return sharing.listed(normalise_serial(serial), limit=limit, cursor=cursor)


@blueprint.delete(f"/devices/<serial>/shares/<{ID}:share_id>")
@staff_only(*ANSWERERS)
@refuses(Invalid, UnknownDevice, UnknownShare)
@returns(ShareView)
def end_share(serial: str, share_id: int) -> ShareFacts:
    """Let somebody read no more, from the next request on."""
    return sharing.revoke(serial, share_id, by=current_staff(), now=utcnow())
