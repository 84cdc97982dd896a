# SPDX-License-Identifier: Apache-2.0
"""What an operator types to sell vouchers, to count them and to check the books."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click
from click.decorators import FC

from fleet.clock import utcnow
from fleet.staff.roles import cli_actor
from fleet.web.commands import as_json
from voucher.schemas.desk import LookupView
from voucher.schemas.trade import (
    ActivationRequest,
    AllocationRequest,
    OutcomeView,
    SelectionRequest,
    TotalsView,
)
from voucher.service.desk import lookups
from voucher.service.trade import selections
from voucher.service.trade.reconciling import Difference, reconcile
from voucher.service.trade.selections import Outcome, Selection
from voucher.service.trade.totals import totals
from voucher.typed import ask_for_code, dry_run, read_by, why_if_said
from voucher.views import outcome_view, totals_view


def _selected(command: FC) -> FC:
    """Give a command the options that say which vouchers, and the usual ones."""
    for option in (
        as_json,
        why_if_said,
        dry_run,
        click.option("--last", type=int, help="Last number of a part of the batch."),
        click.option("--first", type=int, help="First number of a part of the batch."),
        click.option("--batch", "batch_id", type=int, help="A batch, by its number."),
        click.option("--voucher", "voucher_id", type=int, help="One, by its id."),
        click.option("--code", is_flag=True, help="One, by its code: it is asked for."),
    ):
        command = option(command)
    return command


@click.command("activate")
@_selected
@click.option("--order-reference", help="The order of the sale.")
def activate(*, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Activate what was sold: one voucher, a range, or a batch."""
    read = _read(ActivationRequest, said)
    order = read.pop("order_reference")
    _sell(selections.activate, read, said, as_json=as_json, order_reference=order)


@click.command("revoke")
@_selected
def revoke(*, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Make vouchers void for good, but for those that were redeemed."""
    read = _read(SelectionRequest, said)
    _sell(selections.revoke, read, said, as_json=as_json)


@click.command("allocate")
@_selected
@click.option("--dealer", required=True, help="Whose they are; empty: nobody's.")
def allocate(*, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Give vouchers to a dealer, or take them back from one."""
    read = _read(AllocationRequest, said)
    dealer = read.pop("dealer")
    _sell(selections.allocate, read, said, as_json=as_json, dealer=dealer)


@click.command("lookup")
@as_json
def look_up(*, as_json: bool) -> None:
    """Say what a voucher code or a release code is, and what became of it.

    The code is asked for, or read from standard input.
    """
    told = LookupView().dump(lookups.find(ask_for_code(), now=utcnow()))
    if as_json:
        click.echo(json.dumps(told))
        return
    if told["release"] is not None:
        released = told["release"]
        click.echo(
            f"release {released['sequence']} of {released['serial_number']}: "
            f"{released['quantity']} {released['function']}"
        )
    if told["voucher"] is not None:
        _tell_voucher(told["voucher"])


@click.command("totals")
@click.option("--product", "product_number", type=int, help="Of this product only.")
@click.option("--batch", "batch_id", type=int, help="Of this batch only.")
@click.option("--dealer", help="Of this dealer only.")
@as_json
def count(
    *,
    product_number: int | None,
    batch_id: int | None,
    dealer: str | None,
    as_json: bool,
) -> None:
    """Count vouchers by product, dealer and state."""
    found = totals(
        product_number=product_number, batch_id=batch_id, dealer=dealer, now=utcnow()
    )
    told = TotalsView().dump(totals_view(found))
    if as_json:
        click.echo(json.dumps(told))
        return
    for row in (*told["items"], told):
        named = f"product {row['product_number']}" if "dealer" in row else "all"
        states = ", ".join(f"{n} {state}" for state, n in row["states"].items() if n)
        whose = f" of {row['dealer']}" if row.get("dealer") else ""
        click.echo(f"{row['vouchers']:>8} {named}{whose}: {states or 'none'}")


@click.command("reconcile")
@as_json
def check_books(*, as_json: bool) -> None:
    """Compare vouchers and releases with the ledger; exit code 1 if they differ."""
    report = reconcile()
    if as_json:
        click.echo(json.dumps(asdict(report)))
    else:
        for each in report.differences:
            click.echo(_difference(each))
        click.echo(
            f"{report.vouchers} vouchers of {report.batches} batches and "
            f"{report.releases} releases: {len(report.differences) or 'no'} "
            f"difference{'' if len(report.differences) == 1 else 's'}"
        )
    if report.differences:
        raise click.exceptions.Exit(1)


def _tell_voucher(told: dict[str, Any]) -> None:
    click.echo(
        f"voucher {told['id']}: number {told['number']} of batch {told['batch_id']}, "
        f"product {told['product_number']} v{told['product_version']}, {told['state']}"
    )
    click.echo(told["why"])
    for each in told["history"]:
        beside = " ".join(filter(None, (each["actor"], each["reason"])))
        click.echo(f"  {each['happened_at']}  {each['kind']}  {beside}")
    for each in told["refusals"]:
        click.echo(f"  {each['happened_at']}  refused: {each['problem']}")


def _read(schema: type[SelectionRequest], said: dict[str, Any]) -> dict[str, Any]:
    options = {name: said[name] for name in said if name not in {"code", "dry_run"}}
    return read_by(schema, options | {"code": ask_for_code() if said["code"] else None})


def _sell(
    sell: Callable[..., Outcome],
    read: dict[str, Any],
    said: dict[str, Any],
    *,
    as_json: bool,
    **more: object,
) -> None:
    reason = read.pop("reason")
    outcome = sell(
        Selection(**read),
        reason=reason,
        by=cli_actor(),
        now=utcnow(),
        dry_run=said["dry_run"],
        **more,
    )
    told = OutcomeView().dump(outcome_view(outcome))
    if as_json:
        click.echo(json.dumps(told))
        return
    would = "would be " if said["dry_run"] else ""
    click.echo(f"{told['changed']} {would}changed, {told['unchanged']} were so before")
    for state, refused in told["refused"].items():
        click.echo(f"{refused} {would}left as they are: {state}")


def _difference(each: Difference) -> str:
    about = "" if each.batch_id is None else f"voucher {each.batch_id}/{each.number}"
    if each.release_id is not None:
        about = f"{about} release {each.release_id}".strip()
    return f"{about} {each.says}"
