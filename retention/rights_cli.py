# SPDX-License-Identifier: Apache-2.0
"""What an operator types to answer whose data it is: the same as the staff routes.

A command for one right takes the request down and carries it out at once: for whoever
stands before the operator and has shown who they are. What takes longer is begun
with ``requests take`` and ended by number.
"""

import json
from typing import Any

import click
from click.decorators import FC
from marshmallow import Schema, ValidationError

from fleet.clock import utcnow
from fleet.database import transaction
from fleet.devices.registry import UNCHANGED
from fleet.devices.serial_numbers import normalise_serial
from fleet.staff.roles import cli_actor
from fleet.web.commands import as_json, how_many, tell_of_more
from fleet.web.paging import Page
from retention.schemas.rights import (
    ErasurePlanView,
    ExtensionRequest,
    FulfilledView,
    FulfilmentRequest,
    LiftingRequest,
    RefusalRequest,
    RightsRequestRequest,
    RightsRequestView,
    ShareView,
)
from retention.service import erasing, fulfilling, requests, sharing
from retention.service.fulfilling import Fulfilled, Wishes
from retention.service.requests import Kind, NewRequest, RequestFacts, State, Wanted
from retention.views import export_csv, fulfilled_view


def _asked(command: FC) -> FC:
    """Give a command for one right what a request needs: whose, verified how, why."""
    for option in (
        as_json,
        click.option("--reason", help="What the person wants, and why."),
        click.option(
            "--verified-by",
            help="How the person showed that the PBX is theirs.",
        ),
        click.argument("serial"),
    ):
        command = option(command)
    return command


