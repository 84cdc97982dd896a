# SPDX-License-Identifier: Apache-2.0
"""What the form sends on which a person redeems a voucher."""

from marshmallow import EXCLUDE, Schema, fields


class RedemptionForm(Schema):
    """A voucher code and a serial number as typed; both may be anything."""

    class Meta:
        """Marshmallow options: fields that we do not know are not read."""

        unknown = EXCLUDE

    code = fields.String(metadata={"description": "The voucher code, as typed."})
    serial_number = fields.String(
        metadata={"description": "The PBX's serial number, as typed."}
    )
    form_token = fields.String(
        required=True, metadata={"description": "From the form at this address."}
    )
    shown = fields.String(
        metadata={"description": "Redeem nothing: show the form, with this problem."}
    )
