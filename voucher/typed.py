# SPDX-License-Identifier: Apache-2.0
"""How the words of an operator's commands are read, and how they see work go on."""

import sys
from collections.abc import Mapping
from typing import Any, NoReturn, cast

import click
from marshmallow import Schema, ValidationError
from tqdm import tqdm

why_if_said = click.option(
    "--reason", default="", help="Why; it is written to the audit log."
)

dry_run = click.option(
    "--dry-run", is_flag=True, help="Only say what would be done, change nothing."
)


def read_by(schema: type[Schema], said: Mapping[str, object]) -> dict[str, Any]:
    """Read options by the rules of the staff API; what is None was not said.

    Raises ``click.UsageError``, which names what is wrong.
    """
    given = {name: value for name, value in said.items() if value is not None}
    try:
        return cast("dict[str, Any]", schema().load(given))
    except ValidationError as fault:
        named = fault.normalized_messages()  # type: ignore[no-untyped-call] # of the library
        told = "; ".join(f"{name}: {_told(what)}" for name, what in named.items())
        raise click.UsageError(told) from None


def ask_for_code() -> str:
    """Ask for a voucher code, or read it from standard input.

    Never from the command line: other users of the machine see that.
    """
    return str(click.prompt("Code", err=True, prompt_suffix=": "))


def progress_bar(total: int, about: str) -> "tqdm[NoReturn]":
    """Return a bar on standard error, if somebody is looking."""
    return tqdm(total=total, desc=about, leave=False, disable=not sys.stderr.isatty())


def _told(what: object) -> str:
    if isinstance(what, Mapping):
        return ", ".join(f"{name}: {_told(each)}" for name, each in what.items())
    return " ".join(map(str, what)) if isinstance(what, list) else str(what)
