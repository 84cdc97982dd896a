# SPDX-License-Identifier: Apache-2.0
"""The field of schemas that names a PBX."""

from collections.abc import Mapping
from typing import ClassVar

from marshmallow import ValidationError, fields

from fleet.devices.serial_numbers import normalise_serial
from fleet.errors import Invalid


class SerialNumber(fields.String):
    """A serial number in any spelling, loaded in the one that is stored."""

    openapi: ClassVar[Mapping[str, object]] = {
        "pattern": "^[ -]*(?:[A-Za-z0-9][ -]*){6,32}$",
        "maxLength": 128,
    }

    def _deserialize(self, value: object, *_: object, **__: object) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        try:
            return normalise_serial(value)
        except Invalid as fault:
            raise ValidationError(_first(fault)) from None


def _first(fault: Invalid) -> str:
    for said in (fault.fields or {}).values():
        if isinstance(said, list) and said:
            return str(said[0])
    return fault.detail
