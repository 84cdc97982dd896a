# SPDX-License-Identifier: Apache-2.0
"""One PBX's standing, read and judged inside a transaction of the caller."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.orm import Session

from cic.models import Activation, LifeEvent
from cic.service.policies import policies, read_policy
from cic.standing import Hold, Policy, Standing, standing
from fleet.database import reading
from fleet.devices.models import Device
from fleet.ground import ground


@dataclass(frozen=True)
class Overview:
    """One PBX in a list: the registry's row, the licence check's, its standing."""

    device: Device
    activation: Activation
    standing: Standing


def activation_of(session: Session, device: Device) -> Activation:
    """Return the activation of ``device``, locked; made on first use.

    The caller holds the lock of the registry row, so there is only one maker.
    """
    activation = session.scalars(
        select(Activation).where(Activation.device_id == device.id).with_for_update()
    ).one_or_none()
    if activation is None:
        activation = Activation(device_id=device.id, device_type=device.device_type)
        session.add(activation)
        session.flush()  # what follows may query it
    return activation


def policy_in(session: Session) -> Policy:
    """Return the policy as ``session`` sees it, its own changes included."""
    return read_policy(session.connection(), ground().settings)


def judge(activation: Activation, *, policy: Policy, now: datetime) -> Standing:
    """Judge one PBX."""
    return standing(
        silent_since=activation.silent_since,
        hold=Hold(activation.hold),
        device_type=activation.device_type,
        own_grace_days=activation.grace_days,
        policy=policy,
        now=now,
    )


def overview(
    device: Device, activation: Activation | None, *, policy: Policy, now: datetime
) -> Overview:
    """Put together what is said of one PBX."""
    held = activation or Activation(device_id=device.id, device_type=device.device_type)
    return Overview(device, held, judge(held, policy=policy, now=now))


def note_event(
    session: Session, device_id: int, kind: str, *, now: datetime, detail: str = ""
) -> None:
    """Add to the PBX's history."""
    session.add(
        LifeEvent(device_id=device_id, happened_at=now, kind=kind, detail=detail)
    )


def standing_of(device_id: int, *, now: datetime) -> str:
    """Return the verdict over a PBX in one word, for the guard of other rooms."""
    with reading() as session:
        activation = session.get(Activation, device_id)
        if activation is None:
            return "uninitialised"
        policy = policies().at(session.connection())
        return judge(activation, policy=policy, now=now).verdict.value


_AMONG = select(
    Activation.device_id,
    Activation.silent_since,
    Activation.hold,
    Activation.device_type,
    Activation.grace_days,
).where(Activation.device_id.in_(bindparam("device_ids", expanding=True)))


def standings_among(
    connection: Connection, device_ids: Collection[int], *, now: datetime
) -> dict[int, str]:
    """Return the verdicts over some PBXs in one word each, for other rooms."""
    policy = policies().at(connection)
    rows = connection.execute(_AMONG, {"device_ids": device_ids}).all()
    return {
        row.device_id: standing(
            silent_since=row.silent_since,
            hold=Hold(row.hold),
            device_type=row.device_type,
            own_grace_days=row.grace_days,
            policy=policy,
            now=now,
        ).verdict.value
        for row in rows
    }
