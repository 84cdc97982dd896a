# SPDX-License-Identifier: Apache-2.0
"""What an operator types about counters: as a table, JSON, CSV or a picture."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from fleet.web.commands import as_json
from retention import charts
from retention.schemas.statistics import SERVICES, StatisticsView
from retention.service.statistics import (
    Group,
    Statistics,
    Wanted,
    as_csv,
)
from retention.service.statistics import statistics as counted

_DAY = click.DateTime(formats=["%Y-%m-%d"])


class _Groups(click.ParamType[tuple[Group, ...]]):
    """Groups with commas between them."""

    name = "group,..."

    def convert(
        self,
        value: str | tuple[Group, ...],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[Group, ...]:
        """Read the names; fail as click does for one that is none."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(Group(each.strip()) for each in value.split(",") if each)
        except ValueError:
            self.fail(f"some of these, with commas: {', '.join(Group)}", param, ctx)


@click.command("statistics")
@click.option("--service", type=click.Choice(SERVICES), help="Of this one only.")
@click.option("--from", "since", type=_DAY, help="The first day, in UTC.")
@click.option("--to", "until", type=_DAY, help="The last day, itself counted.")
@click.option(
    "--by",
    "group_by",
    type=_Groups(),
    default=(Group.DAY,),
    help="day, week or month; service, device_type, software_version, country. "
    "Several with commas; the day if it is not said.",
)
@as_json
@click.option("--csv", "csv", is_flag=True, help="Print CSV.")
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Draw a picture into FILE.",
)
def statistics(  # noqa: PLR0913 -- one for each option
    *,
    service: str | None,
    since: datetime | None,
    until: datetime | None,
    group_by: tuple[Group, ...],
    as_json: bool,
    csv: bool,
    svg: Path | None,
) -> None:
    """Count requests by day, version, country or the like.

    Anonymous counters of days that are over. Days with few sources are counted once
    their week is over: with it, with another day of it, or undated.
    """
    if sum([as_json, csv, svg is not None]) > 1:
        raise click.UsageError("One of --json, --csv and --svg.")
    found = counted(
        Wanted(
            group_by,
            service=service,
            since=since.date() if since else None,
            until=until.date() if until else None,
        )
    )
    if svg is not None:
        svg.write_text(charts.picture(found), encoding="utf-8")
        click.echo(f"drawn: {svg}")
    elif csv:
        click.echo(as_csv(found), nl=False)
    elif as_json:
        click.echo(json.dumps(StatisticsView().dump(found)))
    else:
        _print(found)


def _print(found: Statistics) -> None:
    rows = [(*map(str, found.wanted.group_by), "count")]
    rows += [(*each.named, f"{each.count:,}") for each in found.items]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo(_line(row, widths))
    if found.weeks_cut:
        weeks = ", ".join(found.weeks_cut)
        click.echo(f"Without the quiet days of {weeks}: not whole.", err=True)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    named = [each.ljust(width) for each, width in zip(row, widths, strict=True)][:-1]
    return "  ".join([*named, row[-1].rjust(widths[-1])])