@click.command("export")
@_asked
@click.option("--csv", "as_csv", is_flag=True, help="CSV, in the place of JSON.")
def export(*, as_csv: bool, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Print all that is stored about the PBX SERIAL, and note that it was asked."""
    if as_csv and as_json:
        raise click.UsageError("Either --csv or --json.")
    done = _at_once(Kind.PORTABILITY if as_csv else Kind.ACCESS, said)
    if as_csv and done.data is not None:
        click.echo(export_csv(done.data), nl=False)
        return
    click.echo(json.dumps(FulfilledView().dump(fulfilled_view(done))["data"]))


@click.command("rectify")
@_asked
@click.option("--customer", help="The customer's name as it is right.")
@click.option("--notes", help="The notes as they are right.")
def rectify(*, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Set right what is stored of the owner of the PBX SERIAL."""
    _tell_done(_at_once(Kind.RECTIFICATION, said), as_json=as_json)


@click.command("erase")
@_asked
@click.option(
    "--ends-service",
    is_flag=True,
    help="After the end of support: the PBX may lose its licence.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only say what would go, and what not; nothing else is needed then.",
)
def erase(*, as_json: bool, dry_run: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Erase what the law does not keep of the PBX SERIAL; print the receipt."""
    if dry_run:
        plan = erasing.plan(normalise_serial(said["serial"]), now=utcnow())
        _tell_receipt(ErasurePlanView().dump(erasing.told(plan)), as_json=as_json)
        return
    done = _at_once(Kind.ERASURE, said)
    _tell_receipt(dict(done.request.receipt or {}), as_json=as_json)


@click.command("restrict")
@_asked
def restrict(*, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Only keep the data of the PBX SERIAL, until the request is lifted."""
    _tell_done(_at_once(Kind.RESTRICTION, said), as_json=as_json)


@click.command("object")
@_asked
def object_to(*, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Leave the PBX SERIAL out of statistics, until the request is lifted."""
    _tell_done(_at_once(Kind.OBJECTION, said), as_json=as_json)


@click.command("share")
@_asked
@click.option("--recipient", required=True, help="Who may read.")
@click.option("--days", "expires_in_days", type=int, default=30, show_default=True)
def share(*, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Let somebody read what is stored about the PBX SERIAL; print the token once."""
    done = _at_once(Kind.SHARE, said)
    if as_json:
        _tell_done(done, as_json=True)
        return
    click.echo(done.token)


@click.group("requests", invoke_without_command=True)
@click.option("--state", type=click.Choice([each.value for each in State]))
@click.option("--kind", type=click.Choice([each.value for each in Kind]))
@click.option("--serial", help="Those about one PBX.")
@how_many
@as_json
@click.pass_context
def rights_requests(  # noqa: PLR0913 -- the filters of the staff API's list
    context: click.Context,
    *,
    state: str | None,
    kind: str | None,
    serial: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List what people ask, the overdue first; or answer one by its number."""
    if context.invoked_subcommand is not None:
        return
    wanted = Wanted(
        State(state) if state else None, Kind(kind) if kind else None, serial
    )
    page = requests.listed(wanted, limit=limit, cursor=cursor, now=utcnow())
    _tell_page(page, RightsRequestView(), as_json=as_json)


@rights_requests.command("take")
@click.option(
    "--kind",
    required=True,
    type=click.Choice([each.value for each in Kind]),
)
@_asked
@click.option("--received-at", help="An instant; without it, now.")
def take(*, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Take down what the owner of the PBX SERIAL asks, to be answered later."""
    _tell_request(_taken(Kind(said["kind"]), said), as_json=as_json)


@rights_requests.command("extend")
@click.argument("number", type=int)
@click.option("--because", required=True, help="What the person was told.")
@as_json
def extend(*, number: int, because: str, as_json: bool) -> None:
    """Take two more months for request NUMBER."""
    _read(ExtensionRequest(), {"because": because})
    done = requests.extend(number, because=because, by=cli_actor(), now=utcnow())
    _tell_request(done, as_json=as_json)


@rights_requests.command("refuse")
@click.argument("number", type=int)
@click.option("--because", required=True, help="What the person is told.")
@as_json
def refuse(*, number: int, because: str, as_json: bool) -> None:
    """Refuse request NUMBER."""
    _read(RefusalRequest(), {"because": because})
    done = requests.refuse(number, because=because, by=cli_actor(), now=utcnow())
    _tell_request(done, as_json=as_json)


@rights_requests.command("fulfil")
@click.argument("number", type=int)
@click.option("--answer", help="What the person is told.")
@click.option("--customer", help="Of a rectification.")
@click.option("--notes", help="Of a rectification.")
@click.option("--ends-service", is_flag=True, help="Of an erasure after support.")
@click.option("--recipient", help="Of a share.")
@click.option("--days", "expires_in_days", type=int, default=30, show_default=True)
@as_json
def fulfil(*, number: int, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Do what request NUMBER asks for."""
    wishes = _wishes(said)
    done = fulfilling.fulfil(number, wishes, by=cli_actor(), now=utcnow())
    _tell_done(done, as_json=as_json)


@rights_requests.command("lift")
@click.argument("number", type=int)
@click.option("--told", required=True, help="How and when the person was told before.")
@as_json
def lift(*, number: int, told: str, as_json: bool) -> None:
    """Lift the restriction, or end the objection, of request NUMBER."""
    _read(LiftingRequest(), {"told": told})
    done = fulfilling.lift(number, told=told, by=cli_actor(), now=utcnow())
    _tell_request(done, as_json=as_json)


@click.command("shares")
@click.argument("serial")
@click.option("--revoke", type=int, metavar="NUMBER", help="End this one first.")
@how_many
@as_json
def shares(
    *, serial: str, revoke: int | None, limit: int, cursor: str | None, as_json: bool
) -> None:
    """List who may read what is stored about the PBX SERIAL; or end a share."""
    serial_number = normalise_serial(serial)
    if revoke is not None:
        sharing.revoke(serial_number, revoke, by=cli_actor(), now=utcnow())
    page = sharing.listed(serial_number, limit=limit, cursor=cursor)
    _tell_page(page, ShareView(), as_json=as_json)


COMMANDS = (export, rectify, erase, restrict, object_to, share, rights_requests, shares)


def _at_once(kind: Kind, said: dict[str, Any]) -> Fulfilled:
    """Take a request down and fulfil it, both or neither."""
    wishes, now = _wishes(said), utcnow()
    with transaction():
        made = _taken(kind, said)
        return fulfilling.fulfil(made.id, wishes, by=cli_actor(), now=now)


def _taken(kind: Kind, said: dict[str, Any]) -> RequestFacts:
    _need(said)
    given = {
        "serial_number": said["serial"],
        "kind": kind.value,
        "verified_by": said["verified_by"],
        "reason": said["reason"],
    }
    if said.get("received_at"):
        given["received_at"] = said["received_at"]
    new = NewRequest(**_read(RightsRequestRequest(), given))
    return requests.take_down(new, by=cli_actor(), now=utcnow())


def _need(said: dict[str, Any]) -> None:
    """Let nothing be missing that a request needs; a dry run takes none down."""
    context = click.get_current_context()
    has_dry_run = any(each.name == "dry_run" for each in context.command.params)
    unless = "It is not needed with --dry-run." if has_dry_run else None
    for each in context.command.params:
        if each.name in {"verified_by", "reason"} and said[each.name] is None:
            raise click.MissingParameter(unless, ctx=context, param=each)


def _wishes(said: dict[str, Any]) -> Wishes:
    names = FulfilmentRequest().fields
    given = {
        name: value
        for name, value in said.items()
        if name in names and value is not None
    }
    read = _read(FulfilmentRequest(), given)
    return Wishes(
        answer=read.get("answer", ""),
        customer=read.get("customer", UNCHANGED),
        notes=read.get("notes", UNCHANGED),
        ends_service=read["ends_service"],
        recipient=read["recipient"],
        days=read["expires_in_days"],
    )


def _read(schema: Schema, given: dict[str, Any]) -> dict[str, Any]:
    """Read options under the rules of the staff API."""
    try:
        read: dict[str, Any] = schema.load(given)
    except ValidationError as fault:
        named = fault.normalized_messages()  # type: ignore[no-untyped-call] # of the library
        told = (f"{name}: {' '.join(map(str, why))}" for name, why in named.items())
        raise click.UsageError("; ".join(told)) from None
    return read


def _tell_page(page: Page[Any], schema: Schema, *, as_json: bool) -> None:
    rows = [schema.dump(each) for each in page.items]
    if as_json:
        click.echo(json.dumps({"items": rows, "next_cursor": page.next_cursor}))
        return
    for row in rows:
        click.echo(_share_line(row) if "recipient" in row else _line(row))
    tell_of_more(page.next_cursor)


def _tell_request(request: RequestFacts, *, as_json: bool) -> None:
    told = RightsRequestView().dump(request)
    click.echo(json.dumps(told) if as_json else _line(told))


def _tell_done(done: Fulfilled, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(FulfilledView().dump(fulfilled_view(done))))
        return
    _tell_request(done.request, as_json=False)
    if done.data is not None:
        click.echo("The data itself: callhome retention export, or --json.")
    if done.token is not None:
        click.echo(done.token)


def _tell_receipt(told: Any, *, as_json: bool) -> None:  # noqa: ANN401 -- JSON
    if as_json:
        click.echo(json.dumps(told))
        return
    if told["wholly"]:
        click.echo("The PBX is taken off the registry: it has no licence any more.")
    for each in told["erased"]:
        click.echo(f"gone: {each['what']:<36} {each['count']:>6}")
    for each in told["kept"]:
        click.echo(f"kept: {each['title']['en']}. {each['why']['en']}")
    if "audit_hash" in told:
        click.echo(f"audit log, entry {told['audit_entry']}: {told['audit_hash']}")


def _line(row: Any) -> str:  # noqa: ANN401 -- JSON
    late = "OVERDUE" if row["overdue"] else ""
    return (
        f"{row['id']:>6} {row['state']:<10} {row['kind']:<14} due {row['due_at']} "
        f"{row['serial_number'] or '(erased)':<32} {late}".rstrip()
    )


def _share_line(row: Any) -> str:  # noqa: ANN401 -- JSON
    state = "revoked" if row["revoked_at"] else f"until {row['expires_at']}"
    return f"{row['id']:>6} {row['recipient']:<40} {state}"
