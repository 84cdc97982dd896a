# SPDX-License-Identifier: Apache-2.0
"""What the processes of the retention benchmark do, and the records they do it to.

Each of ``WORK`` returns its figures: a run of retention, the same by bare SQL, and
somebody who writes meanwhile.
"""

import os
import re
import sys
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, text

from fleet.clock import utcnow
from fleet.database import stand_alone_engine, writing
from fleet.settings import Settings
from fleet.web.access_rooms import GREATEST_AGE, Rooms
from fleet.web.models import AccessRecord
from retention.models import CataloguedVersion
from retention.service import runs
from wsgi import create_app

MILLION = 1_000_000
SOURCES = 50_000  # a day
TYPES, VERSIONS = 4, 12
WRITER_PAUSE = 0.005
DAY = timedelta(days=1)

# One of ten asks for vouchers, and three of ten have IPv6; evenly over the day.
_TYPE = "'Type ' || (i % {types})"
_VERSION = "'2.' || (i / 7 % {versions}) || '.0'"
_V4 = "'83.' || (s / 65536) || '.' || (s / 256 % 256) || '.' || (s % 256)"
_FILL = """
    INSERT INTO access_record
      (service, accessed_at, address, device_type, software_version)
    SELECT CASE WHEN i % 10 = 0 THEN 'voucher' ELSE 'cic' END, {at},
      CASE WHEN s % 10 < 7 THEN {v4} ELSE '2001:db8:' || {hexed} || '::1' END,
      CASE WHEN i % 10 = 0 THEN NULL ELSE {type} END,
      CASE WHEN i % 10 = 0 THEN NULL ELSE {version} END
    FROM (SELECT i, i % {sources} * 7919 % {sources} AS s FROM {numbers}) AS each_one
"""
_DIALECTS = {
    "sqlite": {
        "at": "strftime('%Y-%m-%d %H:%M:%S.', :begin, (i * 86400 / {count}) ||"
        " ' seconds') || printf('%06d', i * 86400 % {count} * 1000000 / {count})",
        "hexed": "printf('%x', s)",
        "numbers": "(WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n"
        " WHERE i + 1 < {count}) SELECT i FROM n)",
    },
    "postgresql": {
        "at": "CAST(:begin AS timestamptz) + i * interval '1 day' / {count}",
        "hexed": "to_hex(s)",
        "numbers": "generate_series(0, {count} - 1) AS n(i)",
    },
}

# The same work, by the fewest statements: every count, the sources of every cell.
_SEAL = """
    INSERT INTO day_seal (day, service, records, threshold, sealed_at, deleted, lost)
    SELECT :day, service, count(*), 10, :now, count(*), 0 FROM access_record
    WHERE accessed_at >= :begin AND accessed_at < :end GROUP BY service
"""
_COUNT = """
    INSERT INTO access_count
      (period, begins_on, service, device_type, software_version, country, requests)
    SELECT 'day', :day, service, coalesce(device_type, ''),
      coalesce(software_version, ''), '', count(*) FROM access_record
    WHERE accessed_at >= :begin AND accessed_at < :end
    GROUP BY service, device_type, software_version HAVING count(DISTINCT address) >= 10
"""


def last_day() -> date:
    """Return the last day of which every record is over its age."""
    return (utcnow() - GREATEST_AGE).date() - DAY


def fill_day(engine: Engine, day: date) -> None:
    """Write a million records of ``day``, and what the catalogue knows of them."""
    known = _DIALECTS[engine.dialect.name]
    sizes: dict[str, object] = {
        "count": MILLION,
        "sources": SOURCES,
        "types": TYPES,
        "versions": VERSIONS,
    }
    parts = {
        "v4": _V4,
        "type": _TYPE.format(**sizes),
        "version": _VERSION.format(**sizes),
        **{name: part.format(**sizes) for name, part in known.items()},
    }
    begin = f"{day.isoformat()} 00:00:00"
    if engine.dialect.name == "postgresql":
        begin += "+00"
        for hour in range(24):
            with writing(engine) as connection:
                at = f"{day.isoformat()} {hour:02}:00:00+00"
                connection.execute(text("SELECT access_record_room(:at)"), {"at": at})
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM catalogued_version"))
        connection.execute(insert(CataloguedVersion), _catalogue())
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(_FILL.format(**parts, **sizes)), {"begin": begin})


