# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire between a PBX and the Voucher Center."""

from marshmallow import Schema, fields, validate

from fleet.web.contract import DeviceRequest
from fleet.web.fields import Instant, nonce
from voucher.codes import LONGEST_INPUT
from voucher.release_code import MOST_PRODUCT_NUMBER

ENTITLEMENTS = {"description": "entitlements+jwt, with this request's nonce"}


class RedemptionRequest(DeviceRequest):
    """A PBX redeems a voucher that its admin has typed in."""

    code = fields.String(
        required=True,
        validate=validate.Length(max=LONGEST_INPUT),
        metadata={"description": "In any usual spelling."},
    )
    nonce = nonce()


class TrialRequest(DeviceRequest):
    """A PBX starts a trial."""

    product_number = fields.Integer(
        strict=True,
        required=True,
        validate=validate.Range(min=0, max=MOST_PRODUCT_NUMBER),
    )
    nonce = nonce()


class ReleaseAnswer(Schema):
    """What was released for the PBX, and all that it has with it."""

    product_number = fields.Integer(required=True)
    quantity = fields.Integer(required=True)
    release_code = fields.String(
        required=True,
        metadata={"description": "25 symbols in groups of five; always the same."},
    )
    redeemed_at = Instant(required=True)
    entitlements = fields.String(required=True, metadata=ENTITLEMENTS)


class EntitlementsQuery(DeviceRequest):
    """A PBX asks what it may use."""

    nonce = nonce()


class EntitlementsAnswer(Schema):
    """What the PBX may use, signed, and when to ask again."""

    entitlements = fields.String(required=True, metadata=ENTITLEMENTS)
    next_sync_in = fields.Integer(
        required=True, metadata={"description": "Seconds, drawn anew each time."}
    )
