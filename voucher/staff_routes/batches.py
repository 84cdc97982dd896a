# SPDX-License-Identifier: Apache-2.0
"""HTTP face for staff: batches, their export, their sale, and totals."""

import io
from datetime import datetime
from http import HTTPStatus

from flask import Blueprint, Response

from fleet.clock import utcnow
from fleet.errors import Invalid
from fleet.staff.guard import current_staff, staff_only
from fleet.staff.idempotency import HEADER, given_key
from fleet.staff.roles import Role
from fleet.web.contract import Answered, accepts, queries, refuses, returns, says
from fleet.web.languages import Language
from fleet.web.paging import Page, PageQuery
from voucher.errors import (
    AlreadyExported,
    MistypedCode,
    ProductRetired,
    UnknownBatch,
    UnknownProduct,
    UnknownVoucher,
    VoucherStateConflict,
)
from voucher.schemas.trade import (
    ActivationRequest,
    AllocationRequest,
    BatchDetailView,
    BatchesPage,
    BatchRequest,
    ExportRequest,
    OutcomeView,
    SelectionRequest,
    TotalsQuery,
    TotalsView,
)
from voucher.service.trade import batches, exporting, selections, totals
from voucher.service.trade.batches import NewBatch
from voucher.service.trade.exporting import Form, Wanted
from voucher.service.trade.sealing import Seal
from voucher.service.trade.selections import Selection
from voucher.views import batch_detail_view, batch_view, outcome_view, totals_view

blueprint = Blueprint("voucher-batches", __name__, url_prefix="/voucher/v1")

MANAGERS = (Role.PRODUCT_MANAGER,)
READERS = (Role.PRODUCT_MANAGER, Role.SUPPORT, Role.OPERATOR, Role.DEALER)

_KEY_NEEDED = (
    "Needed here: codes are handed over once, and only under a key can the answer be "
    "asked for again if it is lost. Best a new UUID."
)


@blueprint.post("/batches")
@staff_only(*MANAGERS)
@refuses(UnknownProduct, ProductRetired)
@returns(BatchDetailView, HTTPStatus.CREATED)
@accepts(BatchRequest)
def create_batch(
    *,
    product: int,
    count: int,
    dealer: str,
    valid_until: datetime | None,
    order_reference: str,
    reason: str,
) -> Answered:
    """Make vouchers of a product: up to 100,000, all of them or none."""
    now = utcnow()
    made = batches.create(
        NewBatch(
            product_number=product,
            count=count,
            dealer=dealer,
            order_reference=order_reference,
            valid_until=valid_until,
        ),
        reason=reason,
        by=current_staff(),
        now=now,
    )
    return Answered(
        batch_detail_view(made, totals.totals(batch_id=made.id, now=now)),
        HTTPStatus.CREATED,
        {"Location": f"{blueprint.url_prefix}/batches/{made.id}"},
    )


@blueprint.get("/batches")
@staff_only(*READERS)
@returns(BatchesPage)
@queries(PageQuery)
def list_batches(*, limit: int, cursor: str | None) -> Page[dict[str, object]]:
    """List batches, newest first; a dealer sees its own."""
    page = batches.listed(limit=limit, cursor=cursor, dealer=current_staff().dealer)
    return Page([batch_view(each) for each in page.items], page.next_cursor)


@blueprint.get("/batches/<int(max=9223372036854775807):batch_id>")
@staff_only(*READERS)
@refuses(UnknownBatch)
@returns(BatchDetailView)
def show_batch(batch_id: int) -> dict[str, object]:
    """Show one batch, and how many of its vouchers are in which state."""
    dealer = current_staff().dealer
    batch = batches.show(batch_id, dealer=dealer)
    found = totals.totals(batch_id=batch_id, dealer=dealer or None, now=utcnow())
    return batch_detail_view(batch, found)


