# SPDX-License-Identifier: Apache-2.0
"""What is fixed when a PBX leaves the factory."""

from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fleet.pbx.functions import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the factory wrote into the box."""

    serial_number: str
    device_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """What the vendor built into the firmware.

    ``issuer`` is the ``iss`` that documents must carry, where the vendor pins one.
    ``catalogue`` says what the product numbers of release codes mean. A PBX with a
    network needs none: signed entitlements name the functions themselves.
    """

    device_type: str
    software_version: str
    root_key: Ed25519PublicKey
    built_at: datetime
    issuer: str | None = None
    catalogue: Catalogue = field(default_factory=dict)
