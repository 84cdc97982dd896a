# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire about counters, and about a search for an address."""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum

from marshmallow import Schema, ValidationError, fields, validate

from fleet.web.access_log import WITH_DEVICE, WITHOUT_DEVICE
from fleet.web.fields import DayOrInstant, Instant, PlainText, reason
from fleet.web.paging import LONGEST_CURSOR, MOST_ITEMS, USUAL_ITEMS, PageView
from retention.service.statistics import Group

SERVICES = sorted(WITH_DEVICE | WITHOUT_DEVICE)

LONGEST_ADDRESS = 64
# There was no fleet before, and the arithmetic of weeks needs some room.
_FIRST_DAY, _LAST_DAY = date(2000, 1, 1), date(9000, 12, 31)


class Form(StrEnum):
    """How statistics are told."""

    JSON = "json"
    CSV = "csv"
    SVG = "svg"

    @property
    def media_type(self) -> str:
        """What the form is called in an answer."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    Form.JSON: "application/json",
    Form.CSV: "text/csv",
    Form.SVG: "image/svg+xml",
}


class Groups(fields.String):
    """Names of groups with commas between them; empty is the sum of all."""

    def _deserialize(  # type: ignore[override] # several words in one text
        self,
        value: object,
        attr: str | None,
        data: Mapping[str, object] | None,
        **options: object,
    ) -> tuple[Group, ...]:
        text = super()._deserialize(value, attr, data, **options)
        try:
            named = [Group(each.strip()) for each in text.split(",")] if text else []
        except ValueError:
            known = ", ".join(Group)
            raise ValidationError(f"Some of these, with commas: {known}.") from None
        return tuple(named)


def _day(about: str, key: str) -> fields.Date:
    return fields.Date(
        load_default=None,
        format="%Y-%m-%d",
        data_key=key,
        validate=validate.Range(_FIRST_DAY, _LAST_DAY),
        metadata={"description": about},
    )


class StatisticsQuery(Schema):
    """Which counters, and how they are told."""

    service = fields.String(
        load_default=None,
        validate=validate.OneOf(SERVICES),
        metadata={"description": "Of this service only."},
    )
    since = _day("The first day, in UTC.", "from")
    until = _day("The last day, itself counted.", "to")
    group_by = Groups(
        load_default=(Group.DAY,),
        metadata={
            "description": "What to count by, with commas between: one of `day`, "
            "`week`, `month`; `service`, `device_type`, `software_version`, `country`. "
            "Empty: the sum of all."
        },
    )
    form = fields.Enum(
        Form,
        by_value=True,
        load_default=None,
        data_key="format",
        metadata={"description": "Rather than by `Accept`."},
    )


class CountView(Schema):
    """One group: its value for each thing that was counted by, and the count."""

    day = fields.String(
        metadata={
            "description": "`2026-11-22`; or `2026-W47`, for those days of a week "
            "that had too few sources to be told by themselves; or `undated`, where "
            "not even their week had enough: only if neither `from` nor `to` is given."
        }
    )
    week = fields.String(
        metadata={"description": "ISO 8601: `2026-W47`; or `undated`, as with `day`."}
    )
    month = fields.String(
        metadata={
            "description": "`2026-11`; or `2026-W49`, for the quiet days of a week "
            "that lies in two months; or `undated`, as with `day`."
        }
    )
    service = fields.String()
    device_type = fields.String(
        metadata={"description": "Empty where the service does not ask for it."}
    )
    software_version = fields.String(
        metadata={"description": "Empty where the service does not ask for it."}
    )
    country = fields.String(
        metadata={"description": "Empty where countries are not looked up."}
    )
    count = fields.Integer(required=True)


class StatisticsView(Schema):
    """Anonymous counters, added up."""

    items = fields.List(fields.Nested(CountView), required=True, attribute="told")
    weeks_cut = fields.List(
        fields.String(),
        required=True,
        metadata={
            "description": "Weeks of which only a part was asked for: the counts of "
            "their quiet days are not in this answer."
        },
    )


class AccessRecordSearchRequest(Schema):
    """Whose requests are looked for, and why: never in an address or a log."""

    address = PlainText(
        required=True,
        validate=validate.Length(1, LONGEST_ADDRESS),
        metadata={"description": "A whole IPv4 or IPv6 address."},
    )
    since = DayOrInstant(required=True, data_key="from")
    until = DayOrInstant(
        required=True,
        data_key="to",
        metadata={"description": "Requests before this instant."},
    )
    reason = reason()
    limit = fields.Integer(
        strict=True, load_default=USUAL_ITEMS, validate=validate.Range(1, MOST_ITEMS)
    )
    cursor = PlainText(
        load_default=None,
        allow_none=True,
        validate=validate.Length(1, LONGEST_CURSOR),
        metadata={"description": "`next_cursor` of the page before."},
    )


class FoundRecordView(Schema):
    """One request that came from the address."""

    service = fields.String(required=True)
    accessed_at = Instant(required=True)
    device_type = fields.String(required=True, allow_none=True)
    software_version = fields.String(required=True, allow_none=True)


class FoundRecordsPage(PageView):
    """The requests that came from the address, newest first."""

    items = fields.List(fields.Nested(FoundRecordView), required=True)
