# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire in the licence check."""

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from marshmallow import Schema, ValidationError, fields, validate

from cic.standing import Verdict
from fleet.devices.fields import SerialNumber
from fleet.web.contract import DeviceRequest
from fleet.web.fields import (
    DayOrInstant,
    Instant,
    PlainText,
    label,
    nonce,
    note,
    optional_reason,
    reason,
)
from fleet.web.paging import PageQuery, PageView

# In days, as the setting's.
MOST_GRACE = 3650


class InitialiseRequest(DeviceRequest):
    """A PBX shows the secret it left the factory with, and a key of its own."""

    serial_number = SerialNumber(required=True)
    device_secret = fields.String(
        required=True, validate=validate.Length(min=1, max=200)
    )
    csr = fields.String(required=True, validate=validate.Length(min=1, max=16384))
    device_type = label()
    software_version = label()
    nonce = nonce()


class InitialiseAnswer(Schema):
    """All that a PBX needs to live: who it is, whom to trust, and its lease."""

    certificate_chain = fields.String(
        required=True, metadata={"description": "PEM, leaf first"}
    )
    release_key = fields.String(
        required=True, metadata={"description": "base64url, 32 bytes"}
    )
    keyset = fields.String(
        required=True, metadata={"description": "keyset+jwt, signed by the root key"}
    )
    lease = fields.String(required=True, metadata={"description": "cic-lease+jwt"})


class ClockReading(Instant):
    """What a PBX's clock shows, for support to see; what is unreadable is nothing.

    A PBX with a broken clock must still get its lease.
    """

    def _deserialize(
        self,
        value: object,
        attr: str | None,
        data: Mapping[str, object] | None,
        **options: object,
    ) -> datetime:
        try:
            return super()._deserialize(value, attr, data, **options)
        except ValidationError:
            if isinstance(value, str):
                return cast("datetime", None)
            raise


class CheckRequest(DeviceRequest):
    """A PBX asks whether it may run."""

    serial_number = SerialNumber(required=True)
    nonce = nonce()
    device_type = label()
    software_version = label()
    # Any text: one that we did not give out is a matter of suspicion, no fault.
    continuation = fields.String(load_default=None, allow_none=True)
    device_time = ClockReading(load_default=None, allow_none=True)
    failed_attempts = fields.Integer(
        strict=True,
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=0, max=2**31 - 1),
    )


class CheckAnswer(Schema):
    """A signed verdict, and the token for the next check."""

    lease = fields.String(required=True, metadata={"description": "cic-lease+jwt"})
    continuation = fields.String(required=True)


class DevicesQuery(PageQuery):
    """Which PBXs; ``locks_before`` lists those still active that will have locked."""

    q = PlainText(
        load_default="",
        validate=validate.Length(max=128),
        metadata={"description": "Part of serial number, MAC address, customer, note."},
    )
    state = fields.Enum(Verdict, by_value=True, load_default=None)
    device_type = PlainText(load_default=None, validate=validate.Length(1, 64))
    locks_before = DayOrInstant(
        load_default=None,
        metadata={"description": "An instant, or a day such as 2026-12-25 (UTC)."},
    )
    clone_suspected = fields.Boolean(
        load_default=None, truthy={"true"}, falsy={"false"}
    )


class DeviceView(Schema):
    """A PBX in a list."""

    serial_number = fields.String(required=True)
    mac_address = fields.String(required=True, allow_none=True)
    device_type = fields.String(required=True)
    part_number = fields.String(required=True)
    hardware_revision = fields.String(required=True)
    customer = fields.String(required=True)
    notes = fields.String(required=True)
    support_ends_on = fields.Date(required=True, allow_none=True)
    registered_at = Instant(required=True)
    state = fields.String(
        required=True, validate=validate.OneOf([each.value for each in Verdict])
    )
    reason = fields.String(required=True)
    lock_at = Instant(required=True, allow_none=True)
    grace_days = fields.Integer(required=True)
    generation = fields.Integer(required=True)
    software_version = fields.String(required=True)
    last_success_at = Instant(required=True, allow_none=True)
    last_check_at = Instant(required=True, allow_none=True)
    clone_suspected = fields.Boolean(required=True)
    clone_suspected_at = Instant(required=True, allow_none=True)


class DevicesPage(PageView):
    """Some PBXs."""

    items = fields.List(fields.Nested(DeviceView), required=True)


