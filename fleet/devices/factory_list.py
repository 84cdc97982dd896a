# SPDX-License-Identifier: Apache-2.0
"""Takes the factory list into the registry: all of it, or nothing.

The file is read three times. First for its shape and for what stands in it
twice; then against the registry, without holding anybody up; and only a list
without a single fault is read a third time and written, in one transaction that
judges each row again, since the registry may have changed meanwhile. Memory
stays flat: of the rows passed only two numbers are kept, by which repeated
serial numbers and MAC addresses are suspected.

A list may be imported again, and so may the next one that repeats half of it:
rows that are registered as they are stay untouched. What decides who a PBX is
(type, MAC address, secret) is never changed by a list, except the secret where
that is explicitly asked for.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice, pairwise
from typing import BinaryIO

from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from fleet.database import reading, transaction
from fleet.devices.factory_lines import FactoryRow, LineFault, read_rows
from fleet.devices.factory_verdicts import Decision, Judge, Verdict
from fleet.devices.models import Device
from fleet.devices.registry import keep_others_out
from fleet.errors import Conflict
from fleet.keys.keyring import Keyring
from fleet.staff import audit
from fleet.staff.roles import StaffMember

PASSES = 3

# Rows that are looked up, judged and written together.
_TOGETHER = 1000

Progress = Callable[[int], object]


class RegistryChanged(Conflict):
    """Somebody registered one of these PBXs while the list was being checked."""

    code = "registry-changed"
    reason = (
        "The registry was changed while the list was being imported. Nothing was "
        "imported; import it again to see what does not fit any more."
    )


@dataclass(frozen=True)
class FactoryListReport:
    """What an import has done, or would do, or why it did nothing.

    With any fault, nothing was changed and the counts are of the other rows.
    """

    rows: int
    added: int
    updated: int
    unchanged: int
    secrets_replaced: int
    dry_run: bool
    faults: tuple[LineFault, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether there was nothing wrong with the list."""
        return not self.faults


@dataclass(frozen=True)
class _Import:
    """The file, and how it is to be taken in."""

    stream: BinaryIO
    keyring: Keyring
    actor: StaffMember
    reason: str
    now: datetime
    replace_secrets: bool
    progress: Progress


@dataclass
class _Tally:
    """Counts while rows go by."""

    decisions: dict[Decision, int] = field(
        default_factory=lambda: dict.fromkeys(Decision, 0)
    )
    secrets_replaced: int = 0
    faults: list[LineFault] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.decisions[verdict.decision] += 1
        self.secrets_replaced += verdict.replaces_secret
        self.faults.extend(verdict.faults)


@dataclass
class _Shape:
    """What the first reading found."""

    rows: int = 0
    faults: list[LineFault] = field(default_factory=list)
    serials: "array[int]" = field(default_factory=lambda: array("q"))
    macs: "array[int]" = field(default_factory=lambda: array("q"))


def import_factory_list(  # noqa: PLR0913 -- the options of one command
    stream: BinaryIO,
    *,
    keyring: Keyring,
    actor: StaffMember,
    reason: str,
    now: datetime,
    dry_run: bool = False,
    replace_secrets: bool = False,
    progress: Progress = lambda _count: None,
) -> FactoryListReport:
    """Take in the list in ``stream``, which can be read from its start again.

    Returns a report that names every faulty line; with one, nothing is changed.
    ``progress`` is told the bytes read since it was last told, ``PASSES`` times
    the file in all. Raises ``RegistryChanged`` where somebody got in between.
    """
    task = _Import(stream, keyring, actor, reason, now, replace_secrets, progress)
    shape = _read_shape(task)
    suspects = _suspects(shape)
    with reading() as session:
        tally = _judge_all(task, session, suspects, write=False)
    report = _report(shape, tally, dry_run=dry_run)
    if dry_run or not report.accepted:
        return report
    with transaction() as session:
        keep_others_out(session)
        tally = _judge_all(task, session, suspects, write=True)
        if tally.faults:
            raise RegistryChanged
        report = _report(shape, tally, dry_run=False)
        _note(session, report, task)
    return report


