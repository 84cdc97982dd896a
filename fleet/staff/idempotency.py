# SPDX-License-Identifier: Apache-2.0
"""A request of the staff that is sent twice has its effect once.

``Idempotency-Key`` follows draft-ietf-httpapi-idempotency-key-header: the same
key with the same request gets the first answer again, byte for byte; with
another request it is refused. The answer is committed together with the effect:
a row under the key is inserted first, so that a duplicate that arrives meanwhile
waits for it on the unique constraint, and finds the answer once that is
committed or does the work itself once that is rolled back.

An answer can hold what may be shown only once (a new token, printed codes). It
is therefore kept encrypted under a key that is made of the caller's own token
and the idempotency key: nobody can read it in the database, and whoever repeats
the request brings what it takes.

What takes longer than a transaction may (SQLite has one writer at a time) is done
apart from it: the key is taken together with the note of who asked, then the work is
done, then its answer is kept. Such work must be safe to repeat by itself, since after
a crash between the two a repeat does it again, and is noted once all the same.
"""

import hmac
import io
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import Response, current_app, g, request
from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from fleet.database import reading, transaction
from fleet.errors import Invalid, Refusal, TooLarge
from fleet.staff.errors import IdempotencyKeyReused
from fleet.staff.models import IdempotentAnswer
from fleet.web.body import MOST_BYTES
from fleet.web.problems import status_of

HEADER = "Idempotency-Key"
KEPT_FOR = timedelta(hours=24)
LONGEST_KEY = 255

# The draft's form is a quoted string (RFC 9651, section 3.3.3); most clients
# send the bare word, which can be nothing else.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[!#-+\--:<-\[\]-~]+")
_ESCAPED = re.compile(r'\\(["\\])')

_NONCE_BYTES = 12

# In place of a status: the key is taken, and the work is under way.
_UNDER_WAY = 0

# Refusals that a repeated request should be judged anew after: it was malformed,
# or who may do what, or how often, has changed since.
_NOT_KEPT = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


@dataclass(frozen=True)
class Attempt:
    """One request under an idempotency key.

    ``secret`` is the caller's bearer token: it never leaves this process.
    """

    token_id: int
    key: str
    secret: str = field(repr=False)
    now: datetime

    def derive(self, purpose: bytes) -> bytes:
        """Return a key that only the caller of this request can have."""
        derivation = HKDF(
            algorithm=SHA256(), length=32, salt=self.key.encode(), info=purpose
        )
        return derivation.derive(self.secret.encode())


def given_key() -> str | None:
    """Return the idempotency key of the request in context, if it has one.

    Raises ``Invalid`` for one that is malformed, empty or too long.
    """
    header = request.headers.get(HEADER)
    if header is None:
        return None
    text = header.strip(" ")
    if quoted := _QUOTED.fullmatch(text):
        key = _ESCAPED.sub(r"\1", quoted[1])
    else:
        key = text if _BARE.fullmatch(text) else ""
    if not 1 <= len(key) <= LONGEST_KEY:
        fault = f"1 to {LONGEST_KEY} visible ASCII characters, best a UUID."
        raise Invalid(fields={HEADER: [fault]})
    return key


def answer_once(attempt: Attempt, work: Callable[[], Response]) -> Response:
    """Return what ``work`` answers, or what it answered to this key before.

    Raises ``IdempotencyKeyReused`` for a key that another request has used.
    """
    fingerprint = _fingerprint(attempt)
    try:
        with transaction() as session:
            earlier = _claim(session, attempt, fingerprint)
            if earlier is not None:
                return _replay(earlier, attempt, fingerprint)
            response = work()
            _keep(session, attempt, response)
            return response
    except Refusal as refusal:
        if isinstance(refusal, IdempotencyKeyReused) or not _is_kept(refusal):
            raise
        # What the view began is rolled back; its "no" is an answer all the same.
        response = current_app.make_response(current_app.handle_user_exception(refusal))
        return _keep_refusal(attempt, fingerprint, response)


def answer_apart(attempt: Attempt, work: Callable[[], Response]) -> Response:
    """Return what ``work``, which is no transaction, answers or has answered before.

    It calls ``begins`` in the transaction that notes who asked. Refusals are not kept:
    a repeat is judged anew. Raises ``IdempotencyKeyReused`` as ``answer_once``.
    """
    fingerprint = _fingerprint(attempt)
    with reading() as session:
        earlier = session.scalars(
            select(IdempotentAnswer).where(
                *_mine(attempt), IdempotentAnswer.created_at > attempt.now - KEPT_FOR
            )
        ).one_or_none()
    if earlier is not None and _is_answer_to(earlier, fingerprint):
        return _replay(earlier, attempt, fingerprint)
    g.attempt_apart = attempt, fingerprint
    response = work()
    with transaction() as session:
        earlier = _claim(session, attempt, fingerprint)
        if earlier is not None and _is_answer_to(earlier, fingerprint):
            return _replay(earlier, attempt, fingerprint)  # a duplicate was quicker
        _keep(session, attempt, response)
        return response


