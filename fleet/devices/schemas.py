# SPDX-License-Identifier: Apache-2.0
"""What is shown of a registered PBX: everything but its secret's digest."""

from marshmallow import Schema, fields

from fleet.web.fields import Instant


class DeviceView(Schema):
    """A PBX as the registry knows it."""

    serial_number = fields.String(required=True)
    mac_address = fields.String(required=True, allow_none=True)
    part_number = fields.String(required=True)
    device_type = fields.String(required=True)
    hardware_revision = fields.String(required=True)
    support_ends_on = fields.Date(required=True, allow_none=True)
    registered_at = Instant(required=True)
    customer = fields.String(required=True)
    notes = fields.String(required=True)


class LineFaultView(Schema):
    """What is wrong in one line of a factory list."""

    line = fields.Integer(required=True)
    field = fields.String(required=True)
    fault = fields.String(required=True)


class FactoryListReportView(Schema):
    """What an import of a factory list did, or why it did nothing."""

    accepted = fields.Boolean(required=True)
    dry_run = fields.Boolean(required=True)
    rows = fields.Integer(required=True)
    added = fields.Integer(required=True)
    updated = fields.Integer(required=True)
    unchanged = fields.Integer(required=True)
    secrets_replaced = fields.Integer(required=True)
    faults = fields.List(fields.Nested(LineFaultView), required=True)
