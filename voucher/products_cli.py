# SPDX-License-Identifier: Apache-2.0
"""What an operator types about products."""

import json
from typing import Any

import click
from click.decorators import FC

from fleet.clock import utcnow
from fleet.staff.roles import cli_actor
from fleet.web.commands import as_json, how_many, tell_of_more, why
from voucher.functions import Stacking
from voucher.schemas.trade import (
    ProductDetailView,
    ProductRequest,
    ProductView,
    VersionRequest,
)
from voucher.service.trade import products
from voucher.service.trade.products import Made
from voucher.typed import read_by, why_if_said
from voucher.views import product_detail_view, product_view, terms

LANGUAGES = ("de", "en", "fr")


@click.group("product")
def product() -> None:
    """Say what is sold: products and their versions."""


def _terms(command: FC) -> FC:
    """Give a command the options that say what a product is."""
    for option in (
        click.option("--trial", is_flag=True, help="Once for each PBX."),
        click.option(
            "--stacking",
            type=click.Choice([each.value for each in Stacking]),
            help="add: several sum up; renew: they follow one another.",
        ),
        click.option(
            "--prerequisite",
            "prerequisites",
            multiple=True,
            help="A function that a PBX must have before; may be repeated.",
        ),
        click.option(
            "--device-type",
            "device_types",
            multiple=True,
            help="Only for PBXs of this type; may be repeated.",
        ),
        click.option("--duration-days", type=int, help="Without it, for ever."),
        click.option("--quantity", type=int, default=1, show_default=True),
        click.option("--unit", required=True, help='What is counted, or "feature".'),
        click.option("--function", required=True, help="What the PBX calls it."),
        click.option("--name-fr", required=True),
        click.option("--name-en", required=True),
        click.option("--name-de", required=True),
    ):
        command = option(command)
    return command


@product.command("add")
@click.option("--number", "product_number", type=int, required=True)
@_terms
@why_if_said
@as_json
def add(*, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Make a product; the very same again changes nothing."""
    read = read_by(ProductRequest, _named(said))
    number, reason = read.pop("product_number"), read.pop("reason")
    made = products.add(
        number, terms(**read), reason=reason, by=cli_actor(), now=utcnow()
    )
    _tell(made, as_json=as_json)


@product.command("version")
@click.argument("product_number", metavar="NUMBER", type=int)
@_terms
@why_if_said
@as_json
def add_version(*, product_number: int, as_json: bool, **said: Any) -> None:  # noqa: ANN401 -- options
    """Change the product NUMBER from now on; what was sold of it stays."""
    read = read_by(VersionRequest, _named(said))
    reason = read.pop("reason")
    made = products.add_version(
        product_number, terms(**read), reason=reason, by=cli_actor(), now=utcnow()
    )
    _tell(made, as_json=as_json)


@product.command("list")
@how_many
@as_json
def list_products(*, limit: int, cursor: str | None, as_json: bool) -> None:
    """List the present version of each product."""
    page = products.listed(limit=limit, cursor=cursor)
    rows = ProductView(many=True).dump([product_view(each) for each in page.items])
    if as_json:
        click.echo(json.dumps({"items": rows, "next_cursor": page.next_cursor}))
        return
    for row in rows:
        click.echo(_line(row))
    tell_of_more(page.next_cursor)


@product.command("show")
@click.argument("product_number", metavar="NUMBER", type=int)
@as_json
def show(*, product_number: int, as_json: bool) -> None:
    """Show the product NUMBER and all its versions."""
    found = products.versions(product_number)
    told = ProductDetailView().dump(product_detail_view(found))
    if as_json:
        click.echo(json.dumps(told))
        return
    for row in told["versions"]:
        click.echo(_line(row))


@product.command("retire")
@click.argument("product_number", metavar="NUMBER", type=int)
@why
@as_json
def retire(*, product_number: int, reason: str, as_json: bool) -> None:
    """Let nothing new be made of the product NUMBER; what was sold stays."""
    retired = products.retire(
        product_number, reason=reason, by=cli_actor(), now=utcnow()
    )
    row = ProductView().dump(product_view(retired))
    click.echo(json.dumps(row) if as_json else _line(row))


def _named(said: dict[str, Any]) -> dict[str, Any]:
    """Return the options as the staff API spells them."""
    names = {each: said.pop(f"name_{each}") for each in LANGUAGES}
    lists = ("device_types", "prerequisites")
    return said | {"names": names} | {each: [*said[each]] for each in lists}


def _tell(made: Made, *, as_json: bool) -> None:
    row = ProductView().dump(product_view(made.product))
    if as_json:
        click.echo(json.dumps(row))
        return
    click.echo(_line(row))
    if not made.is_new:
        click.echo("It was there already.", err=True)


def _line(row: dict[str, Any]) -> str:
    lasts = "for ever" if row["duration_days"] is None else f"{row['duration_days']} d"
    marks = [*(["trial"] if row["trial"] else [])]
    marks += ["retired"] if row["retired_at"] else []
    return (
        f"{row['product_number']:>5} v{row['version']:<3} {row['quantity']:>4} "
        f"{row['unit']:<10} {lasts:<10} {row['function']:<20} {row['names']['en']}"
        f"{'  (' + ', '.join(marks) + ')' if marks else ''}"
    )
