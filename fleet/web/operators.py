# SPDX-License-Identifier: Apache-2.0
"""Admits the operator's own network, and nothing else, to a route.

A PBX is refused even from there, and so is whoever comes through a proxy that
does not say for whom: its address is no evidence of theirs.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from flask import Flask, current_app

from fleet.errors import Forbidden
from fleet.settings import Networks, Settings
from fleet.web.addresses import client_address, client_is_known
from fleet.web.callers import Callers, Kind, declare

P = ParamSpec("P")
T = TypeVar("T")


class OperatorNetworkOnly(Forbidden):
    """The caller is not in the operator's network, or is a PBX."""

    code = "operator-network-only"
    reason = "This is only for the operator's own network."


def register(
    app: Flask, settings: Settings, shows_certificate: Callable[[], bool]
) -> None:
    """Tell ``app`` the operator's networks, and how to tell a PBX."""
    app.extensions["operator_networks"] = settings.metrics_networks
    app.extensions["shows_certificate"] = shows_certificate


def operator_network_only(view: Callable[P, T]) -> Callable[P, T]:
    """Admit callers in ``PBX_METRICS_NETWORKS`` without a PBX's certificate."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        if not _admitted():
            raise OperatorNetworkOnly
        return view(*args, **kwargs)

    return declare(guarded, Callers(Kind.OPERATOR_NETWORK))


def _admitted() -> bool:
    extensions = current_app.extensions
    shows_certificate = cast("Callable[[], bool]", extensions["shows_certificate"])
    networks = cast("Networks", extensions["operator_networks"])
    return (
        client_is_known() and client_address() in networks and not shows_certificate()
    )
