# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens of people and tools: made once, shown once, kept as a digest.

A token reads ``cht_<key version>_<43 random characters>``. The digest is made
under a key outside the database, and the version in the token says under which:
one look-up finds it, whatever keys there have been. The prefix lets scanners
for leaked secrets recognise it.
"""

import base64
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from fleet.database import reading, transaction
from fleet.errors import Invalid, NotFound
from fleet.keys.errors import MissingKey
from fleet.keys.keyring import Keyring, VersionedKey, keyed_digest
from fleet.staff import audit
from fleet.staff.models import StaffToken
from fleet.staff.roles import CLI_PREFIX, Role, StaffMember
from fleet.web.paging import Order, Page

PURPOSE = "staff-token"
USUAL_LIFE = timedelta(days=365)
LONGEST_LIFE = timedelta(days=3650)
LONGEST_OWNER = 120
LONGEST_DEALER = 120

# A use is noted so often and no oftener: a note is a write.
USE_IS_NOTED_EVERY = timedelta(minutes=1)

_TOKEN = re.compile(r"cht_([1-9][0-9]{0,8})_[A-Za-z0-9_-]{43}")
_ORDER = Order("staff-tokens", {StaffToken.id: int})


@dataclass(frozen=True)
class TokenFacts:
    """What is known about a token: all but the token."""

    id: int
    owner: str
    role: Role
    dealer: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class IssuedToken(TokenFacts):
    """A token at the one moment in which it can be read."""

    token: str = field(repr=False)


def issue(  # noqa: PLR0913 -- what a token is made of, and why
    owner: str,
    *,
    role: Role,
    dealer: str = "",
    life: timedelta = USUAL_LIFE,
    reason: str,
    actor: StaffMember,
    keyring: Keyring,
    now: datetime,
) -> IssuedToken:
    """Make a token for ``owner``; it cannot be shown a second time.

    One for the role of a dealer names the ``dealer`` whose things it shows.

    Raises ``Invalid`` for an owner without a name, a dealer without one or with
    another role, or a life out of bounds.
    """
    _check(owner, life, role=role, dealer=dealer)
    key = keyring.current(PURPOSE)
    random = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    token = f"cht_{key.version}_{random}"
    with transaction() as session:
        row = StaffToken(
            owner=owner,
            role=role,
            digest=_digest(key, token),
            key_version=key.version,
            created_at=now,
            expires_at=now + life,
            dealer=dealer,
        )
        session.add(row)
        session.flush()  # for the id
        audit.record(
            session,
            actor=actor,
            action="staff-token.issue",
            subject=f"staff-token:{row.id}",
            reason=reason,
            before={},
            after=_granted(row),
            now=now,
        )
        facts = _facts(row)
    return IssuedToken(**vars(facts), token=token)


def find(token: str, *, keyring: Keyring, now: datetime) -> StaffMember | None:
    """Return whose ``token`` this is, and note its use; nothing if it is not valid.

    Not valid is: malformed, unknown, expired, revoked, or made under a key that
    is gone.
    """
    spelled = _TOKEN.fullmatch(token)
    if spelled is None:
        return None
    try:
        digest = _digest(keyring.get(PURPOSE, int(spelled[1])), token)
    except MissingKey:
        return None
    with reading() as session:
        row = session.scalar(select(StaffToken).where(StaffToken.digest == digest))
    if row is None or row.revoked_at is not None or now >= row.expires_at:
        return None
    if row.last_used_at is None or now - row.last_used_at >= USE_IS_NOTED_EVERY:
        _note_use(row.id, now)
    return StaffMember(row.id, row.owner, Role(row.role), row.dealer)


def listed(*, limit: int, cursor: str | None = None) -> Page[TokenFacts]:
    """List all tokens, in order of issue; raise ``Invalid`` for a bad cursor."""
    statement = select(StaffToken).where(_ORDER.after(cursor))
    with reading() as session:
        rows = session.scalars(statement.order_by(*_ORDER.by).limit(limit + 1)).all()
    return _ORDER.page(rows, limit=limit, position=lambda row: (row.id,), view=_facts)


def revoke(
    token_id: int, *, reason: str, actor: StaffMember, now: datetime
) -> TokenFacts:
    """End a token at once; one that was revoked before stays as it is.

    Raises ``NotFound`` for an id that no token has.
    """
    with transaction() as session:
        row = _locked(session, token_id)
        if row.revoked_at is None:
            before = _for_audit(row)
            row.revoked_at = now
            audit.record(
                session,
                actor=actor,
                action="staff-token.revoke",
                subject=f"staff-token:{row.id}",
                reason=reason,
                before=before,
                after=_for_audit(row),
                now=now,
            )
        return _facts(row)


def _locked(session: Session, token_id: int) -> StaffToken:
    row = session.scalar(
        select(StaffToken).where(StaffToken.id == token_id).with_for_update()
    )
    if row is None:
        raise NotFound("There is no token with this id.")
    return row


def _note_use(token_id: int, now: datetime) -> None:
    """Note the use, if nobody else just has; a busy database is no reason to fail."""
    latest = StaffToken.last_used_at
    with suppress(OperationalError), transaction() as session:
        session.execute(
            update(StaffToken)
            .where(StaffToken.id == token_id)
            .where(or_(latest.is_(None), latest <= now - USE_IS_NOTED_EVERY))
            .values(last_used_at=now)
        )


def _check(owner: str, life: timedelta, *, role: Role, dealer: str) -> None:
    faults: dict[str, list[str]] = {}
    if fault := _dealer_fault(role, dealer):
        faults["dealer"] = [fault]
    if not owner.strip() or len(owner) > LONGEST_OWNER or not owner.isprintable():
        faults["owner"] = [f"1 to {LONGEST_OWNER} printable characters."]
    elif owner.startswith(CLI_PREFIX):
        faults["owner"] = [f"A name that begins with {CLI_PREFIX} is the CLI's own."]
    if not timedelta(0) < life <= LONGEST_LIFE:
        faults["expires_in"] = [
            f"At most {LONGEST_LIFE.days} days, and more than none."
        ]
    if faults:
        raise Invalid(fields=faults)


def _dealer_fault(role: Role, dealer: str) -> str | None:
    if role is not Role.DEALER:
        return "Only the role of a dealer has one." if dealer else None
    # Compared with what batches say, so no spelling but the very same is one.
    spelled = dealer == dealer.strip() and dealer.isprintable()
    if spelled and 1 <= len(dealer) <= LONGEST_DEALER:
        return None
    return f"The dealer's name as in its batches: 1 to {LONGEST_DEALER} characters."


def _digest(key: VersionedKey, token: str) -> bytes:
    return keyed_digest(key, token.encode("ascii"))


def _granted(row: StaffToken) -> dict[str, object]:
    granted: dict[str, object] = {
        "owner": row.owner,
        "role": row.role,
        "expires_at": row.expires_at,
    }
    return granted | ({"dealer": row.dealer} if row.dealer else {})


def _for_audit(row: StaffToken) -> dict[str, object]:
    return _granted(row) | {"revoked_at": row.revoked_at}


def _facts(row: StaffToken) -> TokenFacts:
    return TokenFacts(
        id=row.id,
        owner=row.owner,
        role=Role(row.role),
        dealer=row.dealer,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
