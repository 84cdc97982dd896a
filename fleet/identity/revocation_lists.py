# SPDX-License-Identifier: Apache-2.0
"""The CRLs of the device CAs, made no more often than needed.

Anybody may ask for one, and in a large fleet one has a hundred thousand entries:
so it is made again only when a certificate has been revoked since, or after five
minutes, which is how long a copy is good elsewhere too.
"""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from cryptography.hazmat.primitives.serialization import Encoding
from flask import Flask, current_app

from fleet.database import reading
from fleet.identity.device_ca import DeviceCa
from fleet.identity.store import revocation_state, revocations_of

LONGEST_KEPT = timedelta(minutes=5)

State = tuple[int, datetime | None]


@dataclass(frozen=True)
class _Made:
    """A signed list, and what it was made from."""

    der: bytes
    made_at: datetime
    state: State


class RevocationLists:
    """The newest CRL of each device CA; safe to use from many threads."""

    def __init__(self) -> None:
        """Begin without any."""
        self._made: dict[bytes, _Made] = {}
        self._making = threading.Lock()

    def of(self, issuer: DeviceCa, *, now: datetime) -> bytes:
        """Return the CRL of ``issuer`` in DER.

        While one is being made, others are given the one before, if there is one.
        """
        with reading() as session:
            state = revocation_state(session)
        kept = self._made.get(issuer.key_id)
        if kept is None:
            with self._making:
                return self._newest(issuer, state, now)
        if _is_fresh(kept, state, now) or not self._making.acquire(blocking=False):
            return kept.der
        try:
            return self._newest(issuer, state, now)
        finally:
            self._making.release()

    def _newest(self, issuer: DeviceCa, state: State, now: datetime) -> bytes:
        kept = self._made.get(issuer.key_id)
        if kept is None or not _is_fresh(kept, state, now):
            kept = self._made[issuer.key_id] = _make(issuer, state, now)
        return kept.der


def _is_fresh(kept: _Made, state: State, now: datetime) -> bool:
    return kept.state == state and kept.made_at <= now < kept.made_at + LONGEST_KEPT


def _make(issuer: DeviceCa, state: State, now: datetime) -> _Made:
    with reading() as session:
        revoked = revocations_of(session, issuer, now=now)
    # It must rise with each list (RFC 5280, section 5.2.3), in every process.
    number = int(now.timestamp() * 1_000_000)
    signed = issuer.crl(revoked, number=number, now=now)
    return _Made(signed.public_bytes(Encoding.DER), now, state)


def register(app: Flask) -> None:
    """Give ``app`` its lists."""
    app.extensions["revocation_lists"] = RevocationLists()


def current() -> RevocationLists:
    """Return the lists of the application in context."""
    return cast("RevocationLists", current_app.extensions["revocation_lists"])