def _read_shape(task: _Import) -> _Shape:
    shape = _Shape()
    for batch in _batches(task):
        for each in batch:
            shape.rows += 1
            if not isinstance(each, FactoryRow):
                shape.faults.extend(each)
                continue
            shape.serials.append(hash(each.serial_number))
            if each.mac_address is not None:
                shape.macs.append(hash(each.mac_address))
    return shape


def _suspects(shape: _Shape) -> frozenset[int]:
    """Return the hashes that occur twice: of all repeats, and of few others."""
    return frozenset(_repeated(shape.serials)) | frozenset(_repeated(shape.macs))


def _repeated(hashes: Iterable[int]) -> Iterator[int]:
    return (one for one, next_one in pairwise(sorted(hashes)) if one == next_one)


def _judge_all(
    task: _Import, session: Session, suspects: frozenset[int], *, write: bool
) -> _Tally:
    judge = Judge(session, task.keyring, suspects, replace_secrets=task.replace_secrets)
    tally = _Tally()
    for batch in _batches(task):
        rows = [each for each in batch if isinstance(each, FactoryRow)]
        verdicts = judge.judge(rows)
        for verdict in verdicts:
            tally.add(verdict)
        if write:
            _write(session, judge, verdicts, task)
    return tally


def _write(
    session: Session, judge: Judge, verdicts: list[Verdict], task: _Import
) -> None:
    added = [
        judge.new_columns(each) | {"registered_at": task.now}
        for each in verdicts
        if each.decision is Decision.ADDED
    ]
    updated = [
        judge.changed_columns(each)
        for each in verdicts
        if each.decision is Decision.UPDATED
    ]
    if added:
        session.execute(insert(Device), added)
    for each in verdicts:
        if each.ends_support_earlier and each.decision is Decision.UPDATED:
            _note_earlier_end(session, each, task)
    if updated:
        session.execute(update(Device), updated)


def _batches(task: _Import) -> Iterator[list[FactoryRow | list[LineFault]]]:
    rows = read_rows(task.stream)
    told = 0
    while batch := list(islice(rows, _TOGETHER)):
        yield batch
        # The stream is read ahead by a few kilobytes: near enough for a bar.
        reached = task.stream.tell()
        task.progress(reached - told)
        told = reached


def _report(shape: _Shape, tally: _Tally, *, dry_run: bool) -> FactoryListReport:
    return FactoryListReport(
        rows=shape.rows,
        added=tally.decisions[Decision.ADDED],
        updated=tally.decisions[Decision.UPDATED],
        unchanged=tally.decisions[Decision.UNCHANGED],
        secrets_replaced=tally.secrets_replaced,
        dry_run=dry_run,
        faults=tuple(sorted([*shape.faults, *tally.faults])),
    )


def _note_earlier_end(session: Session, verdict: Verdict, task: _Import) -> None:
    """Write down, for each PBX and beforehand, that its support ends earlier.

    What was sold for it is kept so long and no longer; the database brings no end
    forward of which the audit log does not know (migration 0003).
    """
    before, ends_on = verdict.known, verdict.row.support_ends_on
    audit.record(
        session,
        actor=task.actor,
        action="device.change",
        subject=f"device:{verdict.row.serial_number}",
        reason=task.reason,
        before={"support_ends_on": before.support_ends_on if before else None},
        after={"support_ends_on": ends_on},
        now=task.now,
    )


def _note(session: Session, report: FactoryListReport, task: _Import) -> None:
    if not report.added and not report.updated:
        return
    audit.record(
        session,
        actor=task.actor,
        action="devices.import",
        subject="devices:factory-list",
        reason=task.reason,
        before={},
        after={
            "added": report.added,
            "updated": report.updated,
            "unchanged": report.unchanged,
            "secrets_replaced": report.secrets_replaced,
        },
        now=task.now,
    )
