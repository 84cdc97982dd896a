# SPDX-License-Identifier: Apache-2.0
"""Counts the access records of a day by group, without keeping hold of any of them.

The day is read in slices of bounded size, each in a read transaction of its own that
keeps nobody waiting. What grows with the traffic, and what grows with what clients
write, stays in the database; here there is a counter for each group of the catalogue,
and of its sources as many as the threshold. That is enough to be exact: a set that is
full stays above the threshold in every union, and one that is not is whole.

The two databases are read differently, since each is measured to be faster so: SQLite
hands over rows, and PostgreSQL groups.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import lru_cache

from sqlalchemy import Connection, Engine, select, text

from fleet.database import driver_sql
from fleet.web.access_log import WITHOUT_DEVICE
from fleet.web.models import AccessRecord
from retention.addresses import source_of
from retention.countries import Countries
from retention.folding import THRESHOLD, Cell, Group
from retention.service.catalogue import Catalogue
from retention.service.deadlines import DAY, begin_of

# So many records take about a tenth of a second.
RECORDS_IN_SLICE = 50_000

# Addresses that PostgreSQL shows of each group at once: there are seldom fewer
# sources than the threshold among more addresses.
ADDRESSES_SHOWN = 32

_REMEMBERED = 1 << 16


class Tally:
    """The counters of one day, by service and group."""

    def __init__(self, catalogue: Catalogue, countries: Countries) -> None:
        """Begin with nothing counted."""
        self._catalogue = catalogue
        self._counters: dict[tuple[str, Group], _Counter] = {}
        self._known: dict[tuple[str, str | None, str | None, str], _Counter] = {}
        self.located = countries.configured
        # Here and not for the process: no address outlives the run in a memory.
        self.country_of = lru_cache(_REMEMBERED)(countries.of)
        self.source_of = lru_cache(_REMEMBERED)(source_of)
        self.records = 0

    def counter(
        self,
        service: str,
        device_type: str | None,
        software_version: str | None,
        country: str = "",
    ) -> "_Counter":
        """Return the counter for records of such values."""
        said = (service, device_type, software_version, country)
        found = self._known.get(said)
        if found is not None:
            return found
        if service in WITHOUT_DEVICE:
            words = ("", "")
        else:
            words = self._catalogue.named(device_type, software_version)
        group = Group(*words, country)
        counter = self._counters.setdefault((service, group), _Counter())
        # Only what has the catalogue's own words: clients have endless others.
        if words == (device_type or "", software_version or ""):
            self._known[said] = counter
        return counter

    @property
    def size(self) -> int:
        """How much is remembered: never more than the catalogue has words."""
        return max(len(self._counters), len(self._known))

    def add(self, counter: "_Counter", requests: int, addresses: Iterable[str]) -> None:
        """Count requests from ``addresses``, of which no more are read than needed."""
        counter.requests += requests
        self.records += requests
        for address in addresses:
            if not counter.open:
                return
            counter.meet(self.source_of(address))

    def cells(self) -> dict[str, list[Cell]]:
        """Return what was counted, by service."""
        cells: dict[str, list[Cell]] = {}
        for (service, group), counter in self._counters.items():
            sources = frozenset(counter.sources)
            cell = Cell(group, counter.requests, sources)
            cells.setdefault(service, []).append(cell)
        return cells


class _Counter:
    """How many requests; and which sources, until there are enough."""

    __slots__ = ("open", "requests", "sources")

    def __init__(self) -> None:
        self.requests = 0
        self.sources: set[str] = set()
        self.open = True

    def meet(self, source: str) -> None:
        """Note that a request came from ``source``; only while ``open``."""
        self.sources.add(source)
        self.open = len(self.sources) < THRESHOLD


def tally(
    engine: Engine,
    day: date,
    into: Tally,
    *,
    between: Callable[[], object] = lambda: None,
) -> dict[str, list[Cell]]:
    """Count all records of ``day`` (UTC), by service; ``between`` follows each slice.

    A record that comes meanwhile is counted or not, never twice.
    """
    read = _read_groups if engine.dialect.name == "postgresql" else _read_rows
    begin, end = begin_of(day), begin_of(day) + DAY
    while begin < end:
        with _snapshot(engine) as connection:
            until = _end_of_slice(connection, begin, end)
            read(connection, begin, until, into)
        begin = until
        between()
    return into.cells()


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """Let several statements see the same records."""
    with engine.connect() as plain:
        connection = plain
        if engine.dialect.name == "postgresql":
            connection = plain.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def _end_of_slice(connection: Connection, begin: datetime, end: datetime) -> datetime:
    """Return where the slice from ``begin`` ends: never within one instant."""
    instants = (
        select(AccessRecord.accessed_at)
        .where(AccessRecord.accessed_at < end)
        .order_by(AccessRecord.accessed_at)
        .limit(1)
    )
    enough = connection.execute(
        instants.where(AccessRecord.accessed_at >= begin).offset(RECORDS_IN_SLICE)
    ).scalar()
    if enough == begin:
        later = instants.where(AccessRecord.accessed_at > begin)
        enough = connection.execute(later).scalar()
    return enough or end


_ROWS = """
    SELECT service, device_type, software_version, address FROM access_record
    WHERE accessed_at >= ? AND accessed_at < ?
