# SPDX-License-Identifier: Apache-2.0
"""What an operator types about runs: how things stand, one now, and the proof."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import click
from tqdm import tqdm

from fleet.clock import utcnow
from fleet.web.commands import as_json, how_many, tell_of_more
from retention.errors import RunUnderWay
from retention.schemas.runs import (
    LedgerRunView,
    PlanView,
    RunView,
    StatusView,
)
from retention.service import byte_search, ledger, plans, runs, verifying
from retention.service import status as standing
from retention.service.asked import WELL
from retention.service.runs import Progress, RunReport

OVERDUE = 2
"""Exit code of ``status`` where something is overdue, or no run succeeds any more."""

Told = Mapping[str, Any]


@click.command("status")
@as_json
def status(*, as_json: bool) -> None:
    """Say how old the oldest of each category is; exit code 2 if any is overdue.

    The same where no run has succeeded for over an hour.
    """
    found = standing.status(utcnow())
    told: Told = StatusView().dump(found)
    if as_json:
        click.echo(json.dumps(told))
    else:
        for line in _status_lines(told):
            click.echo(line)
    if not found.healthy:
        sys.exit(OVERDUE)


@click.command("plan")
@as_json
def plan(*, as_json: bool) -> None:
    """Say what a run would seal and delete now, counted to the last record."""
    _tell_plan(as_json=as_json)


@click.command("run")
@click.option("--dry-run", is_flag=True, help="Only say what would be done, as plan.")
@as_json
def run(*, dry_run: bool, as_json: bool) -> None:
    """Seal every day that is over, and delete whatever is too old, now.

    Waits for a run that is under way elsewhere. Exit code 1 where something is left.
    """
    if dry_run:
        _tell_plan(as_json=as_json)
        return
    with _shown() as progress:
        report = _run(progress)
    told: Told = RunView().dump(report)
    click.echo(json.dumps(told) if as_json else _run_line(told))
    if report.state not in WELL:
        sys.exit(1)


@click.command("verify")
@click.option(
    "--search",
    "addresses",
    multiple=True,
    metavar="ADDRESS",
    help="Look for it in every stored byte, in any form; - reads lines of them. An "
    "address that has called within 14 days is there by right.",
)
@click.option(
    "--in",
    "more",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Search there, too: logs, dumps, a database's directory.",
)
@as_json
def verify(
    *, addresses: tuple[str, ...], more: tuple[Path, ...], as_json: bool
) -> None:
    """Prove that counters, ledger, schema and partitions are as promised.

    Exit code 1 if anything is not, or an address is found.
    """
    wanted = _read(addresses)
    faults = verifying.verify(utcnow())
    told: dict[str, Any] = {"faults": [asdict(each) for each in faults]}
    found = None
    if wanted:
        found = _search(wanted, [*verifying.places(), *more])
        told["search"] = {
            "files": found.files,
            "bytes": found.bytes,
            "found": [{"file": str(t.file), "form": t.form} for t in found.traces],
            "unread": [str(each) for each in found.unread],
        }
    if as_json:
        click.echo(json.dumps(told))
    else:
        for line in _verify_lines(told):
            click.echo(line)
    if faults or (found and found.traces):
        sys.exit(1)


@click.command("ledger")
@how_many
@as_json
def show_ledger(*, limit: int, cursor: str | None, as_json: bool) -> None:
    """List what runs have done, newest first."""
    page = ledger.runs(limit, cursor)
    rows = LedgerRunView(many=True).dump(page.items)
    if as_json:
        click.echo(json.dumps({"items": rows, "next_cursor": page.next_cursor}))
        return
    for row in rows:
        facts = row["facts"]
        counts = (f"{name}={facts[name]}" for name in sorted(facts) if facts[name])
        click.echo(
            f"{row['number']:>6}  {row['began_at']}  {row['state']:<10}  "
            f"{'  '.join(counts)}"
        )
    tell_of_more(page.next_cursor)


COMMANDS = (status, plan, run, verify, show_ledger)


def _run(progress: Callable[[Progress], object]) -> RunReport:
    try:
        return runs.run(by="cli", wait=timedelta(0), progress=progress)
    except RunUnderWay:
        click.echo("Another run is under way; waiting for it.", err=True)
        return runs.run(by="cli", wait=None, progress=progress)


@contextmanager
def _shown() -> Iterator[Callable[[Progress], object]]:
    """Show how far a run is, where somebody is looking."""
    with _bar("waiting") as bar:
        stages: list[tuple[str, int]] = []

        def show(progress: Progress) -> None:
            if bar.disable:
                return
            stage = (progress.stage, progress.total)
            if stages[-1:] != [stage]:
                stages.append(stage)
                bar.reset(progress.total)
            bar.set_description(_about(progress), refresh=False)
            bar.update(progress.done - bar.n)

        yield show


def _about(progress: Progress) -> str:
    return progress.stage if progress.day is None else f"sealing {progress.day}"


def _bar(about: str, total: int = 0, **more: Any) -> "tqdm[NoReturn]":  # noqa: ANN401 -- of tqdm
    quiet = not sys.stderr.isatty()
    return tqdm(total=total, desc=about, leave=False, disable=quiet, **more)


def _read(said: tuple[str, ...]) -> list[byte_search.Address]:
    """Read addresses; what is no address is not repeated: it may be half of one."""
    lines = [each for each in said if each != "-"]
    if "-" in said:
        lines += [each for each in sys.stdin.read().splitlines() if each.strip()]
    try:
        return [byte_search.read_address(each) for each in lines]
    except ValueError:
        raise click.UsageError("One of the addresses is none.") from None


def _search(wanted: list[byte_search.Address], places: list[Path]) -> byte_search.Found:
    size = byte_search.size_of(places) if sys.stderr.isatty() else 0
    with _bar("searching", size, unit="B", unit_scale=True) as bar:
        return byte_search.search(wanted, places, bar.update)


def _status_lines(told: Told) -> Iterator[str]:
    for each in told["categories"]:
        word = "OVERDUE" if each["late"] else "ok"
        oldest = each["oldest"] or "nothing stored"
        count = f", {each['overdue']} too old" if each["overdue"] else ""
        until = f"cutoff {each['cutoff']}{count}"
        yield f"{word:<8}{each['name']}: oldest {oldest}, {until}"
    last = told["last_success_at"] or "never"
    silent = told["silent_since"]
    yield f"{'SILENT' if silent else 'ok':<8}last run that did all: {last}"
    for name, says in (
        ("late", "came after the seal of their day"),
        ("lost", "were deleted before they could be counted"),
    ):
        yield f"{'':<8}{told['totals'][name]} records {says}"
    if told["totals"]["unbalanced"]:
        yield "WRONG   counters do not add up: callhome retention verify"
    if told["misdated"]:
        yield f"WRONG   {told['misdated']} records are from later than now"
    if told["clock"] != "ok":
        yield f"WRONG   this clock is {told['clock']}: callhome clock"


def _run_line(told: Told) -> str:
    if told["state"] == "idle":
        return "nothing to do"
    number = "" if told["number"] is None else f"run {told['number']}: "
    amiss = [each for each in ("late", "lost", "misdated", "overdue") if told[each]]
    said = [
        told["state"],
        f"sealed {told['sealed_records']} records of {told['sealed_days']} days",
        f"deleted {told['deleted']}",
        *(f"{told[each]} {each}" for each in amiss),
    ]
    if told["clock"] != "ok":
        said.append(f"clock: {told['clock']}")
    return number + ", ".join(said)


def _verify_lines(told: Told) -> Iterator[str]:
    for each in told["faults"]:
        yield f"WRONG   {each['about']}: {each['says']}"
    if not told["faults"]:
        yield "ok      counters, deletion, ledger, schema and partitions"
    searched = told.get("search")
    if searched is None:
        return
    for each in searched["found"]:
        yield f"FOUND   {each['file']} ({each['form']})"
    for path in searched["unread"]:
        yield f"UNREAD  {path}"
    size = f"{searched['files']} files ({searched['bytes']} bytes)"
    yield f"{'WRONG' if searched['found'] else 'ok':<8}searched: {size}"


def _tell_plan(*, as_json: bool) -> None:
    told: Told = PlanView().dump(plans.plan(utcnow()))
    if as_json:
        click.echo(json.dumps(told))
        return
    for line in _plan_lines(told):
        click.echo(line)


def _plan_lines(told: Told) -> Iterator[str]:
    for each in told["to_seal"]:
        yield f"seal    {each['day']}: {_by_service(each['records'])}"
    for monday in told["to_close"]:
        yield f"close   week of {monday}"
    if told["too_old"]:
        yield f"delete  until {told['cutoff']}: {_by_service(told['too_old'])}"
    if told["misdated"]:
        yield f"delete  {told['misdated']} from later than now"
    due = ("to_seal", "to_close", "too_old", "misdated")
    if not any(told[each] for each in due):
        yield "nothing to do"
    if told["clock"] != "ok":
        yield f"WRONG   this clock is {told['clock']}: callhome clock"


def _by_service(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {name}" for name, count in sorted(counts.items()))
