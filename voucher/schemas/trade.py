# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire about products, batches, their export and their sale."""

from collections.abc import Mapping
from datetime import date, datetime

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from fleet.staff.tokens import LONGEST_DEALER
from fleet.web.fields import Instant, PlainText, label, optional_reason
from fleet.web.languages import Language
from fleet.web.paging import PageView
from voucher.codes import LONGEST_INPUT
from voucher.functions import Stacking, ends_at
from voucher.release_code import MOST_PRODUCT_NUMBER, MOST_QUANTITY
from voucher.service.trade.batches import MOST_VOUCHERS
from voucher.service.trade.exporting import Form
from voucher.service.trade.products import FEATURE
from voucher.service.trade.sealing import LONGEST_PASSPHRASE

LONGEST_NAME = 80
LONGEST_UNIT = 32
LONGEST_ORDER_REFERENCE = 64
MOST_WORDS = 50

# Beyond it a release code cannot say the last day of anything.
MOST_DAYS = 2**14 - 1

_LARGEST_ID = 2**63 - 1
_LARGEST_NUMBER = 2**31 - 1


class ValidUntil(Instant):
    """An instant, or a day: then the vouchers end with it, everywhere on Earth."""

    def _deserialize(
        self,
        value: object,
        attr: str | None,
        data: Mapping[str, object] | None,
        **options: object,
    ) -> datetime:
        if isinstance(value, str) and len(value) == len("2027-12-31"):
            try:
                return ends_at(date.fromisoformat(value))
            except (ValueError, OverflowError):
                raise ValidationError("Not a day such as 2027-12-31.") from None
        return super()._deserialize(value, attr, data, **options)


def _one_line(text: str) -> None:
    if not text.isprintable() or text != text.strip():
        raise ValidationError("One line of printable text, no spaces around it.")


def _name(longest: int, *, required: bool = False) -> fields.String:
    """Return a field for what people call something."""
    length = validate.Length(min=1 if required else 0, max=longest)
    rule = validate.And(length, _one_line)
    if required:
        return fields.String(required=True, validate=rule)
    return fields.String(load_default="", validate=rule)


def _product_number() -> fields.Integer:
    return fields.Integer(
        strict=True, required=True, validate=validate.Range(1, MOST_PRODUCT_NUMBER)
    )


def _number(about: str) -> fields.Integer:
    return fields.Integer(
        strict=True,
        load_default=None,
        allow_none=True,
        validate=validate.Range(1, _LARGEST_NUMBER),
        metadata={"description": about},
    )


def _words(about: str) -> "fields.List[str]":
    return fields.List(
        label(),
        load_default=list,
        validate=validate.Length(max=MOST_WORDS),
        metadata={"description": about},
    )


class NamesSchema(Schema):
    """What a product is called, in each language of the pages."""

    de = _name(LONGEST_NAME, required=True)
    en = _name(LONGEST_NAME, required=True)
    fr = _name(LONGEST_NAME, required=True)


class VersionRequest(Schema):
    """What a version of a product is."""

    names = fields.Nested(NamesSchema, required=True)
    function = label()
    unit = fields.String(
        required=True,
        validate=validate.And(validate.Length(1, LONGEST_UNIT), _one_line),
        metadata={"description": "What is counted; `feature`: it is had or not."},
    )
    quantity = fields.Integer(
        strict=True, required=True, validate=validate.Range(1, MOST_QUANTITY)
    )
    duration_days = fields.Integer(
        strict=True,
        load_default=None,
        allow_none=True,
        validate=validate.Range(1, MOST_DAYS),
        metadata={"description": "Without it, for ever."},
    )
    device_types = _words("For PBXs of these types; none is all.")
    prerequisites = _words("Functions that a PBX must have before.")
    stacking = fields.Enum(
        Stacking,
        by_value=True,
        load_default=None,
        metadata={
            "description": "`add`: several sum up. `renew`: they follow one another; "
            "the default of a feature."
        },
    )
    trial = fields.Boolean(load_default=False, truthy={True}, falsy={False})
    reason = optional_reason()

    @validates_schema
    def _check(self, data: Mapping[str, object], **_options: object) -> None:
        """Refuse what would not mean what it says."""
        if data["unit"] == FEATURE and data["quantity"] != 1:
            raise ValidationError({"quantity": ["A feature is had or not: 1."]})
        if data["trial"] and data["duration_days"] is None:
            raise ValidationError({"duration_days": ["A trial ends some day."]})


class ProductRequest(VersionRequest):
    """A new product."""

    product_number = _product_number()


class ProductView(Schema):
    """One version of a product."""

    product_number = fields.Integer(required=True)
    version = fields.Integer(required=True)
    names = fields.Nested(NamesSchema, required=True)
    function = fields.String(required=True)
    unit = fields.String(required=True)
    quantity = fields.Integer(required=True)
    duration_days = fields.Integer(required=True, allow_none=True)
    device_types = fields.List(fields.String(), required=True)
    prerequisites = fields.List(fields.String(), required=True)
    stacking = fields.Enum(Stacking, by_value=True, required=True)
    trial = fields.Boolean(required=True)
    created_at = Instant(required=True)
    retired_at = Instant(required=True, allow_none=True)


