# SPDX-License-Identifier: Apache-2.0
"""The kinds of field that the schemas of all rooms share."""

import re
from collections.abc import Mapping
from datetime import datetime

from marshmallow import ValidationError, fields, validate

from fleet.clock import parse_day_or_rfc3339, parse_rfc3339, rfc3339

_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)

# What is left of ``+01:00`` where its plus sign stood in a query string as it is.
_LOST_PLUS = re.compile(r".*[0-9] [0-9]{2}:[0-9]{2}", re.DOTALL)

# 16 to 64 bytes in base64url without padding (protocol, section 1): five groups
# of four symbols and a rest of at least two, up to 86 symbols.
NONCE_PATTERN = (
    r"^(?:[A-Za-z0-9_-]{4}){5,20}[A-Za-z0-9_-]{2,4}\Z"
    r"|^(?:[A-Za-z0-9_-]{4}){21}[A-Za-z0-9_-]{2}\Z"
)


class Instant(fields.AwareDateTime):
    """An instant: RFC 3339 with a zone in, in UTC with ``Z`` out."""

    def _serialize(
        self,
        value: datetime | None,
        attr: str | None,  # noqa: ARG002 -- marshmallow's signature
        obj: object,  # noqa: ARG002 -- marshmallow's signature
        **_options: object,
    ) -> str | None:
        return None if value is None else rfc3339(value)

    def _deserialize(
        self,
        value: object,
        attr: str | None,  # noqa: ARG002 -- marshmallow's signature
        data: Mapping[str, object] | None,  # noqa: ARG002 -- marshmallow's signature
        **_options: object,
    ) -> datetime:
        try:
            if isinstance(value, str) and _RFC_3339.fullmatch(value):
                return parse_rfc3339(value.upper())
        except (ValueError, OverflowError):
            pass
        raise ValidationError("Not an instant such as 2026-11-22T16:40:00Z.")


class DayOrInstant(Instant):
    """An instant of a query string, or a day, which is its begin in UTC."""

    def _deserialize(
        self,
        value: object,
        attr: str | None,
        data: Mapping[str, object] | None,
        **options: object,
    ) -> datetime:
        text = str(value)
        if len(text) == len("2026-12-25"):
            try:
                return parse_day_or_rfc3339(text)
            except ValueError:
                raise ValidationError("Not a day such as 2026-12-25.") from None
        if _LOST_PLUS.fullmatch(text):
            raise ValidationError(
                "A plus sign in a query string is a space; give the instant in UTC, "
                "with Z: 2026-11-22T16:40:00Z."
            )
        return super()._deserialize(value, attr, data, **options)


class PlainText(fields.String):
    """A text without NUL, which one of our databases cannot keep.

    For query strings and paths; a JSON body is checked as a whole
    (``fleet.web.body``).
    """

    def _deserialize(
        self,
        value: object,
        attr: str | None,
        data: Mapping[str, object] | None,
        **options: object,
    ) -> str:
        text = super()._deserialize(value, attr, data, **options)
        if "\0" in text:
            raise ValidationError("Holds a NUL character.")
        return text


def nonce() -> fields.String:
    """Return a field for a PBX's nonce."""
    return fields.String(
        required=True,
        validate=validate.Regexp(
            NONCE_PATTERN, error="16 to 64 bytes in base64url without padding."
        ),
    )


def label() -> fields.String:
    """Return a field for a short technical word, as a device type or a version."""
    return fields.String(
        required=True,
        validate=validate.Regexp(
            r"^[\x20-\x7e]{1,64}\Z", error="1 to 64 printable ASCII characters."
        ),
    )


def reason() -> fields.String:
    """Return a field for why somebody on the staff does something."""
    return fields.String(
        required=True,
        validate=validate.And(validate.Length(min=3, max=500), _printable),
    )


def optional_reason() -> fields.String:
    """Return a field for why, where not every tool of the staff says it."""
    return fields.String(
        load_default="", validate=validate.And(validate.Length(max=500), _printable)
    )


def note(longest: int) -> fields.String:
    """Return a field for a person's free text, which may be empty."""
    return fields.String(
        validate=validate.And(validate.Length(max=longest), _printable)
    )


def _printable(text: str) -> None:
    if any(ord(each) < ord(" ") and each not in "\n\t" for each in text):
        raise ValidationError("Printable text only.")
