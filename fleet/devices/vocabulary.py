# SPDX-License-Identifier: Apache-2.0
"""Which device types and software versions are words, rather than anybody's text.

What a PBX says of itself is free text. A feature that knows which of it is true
lends that here: the licence check lends what enough registered PBXs run, the
firmware service what the vendor released. Nobody needs to know who lends.
"""

from collections.abc import Callable, Collection
from typing import cast

from flask import Flask, current_app
from sqlalchemy import Connection

# A version that as many registered PBXs run names none of them.
LEAST_PBXS = 10

Lend = Callable[[Connection], Collection[tuple[str, str]]]
"""Returns pairs of device type and software version; "" for a type alone."""


def on_vocabulary(app: Flask, lend: Lend) -> None:
    """Let a feature of ``app`` vouch for device types and versions from now on."""
    app.extensions.setdefault("vocabulary", []).append(lend)


def versions(connection: Connection) -> set[tuple[str, str]]:
    """Return all that any feature of the application in context vouches for."""
    lenders = cast("list[Lend]", current_app.extensions.get("vocabulary", ()))
    return {pair for lend in lenders for pair in lend(connection)}
