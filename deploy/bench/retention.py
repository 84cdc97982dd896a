# SPDX-License-Identifier: Apache-2.0
"""Measures a run of retention against the same work as bare SQL.

Whole days of access records that are over their age and not yet sealed are sealed and
deleted: once by ``retention.service.runs.run``, once by the fewest statements that do
it, each on a copy of the same database, in a process of its own, in turns. A third
copy is worked on while somebody else writes single records, as the access log does.
Alone: ``python -m deploy.bench.retention``; then only its part of the report is
written anew.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import text

from deploy.bench.places import CLIENT_CORE, SERVER_CORE, Postgres, on_core
from deploy.bench.retention_work import (
    MILLION,
    SOURCES,
    TYPES,
    VERSIONS,
    WORK,
    fill_day,
    last_day,
)
from fleet.clock import utcnow
from fleet.database import stand_alone_engine
from fleet.installation import initialise
from fleet.settings import Settings

RESULT = Path(__file__).parent.parent / "benchmarks.md"
TITLE = "## Retention: sealed and deleted"
KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}

IDLE_SECONDS = 3.0


@dataclass(frozen=True)
class Plan:
    """How much: millions of records, each a day; how often the first is repeated."""

    millions: Sequence[int] = (1, 4)
    rounds: int = 3


@dataclass
class Figures:
    """What was measured on one database, by millions of records; lists by round."""

    kind: str
    bare: dict[int, list[float]] = field(default_factory=dict)
    ours: dict[int, list[float]] = field(default_factory=dict)
    memory: dict[int, float] = field(default_factory=dict)
    before: dict[int, float] = field(default_factory=dict)
    waits: dict[int, list[float]] = field(default_factory=dict)
    idle: list[float] = field(default_factory=list)


class Stage:
    """One installation under ``folder`` on one kind of database, and its copies."""

    def __init__(self, folder: Path, kind: str, postgres: Postgres) -> None:
        """Make the installation, with a catalogue and no records."""
        self._folder = folder
        self._postgres = postgres
        self._kind = kind
        self._number = 0
        self._data_dir = folder / "base"
        self._name = "base" if kind == "postgresql" else ""
        initialise(self._settings(self._data_dir, self._name, make=True))

    def _settings(self, data_dir: Path, name: str, *, make: bool = False) -> Settings:
        if self._kind == "sqlite":
            return Settings(data_dir=data_dir)
        url = self._postgres.create_database(name) if make else self._postgres.url(name)
        return Settings(data_dir=data_dir, database_url=url)

    def fill(self, millions: int, already: int) -> None:
        """Add days of a million records each, from ``already`` to ``millions``."""
        engine = stand_alone_engine(self._settings(self._data_dir, self._name))
        for number in range(already, millions):
            fill_day(engine, last_day() - timedelta(days=number))
        if engine.dialect.name == "sqlite":
            with engine.connect() as connection:
                connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        else:
            with engine.connect() as plain:
                line = plain.execution_options(isolation_level="AUTOCOMMIT")
                line.execute(text("VACUUM (ANALYZE) access_record"))
                line.execute(text("CHECKPOINT"))
        engine.dispose()

    def copy(self) -> dict[str, str]:
        """Copy the installation; return the settings that lead to the copy."""
        self._number += 1
        data_dir = self._folder / f"copy-{self._number}"
        shutil.copytree(self._data_dir, data_dir)
        found = {"PBX_DATA_DIR": str(data_dir)}
        if self._kind == "postgresql":
            name = f"copy_{self._number}"
            found["PBX_DATABASE_URL"] = self._postgres.create_database(name, self._name)
        os.sync()  # what the copy left to be written is not the next one's work
        return found

    def forget(self) -> None:
        """Delete the copies."""
        for number in range(1, self._number + 1):
            shutil.rmtree(self._folder / f"copy-{number}", ignore_errors=True)
            if self._kind == "postgresql":
                self._postgres.drop_database(f"copy_{number}")
        self._number = 0


# Who measures them.


def _process(
    what: str, settings: Mapping[str, str], cores: set[int]
) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PBX_")}
    with on_core(cores):
        return subprocess.Popen(  # noqa: S603 -- our own
            [sys.executable, "-m", "deploy.bench.retention", "--work", what],
            env=environment | dict(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def _result(process: subprocess.Popen[str]) -> dict[str, Any]:
    told, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a part of the benchmark ended with {process.returncode}")
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def _writer(settings: Mapping[str, str]) -> subprocess.Popen[str]:
    writer = _process("write", settings, CLIENT_CORE)
    if writer.stdout is not None:
        writer.stdout.readline()
    return writer


def measured(plan: Plan) -> list[Figures]:
    """Measure on both databases."""
    # Not in a folder that others cannot enter: PostgreSQL runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="callhome-bench-"))
    folder.chmod(0o755)
    with ExitStack() as stack, on_core(CLIENT_CORE):
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = Postgres(folder / "postgres")
        stack.callback(postgres.stop)
        return [_on(kind, plan, folder / kind, postgres) for kind in KINDS]


def _on(kind: str, plan: Plan, folder: Path, postgres: Postgres) -> Figures:
    stage = Stage(folder, kind, postgres)
    figures = Figures(kind)
    already = 0
    for millions in sorted(plan.millions):
        stage.fill(millions, already)
        rounds = plan.rounds if not already else 1
        already = millions
        for _ in range(rounds):
            bare = _result(_process("bare", stage.copy(), SERVER_CORE))
            ours = _result(_process("ours", stage.copy(), SERVER_CORE))
            figures.bare.setdefault(millions, []).append(bare["seconds"] / millions)
            figures.ours.setdefault(millions, []).append(ours["seconds"] / millions)
            if not bare["records"] == ours["records"] == millions * MILLION:
                raise RuntimeError("not the same work")
            figures.memory[millions] = ours["memory"]
            figures.before[millions] = ours["before"]
        settings = stage.copy()
        writer = _writer(settings)
        if not figures.idle:
            time.sleep(IDLE_SECONDS)
            found = _result(writer)
            figures.idle = [found["longest"], found["p99"]]
            writer = _writer(settings)
        _result(_process("ours", settings, SERVER_CORE))
        found = _result(writer)
        figures.waits[millions] = [found["longest"], found["p99"]]
        stage.forget()
    return figures


_HEAD = (
    "| database | records | s per million, bare SQL | retention run | x bare "
    "| peak memory of the run, MB (before it) | longest wait of a writer, ms (p99) |"
)


def section(found: Sequence[Figures], plan: Plan) -> str:
    """Return the part of the report, as Markdown."""
    greatest = max(plan.millions)
    lines = [
        TITLE,
        "",
        f"Measured {utcnow():%Y-%m-%d} (`python -m deploy.bench.retention`). Days of a",
        f"million records each, from {SOURCES:,} sources, {TYPES} device types and",
        f"{VERSIONS} versions, over their age and not yet sealed. *Bare SQL* is one",
        "transaction: `INSERT ... SELECT ... GROUP BY` with `count(DISTINCT address)`,",
        "then `DELETE` (SQLite, `secure_delete`) or `DROP TABLE` of the hours",
        "(PostgreSQL); every writer waits for all of it. Ratios are of neighbours, the",
        f"median of {plan.rounds} rounds with the least and the greatest behind it.",
        "Waits are of another process that writes one record after another.",
        "",
        _HEAD,
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in found:
        name = KINDS[each.kind]
        longest, p99 = each.idle
        lines.append(
            f"| {name} | none: nobody else works | - | - | - | - "
            f"| {longest * 1000:.0f} ({p99 * 1000:.0f}) |"
        )
        lines += [_row(name, each, millions) for millions in sorted(each.ours)]
    lines += ["", f"`--millions 1,20` measures more than {greatest} million records."]
    return "\n".join(lines) + "\n"


def _row(name: str, found: Figures, millions: int) -> str:
    bare, ours = found.bare[millions], found.ours[millions]
    ratios = sorted(b / a for a, b in zip(bare, ours, strict=True))
    longest, p99 = found.waits[millions]
    return (
        f"| {name} | {millions} M | {median(bare):.2f} | {median(ours):.2f} "
        f"| **{median(ratios):.2f}** ({ratios[0]:.2f}-{ratios[-1]:.2f}) "
        f"| {found.memory[millions]:.0f} ({found.before[millions]:.0f}) "
        f"| **{longest * 1000:.0f}** ({p99 * 1000:.0f}) |"
    )


def _sizes(said: str) -> list[int]:
    return [int(each) for each in said.split(",")]


def main() -> None:
    """Measure, print the table, and put it into ``deploy/benchmarks.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=_sizes, default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        print(json.dumps(WORK[chosen.work](Settings.read(os.environ))))
        return
    plan = Plan(chosen.millions, chosen.rounds)
    told = section(measured(plan), plan)
    print(told)
    before = chosen.output.read_text("utf-8") if chosen.output.exists() else ""
    kept = before.partition(TITLE)[0].rstrip("\n")
    chosen.output.write_text(f"{kept}\n\n{told}", encoding="utf-8")


if __name__ == "__main__":
    main()
