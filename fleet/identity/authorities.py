# SPDX-License-Identifier: Apache-2.0
"""The device CAs of a running application: the one that issues, and all trusted."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from flask import Flask, current_app

from fleet.identity.authority import DeviceAuthority
from fleet.identity.trust import TrustAnchors
from fleet.settings import Settings


@dataclass(frozen=True)
class Authorities:
    """The folder of the device CAs; its files are opened when first needed."""

    folder: Path

    @cached_property
    def issuing(self) -> DeviceAuthority:
        """The CA that issues certificates to PBXs, and the ones before it."""
        return DeviceAuthority.load(self.folder)

    @cached_property
    def trust(self) -> TrustAnchors:
        """The device CAs that are trusted: two during a roll-over."""
        return TrustAnchors.load(self.folder)


def register(app: Flask, settings: Settings) -> Authorities:
    """Give ``app`` the device CAs of ``settings``, and return them."""
    found = Authorities(settings.data_dir / "device-ca")
    app.extensions["authorities"] = found
    return found


def authorities() -> Authorities:
    """Return the device CAs of the application in context."""
    return cast("Authorities", current_app.extensions["authorities"])
