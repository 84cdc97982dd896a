# SPDX-License-Identifier: Apache-2.0
"""Finds the raw records of one address, for the person whose address it was.

Records name no PBX, so that somebody who wants to know what is stored must say the
address and the time (GDPR, 11(2)); the same finds who abuses a service. Each search
is in the audit log, with the address cut: the log is kept for ever, and must not
become a second list of addresses.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from fleet.database import reading, transaction
from fleet.errors import Invalid
from fleet.staff import audit
from fleet.staff.roles import StaffMember
from fleet.web.access_rooms import readable
from fleet.web.addresses import spelled
from fleet.web.models import AccessRecord
from fleet.web.paging import Order, Page
from retention.addresses import shown, unwrapped

_ORDER = Order(
    "access-records",
    {AccessRecord.accessed_at: datetime, AccessRecord.id: int},
    descending=True,
)

# Whatever could be an address in a sentence; a version of four numbers, too.
_V4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_V6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")


@dataclass(frozen=True, repr=False)
class Wanted:
    """Whose requests: of this address, from ``since`` on and before ``until``."""

    address: str
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Found:
    """One request of the address; the address itself is known to who asks."""

    service: str
    accessed_at: datetime
    device_type: str | None
    software_version: str | None


def search(
    wanted: Wanted,
    *,
    limit: int,
    cursor: str | None,
    reason: str,
    by: StaffMember,
    now: datetime,
) -> Page[Found]:
    """Return the records of an address that are young enough to be read.

    Nothing is returned before the audit log has it. Raises ``Invalid`` for what is
    no address, a time that ends before it begins, or a reason that names an address.
    """
    address = _checked(wanted, reason)
    statement = (
        select(
            AccessRecord.accessed_at,
            AccessRecord.id,
            AccessRecord.service,
            AccessRecord.device_type,
            AccessRecord.software_version,
        )
        .where(
            readable(now),
            AccessRecord.address == address,
            AccessRecord.accessed_at >= wanted.since,
            AccessRecord.accessed_at < wanted.until,
            _ORDER.after(cursor),
        )
        .order_by(*_ORDER.by)
        .limit(limit + 1)
    )
    # Apart from the entry: SQLite has one writer, who must not wait for this.
    with reading() as session:
        rows = session.execute(statement).all()
    page = _ORDER.page(
        rows,
        limit=limit,
        position=lambda row: (row.accessed_at, row.id),
        view=lambda row: Found(
            row.service, row.accessed_at, row.device_type, row.software_version
        ),
    )
    with transaction() as session:
        audit.record(
            session,
            actor=by,
            action="access-records.search",
            subject=f"address:{shown(address)}",
            reason=reason,
            before={},
            after={
                "from": wanted.since,
                "to": wanted.until,
                "found": len(page.items),
                "continued": cursor is not None,
            },
            now=now,
        )
    return page


def _checked(wanted: Wanted, reason: str) -> str:
    """Return the address in the spelling of the records."""
    address = spelled(wanted.address.strip().removeprefix("[").removesuffix("]"))
    if not address:
        raise Invalid(fields={"address": ["Not one whole IPv4 or IPv6 address."]})
    if wanted.until <= wanted.since:
        raise Invalid(fields={"to": ["Not after the begin."]})
    named = [*_V4.findall(reason), *_V6.findall(reason)]
    if any(unwrapped(each.rstrip(".")) for each in named):
        fault = "Names an address; the audit log, where this goes, is kept for ever."
        raise Invalid(fields={"reason": [fault]})
    return address
