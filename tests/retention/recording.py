# SPDX-License-Identifier: Apache-2.0
"""Access records of any instant, written as the service writes them."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import insert

from fleet.database import db, writing
from fleet.web.access_log import access as access_of
from fleet.web.access_log import access_log, rows_of
from fleet.web.models import AccessRecord


def keep_records(
    instants: Iterable[datetime], service: str = "cic", address: str = "192.0.2.7"
) -> None:
    """Keep one record of each instant."""
    chosen = [*instants]
    access_log().rooms.prepare(chosen)
    rows = [access_of(service, address=address, now=each) for each in chosen]
    with writing(db.engine) as connection:
        connection.execute(insert(AccessRecord), rows_of(rows))