"""


def _read_rows(
    connection: Connection, begin: datetime, end: datetime, into: Tally
) -> None:
    rows = driver_sql(connection, _ROWS, (_spelled(begin), _spelled(end)))
    counter, source_of = into.counter, into.source_of
    located, country_of = into.located, into.country_of
    count = 0
    # The driver's cursor yields rows one by one; it is PEP 249 that does not say so.
    for service, device_type, version, address in rows:  # type: ignore[attr-defined]
        country = country_of(address) if located else ""
        found = counter(service, device_type, version, country)
        found.requests += 1
        if found.open:
            found.meet(source_of(address))
        count += 1
    into.records += count


def _spelled(instant: datetime) -> str:
    """Spell an instant as SQLite keeps it."""
    return instant.astimezone(UTC).isoformat(" ", "microseconds")[:26]


_BY_ADDRESS = """
    SELECT service, device_type, software_version, address, count(*) AS requests
    FROM access_record WHERE accessed_at >= :begin AND accessed_at < :end
    GROUP BY service, device_type, software_version, address
"""
_BY_GROUP = f"""
    SELECT service, device_type, software_version, sum(requests)::bigint AS requests,
      count(*) AS addresses, (array_agg(address))[1:{ADDRESSES_SHOWN}] AS shown
    FROM ({_BY_ADDRESS}) AS one GROUP BY service, device_type, software_version
"""  # noqa: S608 -- our own text and number
_ADDRESSES = text("""
    SELECT DISTINCT address FROM access_record
    WHERE accessed_at >= :begin AND accessed_at < :end AND service = :service
      AND device_type IS NOT DISTINCT FROM :device_type
      AND software_version IS NOT DISTINCT FROM :software_version
""")


def _read_groups(
    connection: Connection, begin: datetime, end: datetime, into: Tally
) -> None:
    slice_ = {"begin": begin, "end": end}
    if into.located:
        for row in connection.execute(text(_BY_ADDRESS), slice_):
            service, device_type, version, address, requests = row
            country = into.country_of(address)
            found = into.counter(service, device_type, version, country)
            into.add(found, requests, [address])
        return
    for row in connection.execute(text(_BY_GROUP), slice_):
        service, device_type, version, requests, addresses, shown = row
        found = into.counter(service, device_type, version)
        into.add(found, requests, shown)
        if found.open and addresses > len(shown):
            said = {
                "service": service,
                "device_type": device_type,
                "software_version": version,
            }
            rest = connection.execute(_ADDRESSES, slice_ | said)
            into.add(found, 0, rest.scalars())