def begins(session: Session) -> bool:
    """Take the key of the request in context; say whether this is its first attempt.

    For work that is done apart, in the transaction that notes who asked. Without a key
    each request is the first. Raises ``IdempotencyKeyReused``.
    """
    found: tuple[Attempt, bytes] | None = g.get("attempt_apart")
    if found is None:
        return True
    earlier = _claim(session, *found)
    if earlier is None:
        return True
    _is_answer_to(earlier, found[1])
    return False


def forget(now: datetime) -> int:
    """Delete the answers that are too old to be asked for; return how many (a job)."""
    with transaction() as session:
        gone = session.execute(
            delete(IdempotentAnswer)
            .where(IdempotentAnswer.created_at <= now - KEPT_FOR)
            .returning(IdempotentAnswer.id)
        )
        return len(gone.all())


def _is_kept(refusal: Refusal) -> bool:
    status = status_of(type(refusal))
    return status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _NOT_KEPT


def _keep_refusal(attempt: Attempt, fingerprint: bytes, response: Response) -> Response:
    with transaction() as session:
        earlier = _claim(session, attempt, fingerprint)
        if earlier is not None:  # a duplicate was quicker
            return _replay(earlier, attempt, fingerprint)
        _keep(session, attempt, response)
        return response


def _claim(
    session: Session, attempt: Attempt, fingerprint: bytes
) -> IdempotentAnswer | None:
    """Take the key, or return the row of who took it; waits for one at work."""
    mine = _mine(attempt)
    too_old = IdempotentAnswer.created_at <= attempt.now - KEPT_FOR
    session.execute(delete(IdempotentAnswer).where(*mine, too_old))
    dialect = session.get_bind().dialect.name
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    taken = session.execute(
        insert(IdempotentAnswer)
        .values(
            token_id=attempt.token_id,
            key=attempt.key,
            fingerprint=fingerprint,
            status=_UNDER_WAY,  # filled in together with the answer
            headers="[]",
            body=b"",
            created_at=attempt.now,
        )
        .on_conflict_do_nothing()
        .returning(IdempotentAnswer.id)
    ).first()
    if taken is not None:
        return None
    return session.scalars(select(IdempotentAnswer).where(*mine)).one()


def _keep(session: Session, attempt: Attempt, response: Response) -> None:
    response.direct_passthrough = False  # a file is read into the answer
    body = response.get_data()
    row = session.scalars(select(IdempotentAnswer).where(*_mine(attempt))).one()
    nonce = secrets.token_bytes(_NONCE_BYTES)
    cipher = AESGCM(attempt.derive(b"callhome idempotent answer"))
    row.status = response.status_code
    row.headers = json.dumps(list(response.headers))
    row.body = nonce + cipher.encrypt(nonce, body, row.fingerprint)
    session.flush()


def _mine(attempt: Attempt) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (
        IdempotentAnswer.token_id == attempt.token_id,
        IdempotentAnswer.key == attempt.key,
    )


def _is_answer_to(row: IdempotentAnswer, fingerprint: bytes) -> bool:
    """Whether there is an answer yet; raise for a key that another request has used."""
    if not hmac.compare_digest(row.fingerprint, fingerprint):
        raise IdempotencyKeyReused
    return row.status != _UNDER_WAY


def _replay(row: IdempotentAnswer, attempt: Attempt, fingerprint: bytes) -> Response:
    _is_answer_to(row, fingerprint)
    cipher = AESGCM(attempt.derive(b"callhome idempotent answer"))
    nonce, sealed = row.body[:_NONCE_BYTES], row.body[_NONCE_BYTES:]
    response = Response(cipher.decrypt(nonce, sealed, row.fingerprint), row.status)
    response.headers.clear()
    response.headers.extend(json.loads(row.headers))
    return response


def _fingerprint(attempt: Attempt) -> bytes:
    """Tell this request from any other, without keeping what is in it.

    Keyed, since a body can hold a secret that a plain digest would let guess.
    """
    parts = (
        request.method.encode(),
        request.path.encode(),
        request.query_string,
        request.headers.get("Content-Type", "").encode(),
        _body_digest(),
    )
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(
        attempt.derive(b"callhome idempotent request"), message, "sha256"
    )


def _body_digest() -> bytes:
    """Return the body, or for an upload what it says its digest is (RFC 9530).

    What was read is put back for the view. The digest of an upload is the
    view's to check: it reads all of it anyway.
    """
    if (request.content_length or 0) > MOST_BYTES:
        declared = request.headers.get("Content-Digest")
        if not declared:
            fault = "A large body under an Idempotency-Key needs this header."
            raise Invalid(fields={"Content-Digest": [fault]})
        return declared.encode()
    raw = request.stream.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise TooLarge(f"The body is larger than {MOST_BYTES} bytes.")
    request.stream = io.BytesIO(raw)
    return raw
