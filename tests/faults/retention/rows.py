# SPDX-License-Identifier: Apache-2.0
"""Access records that are to vanish, and others beside them that are to stay.

Every address that is to vanish (a *canary*) is of two ranges that nobody else uses,
so that a search for the ranges also finds what is left of an address that was cut.
What is made here is the same each time for the same ``seed``.
"""

import ipaddress
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
GREATEST_AGE = timedelta(hours=336)

# For measurements of devices (RFC 2544), and a /40 out of somebody's /32.
V4_RANGE = ipaddress.ip_network("198.18.0.0/15")
V6_RANGE = ipaddress.ip_network("2a0e:b107:5a00::/40")
# Who stays: their addresses show that the search finds what is there.
STAYING = "203.0.113."


class Row(NamedTuple):
    """An access record; the fields are columns."""

    service: str
    accessed_at: datetime
    address: str
    device_type: str | None
    software_version: str | None


HOURS = (0, 1, 3, 5, 7, 9, 14, 20, 23)

# Of the catalogue, or not: a telephone number is nobody's version.
KNOWN = [("COMtrexx VM", "2.0.1"), ("COMtrexx VM", "2.0.2"), ("COMpact 9", "8.4.0")]
UNKNOWN = [("COMtrexx VM", "0151-2345678"), ("COMpact 9", "9.9.9"), ("toaster", "1.0")]


def canaries(count: int, *, seed: int) -> list[str]:
    """Return distinct addresses of both ranges; two IPv6 ones in three share a /48.

    The bytes that are drawn are none of ASCII, so that no text holds an address in
    packed form.
    """
    draw = random.Random(seed)
    high = range(0x80, 0x100)
    found: dict[str, None] = {}
    while len(found) < count:
        if draw.random() < 0.5:
            packed = [198, draw.choice([18, 19]), draw.choice(high), draw.choice(high)]
            found[str(ipaddress.IPv4Address(bytes(packed)))] = None
        else:
            network = 0x80 | draw.choice([draw.randrange(128), 1, 2])
            packed = [0x2A, 0x0E, 0xB1, 0x07, 0x5A, network]
            packed += [draw.choice(high) for _ in range(10)]
            found[str(ipaddress.IPv6Address(bytes(packed)))] = None
    return list(found)


def of_days(
    first: datetime,
    days: int,
    per_day: int,
    addresses: Sequence[str],
    *,
    seed: int,
) -> Iterator[Row]:
    """Yield records of ``days`` whole days from ``first``, in no order, all services.

    Some groups of each day are of few sources, some of many, and the fourth day has
    hardly any record at all. All are of a few hours, as rooms take their time.
    """
    draw = random.Random(seed)
    for number in range(days):
        count = 5 if number == 3 else per_day
        few = draw.sample(addresses, 6)
        some = draw.sample(addresses, min(len(addresses), 60))
        for _ in range(count):
            hour = draw.choice(HOURS) + draw.random()
            at = first + number * DAY + hour * HOUR
            if draw.random() < 0.25:
                yield Row("voucher", at, draw.choice(addresses), None, None)
                continue
            among = draw.choices([few, some, addresses], [1, 3, 3])[0]
            words = draw.choices(KNOWN + UNKNOWN, [8, 1, 4, 1, 1, 1])[0]
            if among is few:
                words = draw.choice([KNOWN[1], UNKNOWN[2]])
            yield Row("cic", at, draw.choice(among), *words)


def staying(begin: datetime, count: int, *, every: timedelta) -> list[Row]:
    """Return records from ``begin`` on that are younger than all canaries."""
    return [
        Row("cic", begin + number * every, f"{STAYING}{number % 250 + 1}", *KNOWN[0])
        for number in range(count)
    ]


def put(engine: sa.Engine, rows: Iterable[Row]) -> None:
    """Write records past the service, as a process with another clock would."""
    rows = sorted(rows, key=lambda each: each.accessed_at)
    sqlite = engine.dialect.name == "sqlite"
    names = ", ".join(Row._fields)
    values = ", ".join(f":{name}" for name in Row._fields)
    with engine.begin() as connection:
        if not sqlite:
            hours = {each.accessed_at.replace(minute=0, second=0) for each in rows}
            for hour in sorted({each.replace(microsecond=0) for each in hours}):
                room = sa.text("SELECT access_record_room(:at)")
                connection.execute(room, {"at": hour})
        for number in range(0, len(rows), 5000):
            some = [each._asdict() for each in rows[number : number + 5000]]
            if sqlite:
                for each in some:
                    each["accessed_at"] = spelled(each["accessed_at"])
            connection.execute(
                sa.text(f"INSERT INTO access_record ({names}) VALUES ({values})"), some
            )


def spelled(instant: datetime) -> str:
    """Spell an instant as SQLite keeps it."""
    return instant.strftime("%Y-%m-%d %H:%M:%S.%f")
