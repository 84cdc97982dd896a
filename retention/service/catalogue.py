# SPDX-License-Identifier: Apache-2.0
"""The words that statistics may use: device types and versions somebody vouches for.

A client writes what it likes. A number of a telephone or a name could stand in a
version, and would stay for ever in a counter. So only what the vendor released, or
enough registered PBXs run, is named; all else is ``other``. A word that was once
vouched for stays, so that a version is named to its end.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from fleet.devices import vocabulary
from retention.folding import OTHER
from retention.models import CataloguedVersion


@dataclass(frozen=True)
class Catalogue:
    """The words, in memory: as many as the vendor has types and versions."""

    versions: frozenset[tuple[str, str]]
    types: frozenset[str]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> "Catalogue":
        """Make a catalogue of types and versions; a type alone has an empty version."""
        known = frozenset(pairs)
        return cls(
            versions=frozenset(each for each in known if each[1]),
            types=frozenset(device_type for device_type, _ in known),
        )

    def named(self, device_type: str | None, version: str | None) -> tuple[str, str]:
        """Return what may be told of a device type and version that a client sent."""
        if device_type is None or device_type not in self.types:
            return OTHER, OTHER
        if version is None or (device_type, version) not in self.versions:
            return device_type, OTHER
        return device_type, version


def read(connection: Connection) -> Catalogue:
    """Return the catalogue as it is."""
    rows = connection.execute(
        select(CataloguedVersion.device_type, CataloguedVersion.software_version)
    )
    return Catalogue.of((row.device_type, row.software_version) for row in rows)


def missing(connection: Connection) -> set[tuple[str, str]]:
    """Return what somebody vouches for that is not in the catalogue yet."""
    known = connection.execute(
        select(CataloguedVersion.device_type, CataloguedVersion.software_version)
    )
    return vocabulary.versions(connection) - {
        (row.device_type, row.software_version) for row in known
    }


def add(
    connection: Connection, pairs: Iterable[tuple[str, str]], *, now: datetime
) -> None:
    """Enter ``pairs``, which are not there yet, in the caller's transaction."""
    rows = [
        {"device_type": device_type, "software_version": version, "catalogued_at": now}
        for device_type, version in sorted(pairs)
    ]
    if rows:
        connection.execute(insert(CataloguedVersion), rows)