class CertificateView(Schema):
    """A certificate of a PBX, and whether it is believed."""

    number = fields.String(required=True, metadata={"description": "hexadecimal"})
    fingerprint = fields.String(
        required=True, metadata={"description": "SHA-256, hexadecimal"}
    )
    generation = fields.Integer(required=True)
    issued_at = Instant(required=True)
    not_after = Instant(required=True)
    retires_at = Instant(required=True, allow_none=True)
    revoked_at = Instant(required=True, allow_none=True)
    revocation_reason = fields.String(required=True, allow_none=True)
    in_force = fields.Boolean(required=True)


class LifeEventView(Schema):
    """Something that happened to a PBX."""

    happened_at = Instant(required=True)
    kind = fields.String(required=True)
    detail = fields.String(required=True)


class ChecksView(Schema):
    """What the last checks of a PBX said."""

    last_check_at = Instant(required=True, allow_none=True)
    last_success_at = Instant(required=True, allow_none=True)
    last_verdict = fields.String(required=True, allow_none=True)
    failed_attempts = fields.Integer(required=True)
    clock_skew_seconds = fields.Integer(required=True, allow_none=True)


class DeviceDetailView(DeviceView):
    """All that support needs to say while a caller waits."""

    why = fields.String(
        required=True, metadata={"description": "The standing in one sentence."}
    )
    hold_reason = fields.String(required=True)
    held_at = Instant(required=True, allow_none=True)
    replaced_by = fields.String(required=True, allow_none=True)
    own_grace_days = fields.Integer(required=True, allow_none=True)
    initialised_at = Instant(required=True, allow_none=True)
    reinitialisations_left = fields.Integer(required=True)
    checks = fields.Nested(ChecksView, required=True)
    certificates = fields.List(fields.Nested(CertificateView), required=True)
    history = fields.List(fields.Nested(LifeEventView), required=True)


class RegistrationRequest(Schema):
    """One PBX, as a line of the factory list."""

    serial_number = SerialNumber(required=True)
    device_secret = fields.String(required=True, validate=validate.Length(16, 200))
    device_type = label()
    mac_address = fields.String(
        load_default=None, allow_none=True, validate=validate.Length(max=64)
    )
    part_number = fields.String(load_default="", validate=validate.Length(max=64))
    hardware_revision = fields.String(load_default="", validate=validate.Length(max=64))
    support_ends_on = fields.Date(load_default=None, allow_none=True)
    customer = note(200)
    notes = note(4000)


class ChangeRequest(Schema):
    """What staff may change of a PBX; what is left out stays as it is."""

    customer = note(200)
    notes = note(4000)
    grace_days = fields.Integer(
        strict=True,
        allow_none=True,
        validate=validate.Range(1, MOST_GRACE),
        metadata={"description": "This PBX's own; null: its device type's."},
    )
    support_ends_on = fields.Date(allow_none=True)
    reason = optional_reason()


class ReasonRequest(Schema):
    """Why something is decided; it stands in the audit log."""

    reason = optional_reason()


class ReplacementRequest(Schema):
    """Which PBX takes over, and why."""

    by = SerialNumber(required=True)
    reason = reason()


class AmnestyRequest(Schema):
    """Until when nobody locks, and why."""

    until = Instant(required=True)
    reason = reason()


class WithdrawalQuery(Schema):
    """Why something is taken back; in the query, since a ``DELETE`` has no body."""

    reason = PlainText(load_default="", validate=validate.Length(max=500))


class AmnestyView(Schema):
    """A promise that nobody locks before an instant."""

    id = fields.Integer(required=True)
    until = Instant(required=True)
    reason = fields.String(required=True)
    granted_by = fields.String(required=True)
    granted_at = Instant(required=True)
    withdrawn_at = Instant(required=True, allow_none=True)


class AmnestiesPage(PageView):
    """Some amnesties, newest first."""

    items = fields.List(fields.Nested(AmnestyView), required=True)


class GraceRequest(Schema):
    """The grace of a device type; null gives it back to the default."""

    grace_days = fields.Integer(
        strict=True,
        required=True,
        allow_none=True,
        validate=validate.Range(1, MOST_GRACE),
    )
    reason = reason()


class GraceView(Schema):
    """The grace of a device type."""

    device_type = fields.String(required=True)
    grace_days = fields.Integer(required=True)
    reason = fields.String(required=True)
    set_at = Instant(required=True)


class GracesView(Schema):
    """The device types whose grace is not the default, and the default."""

    default_grace_days = fields.Integer(required=True)
    items = fields.List(fields.Nested(GraceView), required=True)
