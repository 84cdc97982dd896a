# SPDX-License-Identifier: Apache-2.0
"""The one row of what runs leave behind for the next, and for who watches over them.

All of it is written in a transaction of the lease's holder.
"""

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from fleet.server import pulse
from retention.models import RetentionState


def high_water(connection: Connection) -> datetime | None:
    """Return the latest instant up to which anything was deleted.

    None where nothing was, or an operator has accepted another clock since.
    """
    state = connection.execute(
        select(RetentionState.cutoff, RetentionState.acceptances)
    ).first()
    if state is None or state.acceptances != pulse.acceptances(connection):
        return None
    cutoff: datetime | None = state.cutoff
    return cutoff


def deletes(connection: Connection, *, cutoff: datetime) -> None:
    """Note up to which instant will be deleted, before anything is."""
    _set(connection, cutoff=cutoff, acceptances=pulse.acceptances(connection))


def succeeded(connection: Connection, *, at: datetime) -> None:
    """Note that ``at`` this instant all was done."""
    _set(connection, succeeded_at=at)


def _set(connection: Connection, **values: object) -> None:
    statement = update(RetentionState).where(RetentionState.id == 1)
    if connection.execute(statement.values(**values)).rowcount == 0:
        row = {"acceptances": 0} | values
        connection.execute(insert(RetentionState).values(id=1, **row))
