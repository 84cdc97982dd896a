# SPDX-License-Identifier: Apache-2.0
"""What an operator types about the licence check: the same as its staff routes.

Whoever may run this is an operator; the audit log names them as ``cli:user``.
"""

import json
from collections.abc import Callable
from datetime import date, datetime

import click

from cic.amnesties_cli import amnesty, grace
from cic.schemas import DeviceDetailView, DeviceView
from cic.service import holds, listing
from cic.standing import Verdict
from cic.typed import day_or_instant, day_or_never, days_of_grace, if_given, noted
from cic.views import detail_view, device_view
from fleet.clock import utcnow
from fleet.devices.registry import UNCHANGED, Unchanged
from fleet.devices.serial_numbers import normalise_serial
from fleet.staff.roles import cli_actor
from fleet.web.commands import as_json, how_many, tell_of_more, why


@click.group("cic")
def cic() -> None:
    """Look after the licence check: standings, blocks, amnesties, graces."""


cic.add_command(amnesty)
cic.add_command(grace)


@cic.command("show")
@click.argument("serial")
@as_json
def show(*, serial: str, as_json: bool) -> None:
    """Show the PBX SERIAL: its standing, why, and what happened to it."""
    _tell(normalise_serial(serial), as_json=as_json)


@cic.command("list")
@click.option("--state", type=click.Choice([each.value for each in Verdict]))
@click.option(
    "--locks-before",
    type=day_or_instant,
    help="Only those still active that lock before: an instant, or a day (UTC).",
)
@click.option("--device-type", help="Only those of this device type.")
@click.option("--clone-suspected", is_flag=True, help="Only those that may be two.")
@click.option("--q", default="", help="Part of serial number, MAC, customer, note.")
@how_many
@as_json
def list_devices(  # noqa: PLR0913 -- the filters of the staff API's list
    *,
    state: str | None,
    locks_before: datetime | None,
    device_type: str | None,
    clone_suspected: bool,
    q: str,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List PBXs, or those that lock before an instant, the next first."""
    page = listing.devices(
        q=q,
        state=Verdict(state) if state else None,
        device_type=device_type,
        locks_before=locks_before,
        clone_suspected=clone_suspected or None,
        limit=limit,
        cursor=cursor,
        now=utcnow(),
    )
    rows = DeviceView(many=True).dump([device_view(each) for each in page.items])
    if as_json:
        click.echo(json.dumps({"items": rows, "next_cursor": page.next_cursor}))
        return
    for row in rows:
        click.echo(_line(row))
    tell_of_more(page.next_cursor)


@cic.command("block")
@click.argument("serial")
@why
@as_json
def block(*, serial: str, reason: str, as_json: bool) -> None:
    """Block the PBX SERIAL: it gets its verdict and updates, and no more."""
    _decide(holds.block, serial, reason=reason, as_json=as_json)


@cic.command("unblock")
@click.argument("serial")
@why
@as_json
def unblock(*, serial: str, reason: str, as_json: bool) -> None:
    """Lift the block of the PBX SERIAL; its silence is counted from now."""
    _decide(holds.unblock, serial, reason=reason, as_json=as_json)


@cic.command("reinitialise")
@click.argument("serial")
@why
@as_json
def reinitialise(*, serial: str, reason: str, as_json: bool) -> None:
    """Let the PBX SERIAL re-initialise itself again beyond its limit."""
    _decide(holds.open_reinitialisation, serial, reason=reason, as_json=as_json)


@cic.command("clear-suspicion")
@click.argument("serial")
@why
@as_json
def clear_suspicion(*, serial: str, reason: str, as_json: bool) -> None:
    """Take back that the PBX SERIAL may have a clone: it was a false alarm."""
    _decide(holds.clear_suspicion, serial, reason=reason, as_json=as_json)


@cic.command("change")
@click.argument("serial")
@click.option("--customer", callback=if_given(noted(200)))
@click.option("--notes", callback=if_given(noted(4000)))
@click.option(
    "--grace-days",
    metavar="N|default",
    callback=if_given(days_of_grace),
    help="Days of silence before it locks; default: as its device type.",
)
@click.option("--support-ends-on", metavar="DAY|never", callback=if_given(day_or_never))
@why
@as_json
def change(  # noqa: PLR0913 -- what may be changed
    *,
    serial: str,
    customer: str | Unchanged,
    notes: str | Unchanged,
    grace_days: int | Unchanged | None,
    support_ends_on: date | Unchanged | None,
    reason: str,
    as_json: bool,
) -> None:
    """Change what is known of the PBX SERIAL; what is left out stays as it is."""
    if {customer, notes, grace_days, support_ends_on} == {UNCHANGED}:
        raise click.UsageError("Say what to change; --help lists what there is.")
    serial_number = normalise_serial(serial)
    holds.change(
        serial_number,
        customer=customer,
        notes=notes,
        grace_days=grace_days,
        support_ends_on=support_ends_on,
        reason=reason,
        by=cli_actor(),
        now=utcnow(),
    )
    _tell(serial_number, as_json=as_json)


@cic.command("replace")
@click.argument("serial")
@click.option("--by", required=True, help="Serial number of the PBX that takes over.")
@why
@as_json
def replace(*, serial: str, by: str, reason: str, as_json: bool) -> None:
    """Let another PBX take the place of the PBX SERIAL, for good."""
    serial_number = normalise_serial(serial)
    holds.replace(
        serial_number,
        replaced_by=normalise_serial(by),
        reason=reason,
        by=cli_actor(),
        now=utcnow(),
    )
    _tell(serial_number, as_json=as_json)


def _decide(
    decide: Callable[..., None], serial: str, *, reason: str, as_json: bool
) -> None:
    serial_number = normalise_serial(serial)
    decide(serial_number, reason=reason, by=cli_actor(), now=utcnow())
    _tell(serial_number, as_json=as_json)


def _tell(serial_number: str, *, as_json: bool) -> None:
    told = DeviceDetailView().dump(detail_view(serial_number, now=utcnow()))
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(_line(told))
    click.echo(told["why"])
    for event in told["history"]:
        click.echo(f"  {event['happened_at']}  {event['kind']}  {event['detail']}")


def _line(row: dict[str, object]) -> str:
    return (
        f"{row['serial_number']:<32} {row['state']:<13} "
        f"{row['lock_at'] or '-':<20} {row['device_type']:<20} {row['customer']}"
    )
