# SPDX-License-Identifier: Apache-2.0
"""HTTP face of staff tokens and the audit log: decode, one service call, encode."""

from datetime import datetime, timedelta
from http import HTTPStatus

from flask import Blueprint

from fleet.clock import utcnow
from fleet.ground import ground
from fleet.staff import audit, tokens
from fleet.staff.audit import AuditFacts, Wanted
from fleet.staff.guard import current_staff, staff_only
from fleet.staff.roles import Role
from fleet.staff.schemas import (
    AuditPage,
    AuditQuery,
    IssuedTokenView,
    RevocationQuery,
    TokenRequest,
    TokensPage,
)
from fleet.staff.tokens import IssuedToken, TokenFacts
from fleet.web.contract import accepts, queries, returns
from fleet.web.paging import Page, PageQuery

blueprint = Blueprint("staff", __name__, url_prefix="/staff/v1")

_ID = "int(max=9223372036854775807)"


@blueprint.get("/audit")
@staff_only(Role.SUPPORT, Role.OPERATOR)
@returns(AuditPage)
@queries(AuditQuery)
def list_audit_entries(  # noqa: PLR0913 -- one for each field of the query
    *,
    limit: int,
    cursor: str | None,
    subject: str | None,
    actor: str | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Page[AuditFacts]:
    """List what the staff changed, newest first."""
    wanted = Wanted(
        subject=subject, actor=actor, action=action, since=since, until=until
    )
    return audit.entries(wanted, limit=limit, cursor=cursor)


@blueprint.get("/tokens")
@staff_only(Role.OPERATOR)
@returns(TokensPage)
@queries(PageQuery)
def list_tokens(*, limit: int, cursor: str | None) -> Page[TokenFacts]:
    """List staff tokens: whose they are, how long, last used when."""
    return tokens.listed(limit=limit, cursor=cursor)


@blueprint.post("/tokens")
@staff_only(Role.OPERATOR)
@returns(IssuedTokenView, HTTPStatus.CREATED)
@accepts(TokenRequest)
def issue_token(
    *, owner: str, role: Role, dealer: str, expires_in: int, reason: str
) -> IssuedToken:
    """Make a staff token; only this answer shows it."""
    return tokens.issue(
        owner,
        role=role,
        dealer=dealer,
        life=timedelta(seconds=expires_in),
        reason=reason,
        actor=current_staff(),
        keyring=ground().keyring,
        now=utcnow(),
    )


@blueprint.delete(f"/tokens/<{_ID}:token_id>")
@staff_only(Role.OPERATOR)
@returns(None, HTTPStatus.NO_CONTENT)
@queries(RevocationQuery)
def revoke_token(token_id: int, *, reason: str) -> None:
    """Revoke a staff token; it is refused from the next request on."""
    tokens.revoke(token_id, reason=reason, actor=current_staff(), now=utcnow())
