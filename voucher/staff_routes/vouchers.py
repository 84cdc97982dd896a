# SPDX-License-Identifier: Apache-2.0
"""HTTP face for staff and dealers: single vouchers, and what a code is."""

from http import HTTPStatus

from flask import Blueprint

from fleet.clock import utcnow
from fleet.staff.guard import current_staff, staff_only
from fleet.staff.roles import Role
from fleet.web.contract import accepts, queries, refuses, returns
from fleet.web.paging import Page
from voucher.errors import MistypedCode, UnknownVoucher, VoucherStateConflict
from voucher.schemas.desk import (
    LARGEST_ID,
    LookupRequest,
    LookupView,
    ReasonRequest,
    ReplacementView,
    VoucherDetailView,
    VouchersPage,
    VouchersQuery,
)
from voucher.service.desk import lookups, replacements
from voucher.service.desk.lookups import Found, VoucherDetail, VoucherFacts, Wanted
from voucher.states import State

blueprint = Blueprint("voucher-vouchers", __name__, url_prefix="/voucher/v1")

READERS = (Role.SUPPORT, Role.PRODUCT_MANAGER, Role.DEALER)

_VOUCHER = f"/vouchers/<int(max={LARGEST_ID}):voucher_id>"


@blueprint.get("/vouchers")
@staff_only(*READERS)
@returns(VouchersPage)
@queries(VouchersQuery)
def list_vouchers(  # noqa: PLR0913 -- one for each field of the query
    *,
    last_four: str | None,
    serial_number: str | None,
    order_reference: str | None,
    batch_id: int | None,
    dealer: str | None,
    state: State | None,
    limit: int,
    cursor: str | None,
) -> Page[VoucherFacts]:
    """List vouchers by what a caller can say of them; to a dealer their own."""
    wanted = Wanted(
        last_four=last_four,
        serial_number=serial_number,
        order_reference=order_reference,
        batch_id=batch_id,
        dealer=dealer,
        state=state,
    )
    return lookups.vouchers(
        wanted,
        limit=limit,
        cursor=cursor,
        dealer=current_staff().dealer,
        now=utcnow(),
    )


@blueprint.get(_VOUCHER)
@staff_only(*READERS)
@refuses(UnknownVoucher)
@returns(VoucherDetailView)
def show_voucher(voucher_id: int) -> VoucherDetail:
    """Show one voucher: what, when, by whom, on which PBX, and why not."""
    return lookups.voucher(voucher_id, dealer=current_staff().dealer, now=utcnow())


@blueprint.post("/lookups")
@staff_only(*READERS, Role.AUDITOR)
@refuses(MistypedCode, UnknownVoucher)
@returns(LookupView)
@accepts(LookupRequest)
def look_up(*, code: str) -> Found:
    """Say what a voucher code or a release code is, in any spelling."""
    return lookups.find(code, dealer=current_staff().dealer, now=utcnow())


@blueprint.post(f"{_VOUCHER}/replacement")
@staff_only(Role.SUPPORT, Role.PRODUCT_MANAGER)
@refuses(UnknownVoucher, VoucherStateConflict)
@returns(ReplacementView, HTTPStatus.CREATED)
@accepts(ReasonRequest)
def replace_voucher(voucher_id: int, *, reason: str) -> dict[str, object]:
    """Make a new card for a damaged one, which is revoked; shows the code once."""
    now = utcnow()
    made = replacements.replace(voucher_id, reason=reason, by=current_staff(), now=now)
    return {"code": made.code, "voucher": lookups.voucher(made.voucher_id, now=now)}
