# SPDX-License-Identifier: Apache-2.0
"""The licence check: many at once in one transaction (``fleet.commits``).

This is the one hot path of the service. What is decided, and how, is in
``cic.standing`` and ``cic.continuation``; what is read and written, in
``cic.service.held``.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, cast

from flask import Flask, current_app
from sqlalchemy import Connection, insert

from cic.continuation import Continuation, draw_token, follow
from cic.models import LifeEvent
from cic.service.held import Held, Memory, shelf_for
from cic.service.policies import Policies
from cic.standing import Hold, Policy, Standing, Verdict, lock_at, standing
from fleet.commits import GroupCommit
from fleet.database import db
from fleet.ground import ground
from fleet.identity.guard import DeviceNotRecognised, is_in_force
from fleet.web.access_log import Access

# What a PBX says of its own clock is kept only as a difference this large at most.
MOST_SKEW = timedelta(days=365 * 60)  # in seconds, it fits 32 bits


class Ask(NamedTuple):
    """One check: whose certificate, and what the PBX says of itself."""

    fingerprint: bytes
    serial_number: str
    nonce: str
    software_version: str
    continuation: str | None
    device_time: datetime | None
    failed_attempts: int | None
    access: Access
    now: datetime


class Checked(NamedTuple):
    """What was decided, recorded and committed about one check."""

    standing: Standing
    lock_at: datetime | None
    generation: int
    continuation: str
    amnesty_until: datetime | None


class Checks:
    """Answers licence checks, as many as arrive together in one commit."""

    def __init__(self, app: Flask) -> None:
        """Check against the database and the settings of ``app``."""
        with app.app_context():
            self._policies = Policies(ground().settings)
            self._shelf = shelf_for(db.engine.dialect.name)
            self._together: GroupCommit[Ask, Checked] = GroupCommit(
                db.engine, self._decide
            )

    def check(self, ask: Ask) -> Checked:
        """Decide and record one check; return once it is committed.

        Raises ``DeviceNotRecognised`` for a certificate that is not believed.
        """
        return self._together.submit(ask)

    def _decide(
        self, connection: Connection, asks: Sequence[Ask]
    ) -> Sequence[Checked | Exception]:
        found = self._shelf.find(connection, list({ask.fingerprint for ask in asks}))
        policy = self._policies.at(connection, found.policy_version)
        replies: list[Checked | Exception] = []
        memories: dict[int, Memory] = {}
        events: list[dict[str, object]] = []
        accesses: list[Access] = []
        for ask in asks:
            held = found.held.get(ask.fingerprint)
            if held is None or not _is_believed(held, ask):
                replies.append(DeviceNotRecognised())
                continue
            # Several checks of one PBX in one batch follow one another.
            before = memories.get(held.device_id, held.memory)
            after, checked = decide(held, before, ask, policy)
            memories[held.device_id] = after
            events.extend(_events(held.device_id, before, after, ask.now))
            replies.append(checked)
            if not held.left_out:
                accesses.append(ask.access)
        if memories:
            self._shelf.record(connection, memories, accesses)
        if events:
            connection.execute(insert(LifeEvent), events)
        return replies


def register(app: Flask) -> None:
    """Let ``app`` answer licence checks."""
    app.extensions["checks"] = Checks(app)


def checks() -> Checks:
    """Return what answers the checks of the application in context."""
    return cast("Checks", current_app.extensions["checks"])


def decide(
    held: Held, before: Memory, ask: Ask, policy: Policy
) -> tuple[Memory, Checked]:
    """Judge one check by the memory before it; return the memory after it.

    Only a check that is answered ``active`` is a success and ends the silence.
    """
    judged = standing(
        silent_since=before.silent_since,
        hold=Hold(held.hold),
        device_type=held.device_type,
        own_grace_days=held.grace_days,
        policy=policy,
        now=ask.now,
    )
    remembered, is_suspect = follow(
        Continuation(
            before.continuation, before.previous_continuation, before.continuation_nonce
        ),
        presented=ask.continuation,
        nonce=ask.nonce,
        drawn=draw_token(),
    )
    silent_since, last_success_at = before.silent_since, before.last_success_at
    limit = judged.lock_at
    if judged.is_success:
        silent_since = _later(silent_since, ask.now)
        last_success_at = _later(last_success_at, ask.now)
        limit = lock_at(silent_since=silent_since, grace=judged.grace, policy=policy)
    after = Memory(
        silent_since=silent_since,
        last_success_at=last_success_at,
        last_check_at=_later(before.last_check_at, ask.now),
        clone_suspected_at=before.clone_suspected_at
        or (ask.now if is_suspect else None),
        last_verdict=judged.verdict.value,
        software_version=ask.software_version,
        failed_attempts=ask.failed_attempts or 0,
        clock_skew_seconds=_skew(ask),
        continuation=remembered.current,
        previous_continuation=remembered.previous,
        continuation_nonce=remembered.nonce,
    )
    return after, Checked(
        standing=judged,
        lock_at=limit,
        generation=held.generation,
        continuation=remembered.current,
        amnesty_until=policy.amnesty_until,
    )


def _is_believed(held: Held, ask: Ask) -> bool:
    return held.serial_number == ask.serial_number and is_in_force(
        revoked_at=held.revoked_at,
        retires_at=held.retires_at,
        not_after=held.not_after,
        now=ask.now,
    )


def _later(before: datetime | None, now: datetime) -> datetime:
    return now if before is None or now > before else before


def _skew(ask: Ask) -> int | None:
    if ask.device_time is None:
        return None
    skew = min(max(ask.device_time - ask.now, -MOST_SKEW), MOST_SKEW)
    return round(skew.total_seconds())


def _events(
    device_id: int, before: Memory, after: Memory, now: datetime
) -> list[dict[str, object]]:
    kinds = []
    verdicts = (before.last_verdict, after.last_verdict)
    if after.last_verdict != before.last_verdict and Verdict.LOCKED in verdicts:
        kinds.append("locked" if after.last_verdict == Verdict.LOCKED else "unlocked")
    if after.clone_suspected_at != before.clone_suspected_at:
        kinds.append("clone-suspected")
    return [
        {"device_id": device_id, "happened_at": now, "kind": kind, "detail": ""}
        for kind in kinds
    ]
