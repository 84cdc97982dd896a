# SPDX-License-Identifier: Apache-2.0
"""A reference PBX in a folder: its memory, and the data plate that the factory made.

``plate.json`` plays the read-only part of a real box: serial number, device secret,
where the vendor is, whom to trust. It is written once and never by the PBX's own life.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from fleet.pbx.factory import Firmware, Identity
from fleet.pbx.functions import Catalogue, Product, Stacking

PLATE: Final = "plate.json"


class NoPlate(Exception):  # noqa: N818 -- reads as what is missing
    """The folder holds no PBX yet, or one whose plate cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """What is fixed when a PBX leaves the factory.

    ``catalogue`` names a JSON file with the meaning of product numbers, such as
    ``{"17": {"function": "users", "stacking": "add"}}``; empty is none.
    """

    serial_number: str
    device_secret: str = field(repr=False)
    url: str
    ca_file: str
    root_key: str
    device_type: str
    software_version: str
    built_at: str
    catalogue: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the plate in ``folder``; raises ``NoPlate``."""
        try:
            return cls(**json.loads((folder / PLATE).read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise NoPlate(f"there is no PBX in {folder}") from error

    def write(self, folder: Path) -> None:
        """Put the plate into ``folder``, readable by its owner only."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(folder / PLATE, flags, 0o600), "w") as file:
            json.dump(asdict(self), file, indent=2)

    @property
    def identity(self) -> Identity:
        """Who the PBX is."""
        return Identity(
            serial_number=self.serial_number, device_secret=self.device_secret
        )

    @property
    def firmware(self) -> Firmware:
        """What runs on it; raises ``OSError`` or ``ValueError`` for a bad file."""
        root_key = load_pem_public_key(Path(self.root_key).read_bytes())
        if not isinstance(root_key, Ed25519PublicKey):
            raise ValueError("the root key is not Ed25519")  # noqa: TRY004 -- a bad file
        return Firmware(
            device_type=self.device_type,
            software_version=self.software_version,
            root_key=root_key,
            built_at=datetime.fromisoformat(self.built_at),
            catalogue=_read_catalogue(Path(self.catalogue)) if self.catalogue else {},
        )


def _read_catalogue(path: Path) -> Catalogue:
    try:
        return {
            int(number): Product(each["function"], Stacking(each["stacking"]))
            for number, each in json.loads(path.read_bytes()).items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the catalogue is not one") from error
