# SPDX-License-Identifier: Apache-2.0
"""How the words of an operator's commands are read: options, instants, days."""

from collections.abc import Callable
from datetime import date, datetime
from typing import TypeVar

import click
from marshmallow import ValidationError

from cic.schemas import MOST_GRACE
from fleet.clock import parse_day_or_rfc3339, parse_rfc3339
from fleet.devices.registry import UNCHANGED, Unchanged
from fleet.web.fields import note

T = TypeVar("T")


def instant(text: str) -> datetime:
    """Read an instant with its zone, as it stands on the wire."""
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        raise click.BadParameter("no instant such as 2026-11-22T16:40:00Z") from None


def day_or_instant(text: str) -> datetime:
    """Read an instant, or a day, which is its begin in UTC."""
    try:
        return parse_day_or_rfc3339(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            "neither a day such as 2026-12-25 nor an instant such as "
            "2026-11-22T16:40:00Z"
        ) from None


def days_of_grace(text: str) -> int | None:
    """Read 1 to 3650 days; nothing stands for ``default``."""
    if text == "default":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST_GRACE:
        raise click.BadParameter(f"neither default nor 1 to {MOST_GRACE} days")
    return int(text)


def day_or_never(text: str) -> date | None:
    """Read a day; nothing stands for ``never``."""
    if text == "never":
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("neither never nor a day as 2026-12-25") from None


def noted(longest: int) -> Callable[[str], str]:
    """Return a reader of free text, under the rule of the staff API."""
    field = note(longest)

    def read(text: str) -> str:
        try:
            return str(field.deserialize(text))
        except ValidationError as fault:
            raise click.BadParameter(" ".join(map(str, fault.messages))) from None

    return read


def if_given(
    read: Callable[[str], T],
) -> Callable[[click.Context, click.Parameter, str | None], T | Unchanged]:
    """Return a callback for an option that leaves things as they are if not given."""

    def callback(
        _ctx: click.Context, _parameter: click.Parameter, text: str | None
    ) -> T | Unchanged:
        return UNCHANGED if text is None else read(text)

    return callback
