# SPDX-License-Identifier: Apache-2.0
"""The table of ratios, as text that is Markdown, too."""

import platform
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from deploy.bench.measure import Plan, Table, Turn

NAMES = {
    "bare": "bare Flask route `{}`",
    "sqlite": "check, SQLite, synchronous FULL",
    "postgresql": "check, PostgreSQL, fsync on",
    "check": "licence check",
    "redemption": "redemption of a voucher",
}


def as_markdown(tables: Sequence[Table], plan: Plan) -> str:
    """Return the report."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. The machine is noisy: **read ratios, not numbers**.",
        "The reference of every ratio is the first row: a bare Flask route, or the",
        "licence check, on the same server, with as many threads, in the same round;",
        "the value is the median of the rounds, with the least and the greatest behind",
        "it.",
        "",
        f"* commit: {_commit()}",
        f"* machine: {_machine()}",
        f"* {plan.connections} connections kept, each a PBX with its own certificate",
        f"  and continuation token; {plan.rounds} rounds of {plan.seconds} s each;",
        f"  then {plan.rounds} rounds of {plan.visits} PBXs that connect once, never",
        "  seen before; one web process on one core, client and database on another",
        "* every answer is sent after its commit, which is flushed to the disk",
    ]
    for table in tables:
        lines += ["", f"## {table.title[0].upper()}{table.title[1:]}", ""]
        lines += _rows(table)
    return "\n".join(lines) + "\n"


def _rows(table: Table) -> list[str]:
    reference = table.turns[table.reference]
    times = f"x {table.reference}"
    rows = [
        f"| what | requests/s | {times} | server CPU µs | {times} | database CPU µs |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, turns in table.turns.items():
        rate = median(turn.rate for turn in turns)
        cpu = median(turn.cpu_microseconds for turn in turns)
        other = median(turn.database_microseconds for turn in turns)
        has_server = name == "postgresql" or "PostgreSQL" in table.title
        rows.append(
            f"| {NAMES[name]} | {rate:,.0f} | {_ratio(turns, reference, _rate)} "
            f"| {cpu:,.0f} | {_ratio(turns, reference, _cpu)} "
            f"| {f'{other:,.0f}' if has_server else '-'} |"
        )
    return rows


def _rate(turn: Turn) -> float:
    return turn.rate


def _cpu(turn: Turn) -> float:
    return turn.cpu_microseconds


def _ratio(
    turns: Sequence[Turn], reference: Sequence[Turn], of: Callable[[Turn], float]
) -> str:
    if turns is reference:
        return "1"
    ratios = sorted(
        of(turn) / of(bare) for turn, bare in zip(turns, reference, strict=True)
    )
    return f"**{median(ratios):.2f}** ({ratios[0]:.2f}-{ratios[-1]:.2f})"


def _commit() -> str:
    here = Path(__file__).parent
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607 -- whichever git
            cwd=here,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _machine() -> str:
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = Path("/proc/cpuinfo").read_text(encoding="utf-8").count("processor\t")
    system = f"{platform.system()} {platform.release()}"
    return f"{cores} cores, {model}, {system}, Python {platform.python_version()}"
