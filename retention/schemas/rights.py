# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire about what is stored of a PBX, and what people ask of it."""

from marshmallow import Schema, fields, validate

from fleet.devices.fields import SerialNumber
from fleet.web.contract import DeviceRequest
from fleet.web.fields import Instant, PlainText, note, reason
from fleet.web.languages import Language
from fleet.web.paging import PageQuery, PageView
from retention.service.requests import Kind, State
from retention.service.sharing import LONGEST_RECIPIENT, MOST_DAYS

LONGEST_WORDS = 2000
FORMATS = ["json", "csv"]
LANGUAGES = [each.value for each in Language]


def _texts(about: str) -> fields.Dict:
    """Return a field for the same in German, English and French."""
    return fields.Dict(
        keys=fields.String(validate=validate.OneOf(LANGUAGES)),
        values=fields.String(),
        required=True,
        metadata={"description": about},
    )


def _words(about: str) -> fields.String:
    """Return a field for what a person has to be told, or was."""
    return fields.String(
        required=True,
        validate=[validate.Length(min=3), *note(LONGEST_WORDS).validators],
        metadata={"description": about},
    )


def _days() -> fields.Integer:
    """Return a field for how long a share lasts."""
    return fields.Integer(
        strict=True,
        load_default=30,
        validate=validate.Range(1, MOST_DAYS),
        metadata={"description": "Days until the read token ends."},
    )


class FormatQuery(Schema):
    """In which form: what the query says, or else the header ``Accept``."""

    format = PlainText(load_default=None, validate=validate.OneOf(FORMATS))


class RecordView(Schema):
    """One row of what is stored."""

    record = fields.String(
        required=True, metadata={"description": "Its table, and a running number."}
    )
    fields_ = fields.Dict(keys=fields.String(), required=True, data_key="fields")


class GatheredView(Schema):
    """One category of what is stored: what for, how long, and all of it."""

    category = fields.String(required=True)
    title = _texts("What it is.")
    purpose = _texts("What it is for.")
    basis = fields.List(_texts("The ground on which it is stored."), required=True)
    recipients = fields.List(_texts("Who gets to see it."), required=True)
    kept = _texts("For how long.")
    records = fields.List(fields.Nested(RecordView), required=True)


class ExportView(Schema):
    """All that is stored about one PBX."""

    serial_number = fields.String(required=True)
    gathered_at = Instant(required=True)
    about = _texts("What is not in it, and why.")
    categories = fields.List(fields.Nested(GatheredView), required=True)


class ObjectionRequest(DeviceRequest):
    """A PBX wants no statistics made of it, or takes that back."""

    withdraw = fields.Boolean(
        load_default=False,
        truthy={True},
        falsy={False},
        metadata={"description": "Take an earlier objection back."},
    )


class ObjectionView(Schema):
    """Whether a PBX is left out of statistics, and since when."""

    objected_at = Instant(required=True, allow_none=True)
    effect = _texts("What that means for access records.")


class ShareRequest(DeviceRequest):
    """Who may read what is stored about the PBX, and for how long."""

    recipient = fields.String(
        required=True,
        validate=[validate.Length(min=1), *note(LONGEST_RECIPIENT).validators],
    )
    expires_in_days = _days()


class ShareView(Schema):
    """Who may read, since when and until when."""

    id = fields.Integer(required=True)
    recipient = fields.String(required=True)
    created_at = Instant(required=True)
    created_by = fields.String(required=True)
    expires_at = Instant(required=True)
    revoked_at = Instant(required=True, allow_none=True)
    last_used_at = Instant(required=True, allow_none=True)


class SharedView(ShareView):
    """A new share; this answer is the only one that holds its token."""

    token = fields.String(required=True)


class SharesPage(PageView):
    """Some shares of a PBX, newest first."""

    items = fields.List(fields.Nested(ShareView), required=True)


class RightsRequestRequest(Schema):
    """What somebody asks for, and how it was made sure that they may."""

    serial_number = SerialNumber(required=True)
    kind = fields.Enum(Kind, by_value=True, required=True)
    verified_by = _words("How the person showed that the PBX is theirs.")
    reason = reason()
    received_at = Instant(
        load_default=None,
        allow_none=False,
        metadata={"description": "When it came in, if that is not now."},
    )


class RightsRequestsQuery(PageQuery):
    """Which requests."""

    state = fields.Enum(State, by_value=True, load_default=None)
    kind = fields.Enum(Kind, by_value=True, load_default=None)
    serial_number = PlainText(load_default=None, validate=validate.Length(1, 64))


class RightsRequestView(Schema):
    """A request, by when it must be answered, and what became of it."""

    id = fields.Integer(required=True)
    serial_number = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "null: the PBX was erased wholly."},
    )
    kind = fields.Enum(Kind, by_value=True, required=True)
    asked_by = fields.String(
        required=True,
        metadata={"description": "`device`, or who of the staff took it down."},
    )
    verified_by = fields.String(required=True)
    reason = fields.String(required=True)
    received_at = Instant(required=True)
    due_at = Instant(required=True)
    overdue = fields.Boolean(required=True)
    extended_at = Instant(required=True, allow_none=True)
    extended_because = fields.String(required=True)
    state = fields.Enum(State, by_value=True, required=True)
    closed_at = Instant(required=True, allow_none=True)
    answer = fields.String(required=True)
    receipt = fields.Dict(
        keys=fields.String(),
        required=True,
        allow_none=True,
        metadata={
            "description": "What was done; of an erasure, what went, what stays and"
            " why, and the hash of the audit log's entry."
        },
    )


class RightsRequestsPage(PageView):
    """Some requests: the overdue first, then the open, then the closed."""

    items = fields.List(fields.Nested(RightsRequestView), required=True)


class ExtensionRequest(Schema):
    """Why an answer takes longer, as the person was told."""

    because = _words("What the person was told.")


class RefusalRequest(Schema):
    """Why a request is refused, as the person is told."""

    because = _words("What the person is told, and where they can complain.")


class FulfilmentRequest(Schema):
    """What a request needs to be told beside its kind; each looks at its own."""

    answer = note(LONGEST_WORDS)
    customer = note(200)
    notes = note(4000)
    ends_service = fields.Boolean(
        load_default=False,
        truthy={True},
        falsy={False},
        metadata={
            "description": "Of an erasure after the end of support: the PBX may lose"
            " its licence."
        },
    )
    recipient = fields.String(
        load_default="", validate=note(LONGEST_RECIPIENT).validators
    )
    expires_in_days = _days()


class FulfilledView(Schema):
    """What was done."""

    request = fields.Nested(RightsRequestView, required=True)
    data = fields.Nested(
        ExportView,
        required=True,
        allow_none=True,
        metadata={"description": "Of a request for access or portability."},
    )
    token = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Of a share; only this answer holds it."},
    )


class LiftingRequest(Schema):
    """How the person was told, before a restriction is lifted or an objection ends."""

    told = _words("How and when the person was told.")


class GoneView(Schema):
    """How much of something goes."""

    what = fields.String(
        required=True, metadata={"description": "A table, or one column of it."}
    )
    count = fields.Integer(required=True)


class KeptView(Schema):
    """What stays, and why."""

    category = fields.String(required=True)
    title = _texts("What it is.")
    why = _texts("Why it stays.")


class ErasurePlanView(Schema):
    """What an erasure would do."""

    wholly = fields.Boolean(
        required=True,
        metadata={"description": "The PBX would lose its licence."},
    )
    erased = fields.List(fields.Nested(GoneView), required=True)
    kept = fields.List(fields.Nested(KeptView), required=True)
