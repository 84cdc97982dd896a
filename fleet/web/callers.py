# SPDX-License-Identifier: Apache-2.0
"""How a route says who may call it.

Each view carries one ``Callers`` value, set by exactly one guard. An
application with a route that carries none does not start (``fleet.app``), so a
forgotten guard cannot reach production; the OpenAPI document prints the value,
so that everybody can see who may do what.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


class Kind(StrEnum):
    """The kinds of callers that protocol section 1 knows."""

    ANYONE = "anyone"
    DEVICE = "device"
    STAFF = "staff"
    OPERATOR_NETWORK = "operator network"


@dataclass(frozen=True)
class Callers:
    """Who may call a route; roles only for staff.

    ``readers`` are roles that may call it as well where it only reads.
    """

    kind: Kind
    roles: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()


def declare(view: Callable[P, T], callers: Callers) -> Callable[P, T]:
    """Mark ``view`` as guarded; raise ``TypeError`` if it already was."""
    if "callers" in view.__dict__:
        raise TypeError(f"{view.__qualname__} names its callers twice")
    view.__dict__["callers"] = callers
    return view


def callers_of(view: Callable[..., object]) -> Callers | None:
    """Return who may call ``view``, or nothing where it does not say."""
    return cast("Callers | None", view.__dict__.get("callers"))


def open_to_all(view: Callable[P, T]) -> Callable[P, T]:
    """Let anyone call ``view``; a certificate, if shown, is not looked at."""
    return declare(view, Callers(Kind.ANYONE))
