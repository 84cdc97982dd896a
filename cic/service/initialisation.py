# SPDX-License-Identifier: Apache-2.0
"""A PBX makes itself known: first after the factory, and again after a loss.

It proves itself by its device secret, gets a certificate for a key of its own,
and begins a new generation. One transaction under the lock of its registry row,
so that of two attempts at once the later revokes the earlier, and exactly one
certificate is left.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cic.errors import InitialisationLimitReached, NewKeyRequired
from cic.models import Activation, LifeEvent
from cic.service.checks import Checked
from cic.service.standings import (
    activation_of,
    judge,
    note_event,
    policy_in,
)
from cic.standing import Standing, Verdict
from fleet.database import transaction
from fleet.devices import registry, release_keys
from fleet.devices.models import Device
from fleet.devices.registry import locked
from fleet.ground import ground
from fleet.identity.csr import CsrFacts
from fleet.identity.guard import DeviceNotPermitted, DeviceNotRecognised, is_in_force
from fleet.identity.models import DeviceCertificate
from fleet.identity.store import issue, pem_chain, revoke_all
from fleet.web import throttle
from fleet.web.throttle import DEVICE_SECRET

# How often a PBX may re-initialise by itself, and in what time; staff open more.
MOST_REINITIALISATIONS = 3
WITHIN = timedelta(days=30)


@dataclass(frozen=True)
class Initialised:
    """What an initialisation yields, beside the signed documents."""

    certificate_chain: str
    release_key: bytes
    checked: Checked
    left_out: bool


def initialise(
    serial_number: str,
    *,
    device_secret: str,
    csr: CsrFacts,
    software_version: str,
    address: str,
    now: datetime,
) -> Initialised:
    """Give the PBX a certificate for the key in ``csr``.

    The same key again, while its certificate is in force and the PBX is active,
    gets the same certificate: an answer was lost. Another key re-initialises.

    Raises ``TooMany`` after too many wrong guesses, ``DeviceNotRecognised`` for a
    wrong secret as for an unknown serial number, ``DeviceNotPermitted`` for a
    PBX that is blocked or replaced, ``NewKeyRequired`` and
    ``InitialisationLimitReached``.
    """
    throttle.check(DEVICE_SECRET, address, serial=serial_number, now=now)
    known = registry.find(serial_number)
    if not registry.secret_is_right(known, device_secret, keyring=ground().keyring):
        throttle.wrong(DEVICE_SECRET, address, serial=serial_number, now=now)
        raise DeviceNotRecognised
    with transaction() as session:
        device = locked(session, serial_number)
        activation = activation_of(session, device)
        if activation.hold:
            raise DeviceNotPermitted
        judged = judge(activation, policy=policy_in(session), now=now)
        certificate = _certified_before(session, device, csr, judged, now=now)
        if certificate is None:
            _begin_generation(session, activation, now=now)
            certificate = issue(
                session,
                device,
                csr.public_key,
                generation=activation.generation,
                now=now,
            )
        _forget_tokens(activation)
        activation.software_version = software_version
        activation.silent_since = activation.last_success_at = now
        return Initialised(
            certificate_chain=pem_chain(certificate),
            release_key=release_keys.release_key_of(device),
            checked=_checked(session, activation, now=now),
            left_out=device.left_out,
        )


def _certified_before(
    session: Session,
    device: Device,
    csr: CsrFacts,
    judged: Standing,
    *,
    now: datetime,
) -> DeviceCertificate | None:
    """Return the certificate that this key already has, if it may be had again."""
    known = session.scalars(
        select(DeviceCertificate)
        .where(DeviceCertificate.key_digest == csr.spki_sha256)
        .order_by(DeviceCertificate.id.desc())
        .limit(1)
    ).one_or_none()
    if known is None:
        return None
    in_force = is_in_force(
        revoked_at=known.revoked_at,
        retires_at=known.retires_at,
        not_after=known.not_after,
        now=now,
    )
    is_ours = known.device_id == device.id
    if is_ours and in_force and judged.verdict is Verdict.ACTIVE:
        return known
    raise NewKeyRequired


def _begin_generation(
    session: Session, activation: Activation, *, now: datetime
) -> None:
    """Let the PBX begin anew: nothing of the generation before is believed."""
    again = activation.generation > 0
    if again:
        if not reinitialisations_left(session, activation, now=now):
            raise InitialisationLimitReached
        revoke_all(session, activation.device_id, reason="superseded", now=now)
    else:
        activation.initialised_at = now
    activation.generation += 1
    activation.clone_suspected_at = None
    activation.last_verdict = Verdict.ACTIVE
    note_event(
        session,
        activation.device_id,
        "reinitialised" if again else "initialised",
        now=now,
        detail=f"generation {activation.generation}",
    )


def _forget_tokens(activation: Activation) -> None:
    """Expect no token at the next check: a PBX that begins, or begins again, has none.

    Also where it gets the same certificate: it may have checked with it before it
    forgot that it had been answered. A clone gains nothing by it, since the first
    token drawn from here on makes the other's an older one.
    """
    activation.continuation = activation.previous_continuation = ""
    activation.continuation_nonce = ""


def reinitialisations_left(
    session: Session, activation: Activation, *, now: datetime
) -> int:
    """Return how often the PBX may still re-initialise by itself."""
    since = now - WITHIN
    if activation.reinitialisation_opened_at is not None:
        since = max(since, activation.reinitialisation_opened_at)
    lately = session.execute(
        select(func.count())
        .select_from(LifeEvent)
        .where(
            LifeEvent.device_id == activation.device_id,
            LifeEvent.kind == "reinitialised",
            LifeEvent.happened_at > since,
        )
    ).scalar_one()
    return max(0, MOST_REINITIALISATIONS - lately)


def _checked(session: Session, activation: Activation, *, now: datetime) -> Checked:
    policy = policy_in(session)
    judged = judge(activation, policy=policy, now=now)
    return Checked(
        standing=judged,
        lock_at=judged.lock_at,
        generation=activation.generation,
        continuation="",
        amnesty_until=policy.amnesty_until,
    )
