# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire between the support desk and the Voucher Center."""

from marshmallow import Schema, fields, validate

from fleet.devices.fields import SerialNumber
from fleet.web.fields import Instant, PlainText, reason
from fleet.web.paging import PageQuery, PageView
from voucher.functions import Source
from voucher.release_code import MOST_PRODUCT_NUMBER
from voucher.service.desk.lookups import CodeKind
from voucher.service.desk.standings import Standing
from voucher.states import State

LARGEST_ID = 2**63 - 1

FOR_DEALERS = "Null for a dealer, who sees the last four."


class VouchersQuery(PageQuery):
    """Which vouchers: those that agree with all that is given."""

    last_four = PlainText(
        load_default=None,
        validate=validate.Length(equal=4),
        metadata={"description": "The last four symbols of the code."},
    )
    serial_number = SerialNumber(
        load_default=None,
        metadata={"description": "Of the PBX that it was redeemed for."},
    )
    order_reference = PlainText(load_default=None, validate=validate.Length(1, 64))
    batch_id = fields.Integer(load_default=None, validate=validate.Range(1, LARGEST_ID))
    dealer = PlainText(load_default=None, validate=validate.Length(1, 120))
    state = fields.Enum(State, by_value=True, load_default=None)


class LookupRequest(Schema):
    """A code as somebody reads it out; in the body, so that no log has it."""

    code = fields.String(
        required=True,
        validate=validate.Length(1, 64),
        metadata={"description": "A voucher code or a release code, as typed."},
    )


class ReasonRequest(Schema):
    """Why; it stands in the audit log and in the ledger."""

    reason = reason()


class GrantRequest(Schema):
    """What a PBX is given without a voucher, and why."""

    serial_number = SerialNumber(required=True)
    product_number = fields.Integer(
        required=True, strict=True, validate=validate.Range(0, MOST_PRODUCT_NUMBER)
    )
    reason = reason()


class MoveRequest(Schema):
    """To which PBX, and why."""

    to_serial_number = SerialNumber(required=True)
    reason = reason()


class HappenedView(Schema):
    """One entry of the ledger."""

    id = fields.Integer(required=True)
    happened_at = Instant(required=True)
    kind = fields.String(required=True)
    actor = fields.String(
        required=True,
        metadata={"description": "A member of the staff, or `pbx` or `browser`."},
    )
    reason = fields.String(required=True)
    voucher_id = fields.Integer(required=True, allow_none=True)
    release_id = fields.Integer(required=True, allow_none=True)
    serial_number = fields.String(
        required=True, allow_none=True, metadata={"description": FOR_DEALERS}
    )
    serial_last_four = fields.String(required=True, allow_none=True)


class RefusedView(Schema):
    """A redemption that was refused, and why; kept for 14 days."""

    happened_at = Instant(required=True)
    problem = fields.String(
        required=True, metadata={"description": "See /problems/<this>."}
    )
    why = fields.String(required=True)
    way = fields.String(required=True, metadata={"description": "`pbx` or `browser`"})
    voucher_id = fields.Integer(required=True, allow_none=True)
    last_four = fields.String(required=True, allow_none=True)
    serial_number = fields.String(
        required=True, allow_none=True, metadata={"description": FOR_DEALERS}
    )
    serial_last_four = fields.String(required=True, allow_none=True)


class ReleaseView(Schema):
    """What was released for a PBX, its code, and what has become of it."""

    id = fields.Integer(required=True)
    serial_number = fields.String(required=True)
    sequence = fields.Integer(required=True)
    source = fields.String(
        required=True, validate=validate.OneOf([each.value for each in Source])
    )
    voucher_id = fields.Integer(required=True, allow_none=True)
    product_number = fields.Integer(required=True)
    product_version = fields.Integer(required=True)
    names = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    function = fields.String(required=True)
    unit = fields.String(required=True)
    quantity = fields.Integer(required=True)
    expires_on = fields.Date(
        required=True,
        allow_none=True,
        metadata={"description": "The last day, everywhere on Earth; null: for ever."},
    )
    release_code = fields.String(
        required=True, metadata={"description": "As a person types it into the PBX."}
    )
    released_at = Instant(required=True)
    standing = fields.String(
        required=True, validate=validate.OneOf([each.value for each in Standing])
    )
    reversal_requested_by = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Somebody else can confirm it."},
    )
    reversal_requested_at = Instant(required=True, allow_none=True)


