# SPDX-License-Identifier: Apache-2.0
"""What must be in the counters: worked out anew from the rules, in the plainest way.

Nothing is taken from the code under test. The rules: each UTC day and service for
itself; a group is device type x version, both of the catalogue or else ``other`` (an
unknown type knows no versions), both empty for the voucher service; a source is an
IPv4 address or the /48 of an IPv6 one; each group that is told has ten sources. A
smaller one loses its version, then its type; where that does not help, the smallest
neighbour joins in. A day of fewer than ten sources is held until its ISO week is over
by an hour. Then the held days of a service become a week's row where they have ten
sources together; else they join the largest group of the smallest day of that week
which is told; else they are counted without any time.
"""

import ipaddress
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, timedelta

from faults.retention.rows import Row

ENOUGH = 10
Words = tuple[str, str]
Counts = dict[tuple[str, date, str, str, str], int]
"""By period, first day, service, device type and version."""


def expected(
    rows: Iterable[Row], catalogue: Collection[Words], now: datetime
) -> Counts:
    """Return the counters of all ``rows``, each of a day that is over at ``now``."""
    days: dict[tuple[date, str], list[Row]] = {}
    for row in rows:
        day = row.accessed_at.astimezone(UTC).date()
        days.setdefault((day, row.service), []).append(row)
    counts: Counter[tuple[str, date, str, str, str]] = Counter()
    quiet: dict[tuple[date, str], list[Row]] = {}
    for (day, service), those in days.items():
        groups = _folded(those, catalogue)
        if groups is None:
            monday = day
            while monday.weekday() != 0:
                monday -= timedelta(days=1)
            ends = datetime(monday.year, monday.month, monday.day, tzinfo=UTC)
            if now >= ends + timedelta(days=7, hours=1):
                quiet.setdefault((monday, service), []).extend(those)
            else:
                counts["held", day, service, *_coarse(service)] += len(those)
        else:
            for words, members in groups.items():
                counts["day", day, service, *words] += len(members)
    for (monday, service), those in quiet.items():
        counts[_of_quiet(those, counts, monday, service)] += len(those)
    return dict(counts)


def _of_quiet(
    rows: list[Row], counts: Counts, monday: date, service: str
) -> tuple[str, date, str, str, str]:
    """Return which counter the quiet days of a week that is over are added to."""
    if _sources(rows) >= ENOUGH:
        return "week", monday, service, *_coarse(service)
    told: dict[date, Counts] = {}
    for key, count in counts.items():
        day = key[1]
        if key[0] == "day" and key[2] == service and 0 <= (day - monday).days < 7:
            told.setdefault(day, {})[key] = count
    if not told:
        return "ever", date(1970, 1, 1), service, *_coarse(service)
    smallest = told[min(sorted(told), key=lambda day: sum(told[day].values()))]
    return max(sorted(smallest), key=lambda key: smallest[key])


def _coarse(service: str) -> Words:
    return ("", "") if service == "voucher" else ("other", "other")


def _words(row: Row, catalogue: Collection[Words]) -> Words:
    if row.service == "voucher":
        return "", ""
    if not any(row.device_type == device_type for device_type, _ in catalogue):
        return "other", "other"
    if (row.device_type, row.software_version) not in catalogue:
        return str(row.device_type), "other"
    return str(row.device_type), str(row.software_version)


def _sources(rows: Iterable[Row]) -> int:
    found = set()
    for row in rows:
        address = ipaddress.ip_address(row.address)
        if address.version == 6:
            found.add(str(ipaddress.ip_network((address, 48), strict=False)))
        else:
            found.add(str(address))
    return len(found)


def _folded(
    rows: list[Row], catalogue: Collection[Words]
) -> dict[Words, list[Row]] | None:
    """Return each group that may be told, with its records; None where none may."""
    if _sources(rows) < ENOUGH:
        return None
    groups: dict[Words, list[Row]] = {}
    for row in rows:
        groups.setdefault(_words(row, catalogue), []).append(row)
    # Without its version, among those of its type; then without its type as well.
    for device_type in sorted({words[0] for words in groups}):
        inside = [words for words in groups if words[0] == device_type]
        empty = device_type == ""
        _join(groups, inside, ("", "") if empty else (device_type, "other"))
    _join(groups, list(groups), ("other", "other"))
    assert sum(len(members) for members in groups.values()) == len(rows)
    assert all(_sources(members) >= ENOUGH for members in groups.values())
    return groups


def _join(groups: dict[Words, list[Row]], inside: list[Words], into: Words) -> None:
    small = [words for words in inside if _sources(groups[words]) < ENOUGH]
    if not small:
        return
    rest = [words for words in inside if words not in small and words != into]
    rest.sort(key=lambda words: (len(groups[words]), words))
    members = [row for words in small for row in groups.pop(words)]
    members += groups.pop(into, [])
    if _sources(members) < ENOUGH and rest:
        members += groups.pop(rest[0])
    groups[into] = members


def over(rows: Iterable[Row], now: datetime) -> list[Row]:
    """Return the records of days that were over by an hour at ``now``."""
    ended = (now - timedelta(hours=1)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    return [row for row in rows if row.accessed_at < ended]
