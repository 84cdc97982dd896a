# SPDX-License-Identifier: Apache-2.0
"""What a running application stands on: settings and keys.

Files are opened when they are first needed, so that ``callhome init`` and the
tools run before there are any; a web process asks for all of them at start and
refuses to start without (``fleet.app``).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import cast

from flask import Flask, current_app

from fleet.clock import utcnow
from fleet.keys.keyring import Keyring
from fleet.keys.signing import SigningKeys
from fleet.settings import Settings


@dataclass(frozen=True)
class Ground:
    """The settings of an application and what they lead to."""

    settings: Settings

    @cached_property
    def keyring(self) -> Keyring:
        """The versioned secrets outside the database."""
        return Keyring.open(self.settings.data_dir / "keys")

    @cached_property
    def signing(self) -> SigningKeys:
        """The keys that sign what a PBX must be able to trust later."""
        return SigningKeys.load(self.settings.data_dir / "keys", utcnow())


def register(app: Flask, settings: Settings) -> Ground:
    """Put ``app`` on its ground, and return it."""
    found = Ground(settings)
    app.extensions["ground"] = found
    return found


def ground() -> Ground:
    """Return what the application in context stands on."""
    return cast("Ground", current_app.extensions["ground"])
