# SPDX-License-Identifier: Apache-2.0
"""What an operator types about promises to many PBXs: amnesties and graces."""

import json
from datetime import datetime

import click

from cic.schemas import AmnestyView, GraceView
from cic.service import amnesties
from cic.service.amnesties import AmnestyFacts
from cic.typed import days_of_grace, instant
from fleet.clock import rfc3339, utcnow
from fleet.ground import ground
from fleet.staff.roles import cli_actor
from fleet.web.commands import as_json, how_many, tell_of_more, why


@click.group("amnesty")
def amnesty() -> None:
    """Promise the whole fleet that nobody locks before an instant."""


@amnesty.command("grant")
@click.option("--until", required=True, type=instant, help="Nobody locks before.")
@why
@as_json
def grant_amnesty(*, until: datetime, reason: str, as_json: bool) -> None:
    """Promise that no PBX locks before an instant."""
    granted = amnesties.grant(until=until, reason=reason, by=cli_actor(), now=utcnow())
    _tell_amnesty(granted, as_json=as_json)


@amnesty.command("list")
@how_many
@as_json
def list_amnesties(*, limit: int, cursor: str | None, as_json: bool) -> None:
    """List all amnesties, the newest first."""
    page = amnesties.amnesties(limit=limit, cursor=cursor)
    if as_json:
        rows = AmnestyView(many=True).dump(page.items)
        click.echo(json.dumps({"items": rows, "next_cursor": page.next_cursor}))
        return
    for each in page.items:
        click.echo(_amnesty_line(each))
    tell_of_more(page.next_cursor)


@amnesty.command("withdraw")
@click.argument("amnesty_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
@why
@as_json
def withdraw_amnesty(*, amnesty_id: int, reason: str, as_json: bool) -> None:
    """Take the amnesty ID back; leases that were given keep what they say."""
    withdrawn = amnesties.withdraw(
        amnesty_id, reason=reason, by=cli_actor(), now=utcnow()
    )
    _tell_amnesty(withdrawn, as_json=as_json)


@click.group("grace")
def grace() -> None:
    """Say how long the PBXs of a device type may be silent."""


@grace.command("set")
@click.argument("device_type", metavar="TYPE")
@click.argument("days", metavar="DAYS|default", type=days_of_grace)
@why
@as_json
def set_grace(
    *, device_type: str, days: int | None, reason: str, as_json: bool
) -> None:
    """Give all PBXs of a TYPE a grace of DAYS, or the default."""
    amnesties.set_grace(
        device_type, grace_days=days, reason=reason, by=cli_actor(), now=utcnow()
    )
    _tell_graces(as_json=as_json)


@grace.command("list")
@as_json
def list_graces(*, as_json: bool) -> None:
    """List the grace of each device type, where it is not the default."""
    _tell_graces(as_json=as_json)


def _tell_graces(*, as_json: bool) -> None:
    graces, default = amnesties.graces(), ground().settings.grace_days
    if as_json:
        rows = GraceView(many=True).dump(graces)
        click.echo(json.dumps({"default_grace_days": default, "items": rows}))
        return
    for each in graces:
        click.echo(f"{each.device_type:<32} {each.grace_days:>5} days  {each.reason}")
    click.echo(f"{'all others':<32} {default:>5} days")


def _tell_amnesty(facts: AmnestyFacts, *, as_json: bool) -> None:
    told = json.dumps(AmnestyView().dump(facts)) if as_json else _amnesty_line(facts)
    click.echo(told)


def _amnesty_line(each: AmnestyFacts) -> str:
    ended = f"withdrawn {rfc3339(each.withdrawn_at)}" if each.withdrawn_at else ""
    until = rfc3339(each.until)
    return f"{each.id:>6}  until {until}  {ended:<30} {each.granted_by}  {each.reason}"