class VoucherView(Schema):
    """A voucher in a list: what it is for, its state, and why that is so."""

    id = fields.Integer(required=True)
    batch_id = fields.Integer(required=True)
    number = fields.Integer(
        required=True, metadata={"description": "Within its batch, from 1."}
    )
    last_four = fields.String(
        required=True, metadata={"description": "Empty before its export."}
    )
    state = fields.String(
        required=True, validate=validate.OneOf([each.value for each in State])
    )
    why = fields.String(
        required=True, metadata={"description": "The state in one sentence."}
    )
    product_number = fields.Integer(required=True)
    product_version = fields.Integer(required=True)
    names = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    function = fields.String(required=True)
    unit = fields.String(required=True)
    quantity = fields.Integer(required=True)
    duration_days = fields.Integer(required=True, allow_none=True)
    dealer = fields.String(required=True)
    order_reference = fields.String(
        required=True, metadata={"description": "Of its sale, or else of its batch."}
    )
    created_at = Instant(required=True)
    valid_until = Instant(required=True, allow_none=True)
    exported_at = Instant(required=True, allow_none=True)
    allocated_at = Instant(required=True, allow_none=True)
    activated_at = Instant(required=True, allow_none=True)
    redeemed_at = Instant(required=True, allow_none=True)
    revoked_at = Instant(required=True, allow_none=True)
    serial_number = fields.String(
        required=True, allow_none=True, metadata={"description": FOR_DEALERS}
    )
    serial_last_four = fields.String(required=True, allow_none=True)
    replaced_by = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "The voucher in the place of a damaged card."},
    )


class VouchersPage(PageView):
    """Some vouchers."""

    items = fields.List(fields.Nested(VoucherView), required=True)


class VoucherDetailView(VoucherView):
    """All that support needs to say about a voucher while a caller waits."""

    expires_on = fields.Date(
        required=True,
        allow_none=True,
        metadata={"description": "The last day of what it gave; null: none."},
    )
    releases = fields.List(
        fields.Nested(ReleaseView),
        required=True,
        metadata={"description": "What came of it, newest first; not for dealers."},
    )
    history = fields.List(fields.Nested(HappenedView), required=True)
    refusals = fields.List(fields.Nested(RefusedView), required=True)


class LookupView(Schema):
    """What a code is, and all that is known of it."""

    kind = fields.String(
        required=True, validate=validate.OneOf([each.value for each in CodeKind])
    )
    voucher = fields.Nested(
        VoucherDetailView,
        required=True,
        allow_none=True,
        metadata={"description": "Null for a grant or a trial without one."},
    )
    release = fields.Nested(
        ReleaseView,
        required=True,
        allow_none=True,
        metadata={"description": "Where the code is a release code; not for dealers."},
    )


class ReplacementView(Schema):
    """A new card for a damaged one; no other answer shows its code."""

    code = fields.String(required=True)
    voucher = fields.Nested(VoucherDetailView, required=True)


class FunctionView(Schema):
    """How much of a function a PBX has, and until when."""

    function = fields.String(required=True)
    quantity = fields.Integer(required=True)
    expires_on = fields.Date(required=True, allow_none=True)
    source = fields.String(
        required=True, validate=validate.OneOf([each.value for each in Source])
    )


class DeviceFunctionsView(Schema):
    """One PBX: what it may, what it got and from whom, and what was refused."""

    serial_number = fields.String(required=True)
    device_type = fields.String(required=True)
    functions = fields.List(fields.Nested(FunctionView), required=True)
    next_expiry = fields.Date(
        required=True,
        allow_none=True,
        metadata={"description": "The first last day of one of them; null: never."},
    )
    releases = fields.List(fields.Nested(ReleaseView), required=True)
    release_codes_left = fields.Integer(required=True)
    history = fields.List(fields.Nested(HappenedView), required=True)
    refusals = fields.List(fields.Nested(RefusedView), required=True)