def _catalogue() -> list[dict[str, object]]:
    now = utcnow()
    return [
        {
            "device_type": f"Type {kind}",
            "software_version": version,
            "catalogued_at": now,
        }
        for kind in range(TYPES)
        for version in ["", *(f"2.{each}.0" for each in range(VERSIONS))]
    ]


def work_ours(settings: Settings) -> dict[str, float]:
    """Do a run of retention."""
    app = create_app(settings)
    with app.app_context():
        before = _memory()
        began = time.monotonic()
        report = runs.run(by="cli", wait=None)
        seconds = time.monotonic() - began
    if report.overdue or report.lost or report.state != runs.OK:
        raise RuntimeError(f"the run was not whole: {report}")
    return {
        "seconds": seconds,
        "records": report.deleted,
        "before": before,
        "memory": _memory(),
    }


def work_bare(settings: Settings) -> dict[str, float]:
    """Seal and delete by bare SQL, in one transaction."""
    engine = stand_alone_engine(settings)
    now = utcnow()
    began = time.monotonic()
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        records = 0
        while (day := _oldest_day(connection)) and day <= last_day():
            begin, end = f"{day} 00:00:00", f"{day + DAY} 00:00:00"
            if engine.dialect.name == "postgresql":
                begin, end = f"{begin}+00", f"{end}+00"
            values = {"day": day, "begin": begin, "end": end}
            sealed = {**values, "now": now.isoformat(" ")}
            connection.execute(text(_SEAL), _plain(engine, sealed))
            connection.execute(text(_COUNT), _plain(engine, values))
            _bare_delete(connection, end, day)
            records += MILLION
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    return {"seconds": time.monotonic() - began, "records": records}


def _plain(engine: Engine, values: Mapping[str, object]) -> dict[str, object]:
    if engine.dialect.name == "postgresql":
        return dict(values)
    return {name: str(value) for name, value in values.items()}


def _oldest_day(connection: Connection) -> date | None:
    found = connection.execute(
        text("SELECT CAST(min(accessed_at) AS varchar) FROM access_record")
    ).scalar()
    return date.fromisoformat(found[:10]) if found else None


def _bare_delete(connection: Connection, end: str, day: date) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(
            text("DELETE FROM access_record WHERE accessed_at < :end"), {"end": end}
        )
        return
    for hour in range(24):
        connection.execute(text(f"DROP TABLE access_record_{day:%Y%m%d}{hour:02}"))


def work_write(settings: Settings) -> dict[str, float]:
    """Write one record after another until standard input ends."""
    engine = stand_alone_engine(settings)
    Rooms(engine).prepare([utcnow()])
    waits: list[float] = []
    os.set_blocking(sys.stdin.fileno(), False)
    print("ready", flush=True)
    while sys.stdin.buffer.read(1) is None:
        now = utcnow()
        row = {"service": "cic", "accessed_at": now, "address": "192.0.2.1"}
        began = time.monotonic()
        with writing(engine) as connection:
            connection.execute(insert(AccessRecord), [row])
        waits.append(time.monotonic() - began)
        time.sleep(WRITER_PAUSE)
    waits.sort()
    p99 = waits[int(len(waits) * 0.99)]
    return {"longest": waits[-1], "p99": p99, "count": len(waits)}


WORK = {"ours": work_ours, "bare": work_bare, "write": work_write}


def _memory() -> float:
    """Return the greatest memory that this process has had, in MB, and begin anew.

    Not by ``getrusage``: that remembers who started this process, too (Linux).
    """
    told = Path("/proc/self/status").read_text(encoding="ascii")
    (peak,) = re.findall(r"^VmHWM:\s+([0-9]+) kB$", told, re.MULTILINE)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return int(peak) / 1024
