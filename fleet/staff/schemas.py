# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire about staff tokens and the audit log."""

from marshmallow import Schema, fields, validate

from fleet.staff.roles import Role
from fleet.staff.tokens import LONGEST_DEALER, LONGEST_LIFE, LONGEST_OWNER, USUAL_LIFE
from fleet.web.fields import Instant, PlainText, reason
from fleet.web.paging import PageQuery, PageView

ROLES = [role.value for role in Role]


class TokenRequest(Schema):
    """A new token for a person or a tool."""

    owner = fields.String(required=True, validate=validate.Length(1, LONGEST_OWNER))
    role = fields.Enum(Role, by_value=True, required=True)
    dealer = fields.String(
        load_default="",
        validate=validate.Length(max=LONGEST_DEALER),
        metadata={"description": "With the role `dealer`: whose things it shows."},
    )
    expires_in = fields.Integer(
        strict=True,
        load_default=int(USUAL_LIFE.total_seconds()),
        validate=validate.Range(60, int(LONGEST_LIFE.total_seconds())),
        metadata={"description": "Seconds until the token ends."},
    )
    reason = reason()


class TokenView(Schema):
    """A token as it can be shown at any time."""

    id = fields.Integer(required=True)
    owner = fields.String(required=True)
    role = fields.String(required=True, validate=validate.OneOf(ROLES))
    dealer = fields.String(
        required=True, metadata={"description": "Empty for every other role."}
    )
    created_at = Instant(required=True)
    expires_at = Instant(required=True)
    revoked_at = Instant(required=True, allow_none=True)
    last_used_at = Instant(required=True, allow_none=True)


class IssuedTokenView(TokenView):
    """A new token; this answer is the only one that holds it."""

    token = fields.String(required=True)


class TokensPage(PageView):
    """Some of all tokens."""

    items = fields.List(fields.Nested(TokenView), required=True)


class RevocationQuery(Schema):
    """Why a token is revoked; in the query, since a ``DELETE`` has no body."""

    reason = reason()


class AuditQuery(PageQuery):
    """Which entries of the audit log."""

    subject = PlainText(load_default=None, validate=validate.Length(1, 120))
    actor = PlainText(load_default=None, validate=validate.Length(1, 120))
    action = PlainText(load_default=None, validate=validate.Length(1, 64))
    since = Instant(load_default=None)
    until = Instant(
        load_default=None, metadata={"description": "Entries before this instant."}
    )


class AuditEntryView(Schema):
    """Who changed what, when and why."""

    id = fields.Integer(required=True)
    happened_at = Instant(required=True)
    actor = fields.String(required=True)
    role = fields.String(required=True)
    action = fields.String(required=True)
    subject = fields.String(required=True)
    reason = fields.String(required=True)
    before = fields.Dict(keys=fields.String(), required=True)
    after = fields.Dict(keys=fields.String(), required=True)
    hash = fields.String(required=True)


class AuditPage(PageView):
    """Some entries of the audit log, newest first."""

    items = fields.List(fields.Nested(AuditEntryView), required=True)
