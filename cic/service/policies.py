# SPDX-License-Identifier: Apache-2.0
"""What standings are judged by: read once, and again when it has changed."""

from datetime import datetime, timedelta
from typing import cast

from flask import Flask, current_app
from sqlalchemy import Connection, func, select

from cic.models import Amnesty, GracePolicy
from cic.standing import Downtime, Policy, merged
from fleet.ground import ground
from fleet.server.models import Outage, Pulse
from fleet.settings import Settings

POLICY_VERSION = select(Pulse.policy_version).where(Pulse.id == 1)


class Policies:
    """Keeps the policy of its version in memory; safe to use from many threads.

    The version stands in the database and is read in the same transaction as
    the PBXs that are judged, so a change counts from the next check on, on
    every node.
    """

    def __init__(self, settings: Settings) -> None:
        """Judge by the grace and the outage credit of ``settings``."""
        self._settings = settings
        self._kept: tuple[int, Policy] | None = None

    def at(self, connection: Connection, version: int | None = None) -> Policy:
        """Return the policy in force, by its ``version`` if that was read already."""
        if version is None:
            version = connection.execute(POLICY_VERSION).scalar_one_or_none() or 0
        kept = self._kept
        if kept is not None and kept[0] == version:
            return kept[1]
        policy = read_policy(connection, self._settings)
        self._kept = (version, policy)
        return policy


def register(app: Flask) -> None:
    """Let ``app`` keep the policy in memory."""
    with app.app_context():
        app.extensions["policies"] = Policies(ground().settings)


def policies() -> Policies:
    """Return what the application in context keeps of the policy."""
    return cast("Policies", current_app.extensions["policies"])


def read_policy(connection: Connection, settings: Settings) -> Policy:
    """Read the policy from the database."""
    outages: tuple[Downtime, ...] = ()
    if settings.outage_credit:
        rows = connection.execute(select(Outage.began_at, Outage.ended_at))
        outages = merged([Downtime(*row) for row in rows])
    until: datetime | None = connection.execute(
        select(func.max(Amnesty.until, type_=Amnesty.until.type)).where(
            Amnesty.withdrawn_at.is_(None)
        )
    ).scalar_one()
    grace = connection.execute(select(GracePolicy.device_type, GracePolicy.grace_days))
    return Policy(
        default_grace=timedelta(days=settings.grace_days),
        grace_by_type={name: timedelta(days=days) for name, days in grace},
        amnesty_until=until,
        downtimes=outages,
    )
