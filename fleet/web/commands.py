# SPDX-License-Identifier: Apache-2.0
"""What the commands of all features have in common: options, and lists in parts."""

import click
from click.decorators import FC

from fleet.web.paging import MOST_ITEMS

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

why = click.option(
    "--reason", required=True, help="Why; it is written to the audit log."
)


def how_many(command: FC) -> FC:
    """Give a command the options of a list: how many, and where to go on."""
    most = click.option(
        "--limit", default=50, show_default=True, type=click.IntRange(1, MOST_ITEMS)
    )
    begin = click.option("--cursor", help="Where the list before ended.")
    return most(begin(command))


def tell_of_more(cursor: str | None) -> None:
    """Say how to go on with a list, if it does."""
    if cursor is not None:
        click.echo(f"There are more: --cursor {cursor}", err=True)