class ProductDetailView(ProductView):
    """The present version of a product, and all there have been."""

    versions = fields.List(fields.Nested(ProductView), required=True)


class ProductsPage(PageView):
    """The present versions of some products, by number."""

    items = fields.List(fields.Nested(ProductView), required=True)


class RetirementQuery(Schema):
    """Why a product is retired; in the query, since a ``DELETE`` has no body."""

    reason = PlainText(load_default="", validate=validate.Length(max=500))


class BatchRequest(Schema):
    """Vouchers to be made together."""

    product = fields.Integer(
        strict=True,
        required=True,
        validate=validate.Range(1, MOST_PRODUCT_NUMBER),
        metadata={"description": "The product's number."},
    )
    count = fields.Integer(
        strict=True, required=True, validate=validate.Range(1, MOST_VOUCHERS)
    )
    dealer = _name(LONGEST_DEALER)
    valid_until = ValidUntil(
        load_default=None,
        allow_none=True,
        metadata={
            "description": "The end of the vouchers: an instant, or a day such as "
            "2027-12-31, which ends everywhere on Earth."
        },
    )
    order_reference = _name(LONGEST_ORDER_REFERENCE)
    reason = optional_reason()


class BatchView(Schema):
    """A batch in a list."""

    id = fields.Integer(required=True)
    product_number = fields.Integer(required=True)
    product_version = fields.Integer(required=True)
    names = fields.Nested(NamesSchema, required=True)
    count = fields.Integer(required=True)
    dealer = fields.String(required=True)
    order_reference = fields.String(required=True)
    valid_until = Instant(required=True, allow_none=True)
    created_at = Instant(required=True)
    created_by = fields.String(required=True)


class BatchDetailView(BatchView):
    """A batch, and how many of its vouchers are in which state."""

    vouchers = fields.Integer(
        required=True,
        metadata={"description": "The sum of all states: replacements count, too."},
    )
    states = fields.Dict(
        required=True, keys=fields.String(), values=fields.Integer(required=True)
    )


class BatchesPage(PageView):
    """Some batches, newest first."""

    items = fields.List(fields.Nested(BatchView), required=True)


class ExportRequest(Schema):
    """How the codes of a batch, or of a part of it, are handed over, once."""

    format = fields.Enum(Form, by_value=True, required=True)
    recipient = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(1, 200),
        metadata={"description": "age1..., as age-keygen prints it."},
    )
    passphrase = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(1, LONGEST_PASSPHRASE),
        metadata={"description": "Instead of a recipient; a CSV needs either."},
    )
    language = fields.Enum(Language, by_value=True, load_default=Language.ENGLISH)
    first = _number("First number of the part; without it, from 1.")
    last = _number("Last number of the part; without it, to the end.")
    reason = optional_reason()


class SelectionRequest(Schema):
    """Which vouchers: exactly one of ``code``, ``voucher_id`` and ``batch_id``."""

    code = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(1, LONGEST_INPUT),
        metadata={"description": "In any usual spelling."},
    )
    voucher_id = fields.Integer(
        strict=True,
        load_default=None,
        allow_none=True,
        validate=validate.Range(1, _LARGEST_ID),
    )
    batch_id = fields.Integer(
        strict=True,
        load_default=None,
        allow_none=True,
        validate=validate.Range(1, _LARGEST_ID),
    )
    first = _number("Of a batch: the first number; without it, from 1.")
    last = _number("Of a batch: the last number; without it, to the end.")
    reason = optional_reason()


class ActivationRequest(SelectionRequest):
    """Vouchers that are sold."""

    order_reference = _name(LONGEST_ORDER_REFERENCE)


class AllocationRequest(SelectionRequest):
    """Vouchers that a dealer gets, or gives back."""

    dealer = fields.String(
        required=True,
        validate=validate.And(validate.Length(max=LONGEST_DEALER), _one_line),
        metadata={"description": "Whose they are from now on; empty: nobody's."},
    )


class OutcomeView(Schema):
    """How many vouchers changed, were so before, or could not be, by their state."""

    changed = fields.Integer(required=True)
    unchanged = fields.Integer(required=True)
    refused = fields.Dict(
        required=True, keys=fields.String(), values=fields.Integer(required=True)
    )


class TotalsQuery(Schema):
    """Which vouchers are counted; without anything, all of them."""

    product_number = fields.Integer(
        load_default=None, validate=validate.Range(1, MOST_PRODUCT_NUMBER)
    )
    batch_id = fields.Integer(
        load_default=None, validate=validate.Range(1, _LARGEST_ID)
    )
    dealer = PlainText(load_default=None, validate=validate.Length(max=LONGEST_DEALER))


class TotalView(Schema):
    """The vouchers of one product that are with one dealer."""

    product_number = fields.Integer(required=True)
    dealer = fields.String(required=True, metadata={"description": "Empty: with none."})
    vouchers = fields.Integer(required=True)
    states = fields.Dict(
        required=True, keys=fields.String(), values=fields.Integer(required=True)
    )


class TotalsView(Schema):
    """How many vouchers are in which state; the states sum up to all of them."""

    vouchers = fields.Integer(required=True)
    states = fields.Dict(
        required=True, keys=fields.String(), values=fields.Integer(required=True)
    )
    items = fields.List(fields.Nested(TotalView), required=True)