@blueprint.post("/batches/<int(max=9223372036854775807):batch_id>/export")
@staff_only(*MANAGERS)
@refuses(UnknownBatch, AlreadyExported, VoucherStateConflict)
@says("application/octet-stream", "application/pdf")
@accepts(ExportRequest)
def export_batch(  # noqa: PLR0913 -- how codes are handed over
    batch_id: int,
    *,
    format: Form,  # noqa: A002 -- the field's name on the wire
    recipient: str | None,
    passphrase: str | None,
    language: Language,
    first: int | None,
    last: int | None,
    reason: str,
) -> Response:
    """Hand over the codes of a batch, or of a part of it, once and never again.

    An encrypted CSV, or a PDF of cards to be printed, which may be encrypted, too.
    An `Idempotency-Key` is needed: with it the same file can be had again for a
    day, by the same token and by nobody else.
    """
    if given_key() is None:
        raise Invalid(fields={HEADER: [_KEY_NEEDED]})
    wanted = Wanted(
        form=format,
        seal=Seal(recipient, passphrase),
        language=language,
        first=first,
        last=last,
    )
    file = io.BytesIO()
    exported = exporting.export(
        batch_id,
        wanted,
        stream=file,
        reason=reason,
        by=current_staff(),
        now=utcnow(),
    )
    response = Response(file.getvalue(), mimetype=wanted.media_type)
    named = f'attachment; filename="{exported.file_name}"'
    response.headers["Content-Disposition"] = named
    return response


@blueprint.post("/activations")
@staff_only(*MANAGERS)
@refuses(MistypedCode, UnknownBatch, UnknownVoucher, VoucherStateConflict)
@returns(OutcomeView)
@accepts(ActivationRequest)
def activate(  # noqa: PLR0913 -- which vouchers, and their sale
    *,
    code: str | None,
    voucher_id: int | None,
    batch_id: int | None,
    first: int | None,
    last: int | None,
    order_reference: str,
    reason: str,
) -> dict[str, object]:
    """Activate what was sold: one voucher, a range, or a batch."""
    done = selections.activate(
        Selection(code, voucher_id, batch_id, first, last),
        order_reference=order_reference,
        reason=reason,
        by=current_staff(),
        now=utcnow(),
    )
    return outcome_view(done)


@blueprint.post("/revocations")
@staff_only(*MANAGERS)
@refuses(MistypedCode, UnknownBatch, UnknownVoucher, VoucherStateConflict)
@returns(OutcomeView)
@accepts(SelectionRequest)
def revoke(
    *,
    code: str | None,
    voucher_id: int | None,
    batch_id: int | None,
    first: int | None,
    last: int | None,
    reason: str,
) -> dict[str, object]:
    """Make vouchers void for good, but for those that were redeemed."""
    done = selections.revoke(
        Selection(code, voucher_id, batch_id, first, last),
        reason=reason,
        by=current_staff(),
        now=utcnow(),
    )
    return outcome_view(done)


@blueprint.post("/allocations")
@staff_only(*MANAGERS)
@refuses(MistypedCode, UnknownBatch, UnknownVoucher, VoucherStateConflict)
@returns(OutcomeView)
@accepts(AllocationRequest)
def allocate(  # noqa: PLR0913 -- which vouchers, and for whom
    *,
    code: str | None,
    voucher_id: int | None,
    batch_id: int | None,
    first: int | None,
    last: int | None,
    dealer: str,
    reason: str,
) -> dict[str, object]:
    """Give vouchers to a dealer, or take them back from one."""
    done = selections.allocate(
        Selection(code, voucher_id, batch_id, first, last),
        dealer=dealer,
        reason=reason,
        by=current_staff(),
        now=utcnow(),
    )
    return outcome_view(done)


@blueprint.get("/totals")
@staff_only(*READERS)
@returns(TotalsView)
@queries(TotalsQuery)
def show_totals(
    *, product_number: int | None, batch_id: int | None, dealer: str | None
) -> dict[str, object]:
    """Count vouchers by product, dealer and state; a dealer's own, for a dealer."""
    own = current_staff().dealer
    if own and dealer not in {None, own}:
        return totals_view([])
    found = totals.totals(
        product_number=product_number,
        batch_id=batch_id,
        dealer=own or dealer,
        now=utcnow(),
    )
    return totals_view(found)
