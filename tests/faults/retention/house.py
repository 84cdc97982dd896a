# SPDX-License-Identifier: Apache-2.0
"""An installation with a clock that a test moves, and its tables as they really are."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from faults.moved_clock import MovedClock
from faults.retention import oracle
from faults.retention.rows import GREATEST_AGE, Row, put
from service import CALLHOME, Service, end


@dataclass
class House:
    """A service that has perhaps not been started, its database and its clock."""

    service: Service
    clock: MovedClock
    url: str
    engine: sa.Engine = field(init=False)

    def __post_init__(self) -> None:
        """Connect to the database when it is asked."""
        self.engine = sa.create_engine(self.url, poolclass=sa.NullPool)

    @property
    def sqlite(self) -> bool:
        """Whether the database is the embedded one."""
        return self.engine.dialect.name == "sqlite"

    def put(self, rows: list[Row]) -> list[Row]:
        """Write access records past the service."""
        put(self.engine, rows)
        return rows

    def catalogue(self, *pairs: tuple[str, str]) -> None:
        """Name device types and versions, as if the vendor had released them."""
        words = {*pairs, *((device_type, "") for device_type, _ in pairs)}
        with self.engine.begin() as connection:
            for device_type, version in sorted(words):
                connection.execute(
                    sa.text(
                        "INSERT INTO catalogued_version VALUES (:type, :version, :at)"
                    ),
                    {
                        "type": device_type,
                        "version": version,
                        "at": "2026-01-01 00:00:00.000000+00:00",
                    }
                    if not self.sqlite
                    else {
                        "type": device_type,
                        "version": version,
                        "at": "2026-01-01 00:00:00.000000",
                    },
                )

    def catalogued(self) -> set[tuple[str, str]]:
        """Return what the catalogue names."""
        return {
            (row.device_type, row.software_version)
            for row in self._all("SELECT * FROM catalogued_version")
        }

    def rows(self) -> list[Row]:
        """Return all access records that are stored, whatever their age, in order."""
        found = self._all(f"SELECT {', '.join(Row._fields)} FROM access_record")
        return sorted(
            (Row(r[0], _instant(r[1]), r[2], r[3], r[4]) for r in found),
            key=lambda each: each.accessed_at,
        )

    def expired(self) -> int:
        """Return how many records are stored that nobody may read any more."""
        cutoff = self.clock.now() - GREATEST_AGE
        shown = cutoff.strftime("%Y-%m-%d %H:%M:%S.%f") if self.sqlite else cutoff
        with self.engine.connect() as connection:
            count: int = connection.execute(
                sa.text("SELECT count(*) FROM access_record WHERE accessed_at <= :c"),
                {"c": shown},
            ).scalar_one()
        return count

    def counts(self) -> oracle.Counts:
        """Return the counters."""
        found = self._all("SELECT * FROM access_count")
        assert all(row.country == "" for row in found)
        return {
            (
                row.period,
                _day(row.begins_on),
                row.service,
                row.device_type,
                row.software_version,
            ): row.requests
            for row in found
        }

    def seals(self) -> dict[tuple[date, str], tuple[int, int, int]]:
        """Return what the seals say: records, deleted, lost, by day and service."""
        return {
            (_day(row.day), row.service): (row.records, row.deleted, row.lost)
            for row in self._all("SELECT * FROM day_seal")
        }

    def ledger(self) -> list[tuple[int, str, dict[str, Any]]]:
        """Return the ledger: run, event, facts."""
        found = self._all("SELECT * FROM retention_entry ORDER BY id")
        return [(row.run, row.event, json.loads(row.facts)) for row in found]

    def take_lease(self, life: timedelta) -> None:
        """Hold the lease of runs, as a process that is under way elsewhere."""
        until = self.clock.now() + life
        shown = until.strftime("%Y-%m-%d %H:%M:%S.%f") if self.sqlite else until
        with self.engine.begin() as connection:
            connection.execute(
                sa.text("DELETE FROM job_lease WHERE name = 'retention'")
            )
            connection.execute(
                sa.text(
                    "INSERT INTO job_lease (name, holder, token, expires_at)"
                    " VALUES ('retention', 'another', 77, :until)"
                ),
                {"until": shown},
            )

    def cutoff(self) -> datetime:
        """Return up to what instant the last good run deleted."""
        return _instant(self._all("SELECT cutoff FROM retention_state")[0][0])

    def job_began(self, name: str) -> datetime:
        """Return when a job last began; a day of long ago if it never has."""
        found = self._all(f"SELECT began_at FROM job_run WHERE name = '{name}'")
        return _instant(found[0][0]) if found else datetime(1970, 1, 1, tzinfo=UTC)

    def move_to(self, url: str) -> None:
        """Take another database from now on."""
        self.engine.dispose()
        self.url = self.service.settings["PBX_DATABASE_URL"] = url
        self.engine = sa.create_engine(url, poolclass=sa.NullPool)

    def snapshot(self) -> tuple[Any, ...]:
        """Return all that retention could change."""
        return self.rows(), self.counts(), self.seals(), self.ledger()

    def is_held(self) -> bool:
        """Whether somebody is in the middle of a transaction that writes."""
        if self.sqlite:
            return self._is_locked("BEGIN IMMEDIATE")
        statement = (
            "SELECT name FROM job_lease WHERE name = 'retention' FOR UPDATE NOWAIT"
        )
        idle = self._all(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND (state LIKE 'idle in%' OR (state ="
            " 'active' AND backend_type = 'client backend'))"
        )[0][0]
        return bool(idle) or self._is_locked(statement)

    def _is_locked(self, statement: str) -> bool:
        arguments = {"connect_args": {"timeout": 0}} if self.sqlite else {}
        engine = sa.create_engine(self.url, poolclass=sa.NullPool, **arguments)
        line = engine.raw_connection()
        try:
            if self.sqlite:
                line.driver_connection.isolation_level = None  # type: ignore[union-attr]
            line.cursor().execute(statement)
        except Exception:  # noqa: BLE001 -- either driver's own
            return True
        else:
            return False
        finally:
            line.rollback()
            line.close()

    def _all(self, statement: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(sa.text(statement)))

    @contextmanager
    def jobs(self, count: int = 1) -> Iterator[list["JobsProcess"]]:
        """Run ``callhome jobs`` several times over."""
        started = [JobsProcess(self.service, number) for number in range(count)]
        try:
            yield started
        finally:
            for each in started:
                each.end()


class JobsProcess:
    """``callhome jobs`` in a process and with a log of its own."""

    def __init__(self, service: Service, number: int) -> None:
        """Start it."""
        self._file = service.folder / f"jobs-{number}-{time.monotonic_ns()}.log"
        with self._file.open("ab") as log:
            self.process = subprocess.Popen(
                [*CALLHOME, "jobs"],
                cwd=service.folder,
                env=service.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def logged(self) -> str:
        """Return all that it has said."""
        return self._file.read_text("utf-8")

    def works(self) -> bool:
        """Whether it has, as far as it knows, the lease of all jobs."""
        log = self.logged()
        return log.rfind("jobs: working") > log.rfind("the lease is lost")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)

    def end(self) -> None:
        """End it, stopped or not."""
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
        end(self.process)


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.02)


def begin_of_day(instant: datetime) -> datetime:
    """Return when its UTC day began."""
    return instant.replace(hour=0, minute=0, second=0, microsecond=0)


def _instant(value: Any) -> datetime:
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _day(value: Any) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else value


def check_all_is_right(house: House, rows: list[Row]) -> None:
    """Fail where a record, a counter or a seal is not what it must be after a run.

    ``rows`` are all that were there before; newer ones may be there as well.
    """
    now = house.clock.now()
    cutoff = now - GREATEST_AGE
    last = max(row.accessed_at for row in rows)
    found = house.rows()
    assert not [row for row in found if row.accessed_at <= cutoff]
    young = sorted(row for row in rows if row.accessed_at > cutoff)
    assert sorted(row for row in found if row.accessed_at <= last) == young
    over = oracle.over(rows, now)
    assert house.counts() == oracle.expected(over, house.catalogued(), now)
    wanted: dict[tuple[date, str], tuple[int, int, int]] = {}
    for each in over:
        key = (each.accessed_at.date(), each.service)
        records, deleted, lost = wanted.get(key, (0, 0, 0))
        is_gone = each.accessed_at <= cutoff
        wanted[key] = (records + 1, deleted + is_gone, lost)
    assert house.seals() == wanted


def effective_runs(house: House) -> list[int]:
    """Return the runs that had anything to do, by number."""
    return [run for run, event, _ in house.ledger() if event == "began"]
