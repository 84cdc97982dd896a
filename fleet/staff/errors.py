# SPDX-License-Identifier: Apache-2.0
"""The ways a member of staff is turned down."""

from fleet.errors import Forbidden, Unauthenticated, Unprocessable


class StaffTokenRequired(Unauthenticated):
    """No token, or one that is malformed, unknown, expired or revoked.

    One answer for all of them: a stranger learns nothing about which tokens
    there are.
    """

    code = "staff-token-required"
    reason = (
        "This needs a valid staff token: Authorization: Bearer <token>. "
        "None was sent, or it is unknown, expired or revoked."
    )


class NotPermitted(Forbidden):
    """The token is good, but its role may not do this."""

    code = "not-permitted"
    reason = "Your role may not do this."


class IdempotencyKeyReused(Unprocessable):
    """The ``Idempotency-Key`` has already been used for another request."""

    code = "idempotency-key-reused"
    reason = (
        "This Idempotency-Key was used for another request before. "
        "Use a new key for each new request."
    )
