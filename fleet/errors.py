# SPDX-License-Identifier: Apache-2.0
"""Every "no" of this service: a class with a stable code, of one of ten kinds.

A refusal is an answer, not a fault: rules and services raise it, and only
``fleet.web.problems`` turns it into HTTP (RFC 9457). The page for people that
belongs to a code stands in the ``problems.toml`` of the room that raises it.
"""

from collections.abc import Mapping
from typing import ClassVar


class Refusal(Exception):  # noqa: N818 -- a refusal is an answer, not a fault
    """A request is turned down for a reason that the caller may know.

    ``detail`` is for the caller's eyes and never names a secret; ``fields``
    names what was wrong with a request, field by field; ``retry_after`` is in
    seconds.
    """

    code: ClassVar[str]
    reason: ClassVar[str]

    def __init__(
        self,
        detail: str | None = None,
        *,
        fields: Mapping[str, object] | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Turn a request down; without ``detail`` the class's reason is said."""
        super().__init__(detail or self.reason)
        self.detail = detail or self.reason
        self.fields = fields
        self.retry_after = retry_after


class Invalid(Refusal):
    """The request itself is wrong: shape, spelling, a field."""

    code = "invalid-request"
    reason = "Some fields are missing or malformed."


class Unauthenticated(Refusal):
    """Nobody has shown who they are."""


class Forbidden(Refusal):
    """The caller is known, or not trusted, and may not."""


class NotFound(Refusal):
    """What was asked for does not exist for this caller."""

    code = "not-found"
    reason = "There is nothing here."


class Conflict(Refusal):
    """The state of things does not allow it."""


class TooLarge(Refusal):
    """More bytes than we take."""

    code = "request-too-large"
    reason = "The request is larger than this route accepts."


class UnsupportedMedia(Refusal):
    """Not the kind of content that is understood here."""

    code = "unsupported-media-type"
    reason = "This route takes another content type."


class Unprocessable(Refusal):
    """Well-formed, but not to be done."""


class TooMany(Refusal):
    """Too often; ask again later."""

    code = "too-many-requests"
    reason = "Too many attempts. Wait, then try again."


class Unavailable(Refusal):
    """We cannot answer now; that never means anything about a licence."""

    code = "service-unavailable"
    reason = "The service cannot answer right now. Try again later."
