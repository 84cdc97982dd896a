# SPDX-License-Identifier: Apache-2.0
"""Which secret keys the database was written with, and whether they are here.

A digest in the database is worth nothing without its key. If a key is lost,
making another would let everything look well while no PBX and no member of the
staff is recognised any more; so ``callhome init`` refuses, and the doctor says what
is missing.
"""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Engine, inspect, select

from fleet.devices.models import Device
from fleet.devices.release_keys import PURPOSE as RELEASE_MASTER
from fleet.devices.secret import PURPOSE as DEVICE_SECRET
from fleet.feature import Feature, KeyUse
from fleet.keys.keyring import Keyring
from fleet.staff.models import StaffToken
from fleet.staff.tokens import PURPOSE as STAFF_TOKEN

GROUND_USES = (
    KeyUse(DEVICE_SECRET, Device.secret_key_version),
    KeyUse(RELEASE_MASTER, Device.release_key_version),
    KeyUse(STAFF_TOKEN, StaffToken.key_version),
)


def uses_of(features: Sequence[Feature]) -> Sequence[KeyUse]:
    """Return all columns that refer to a secret key."""
    return (*GROUND_USES, *(use for each in features for use in each.key_uses))


def lost_keys(engine: Engine, keyring: Keyring, uses: Iterable[KeyUse]) -> list[str]:
    """Name each key that rows refer to and that is not here."""
    return [
        f"{purpose} version {version}"
        for purpose, version in _referred(engine, uses)
        if version not in keyring.versions(purpose)
    ]


def has_devices(engine: Engine) -> bool:
    """Whether any PBX is registered: then this is no new installation."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(Device.__tablename__):
            return False
        return connection.execute(select(Device.id).limit(1)).first() is not None


def _referred(engine: Engine, uses: Iterable[KeyUse]) -> Iterator[tuple[str, int]]:
    with engine.connect() as connection:
        tables = set(inspect(connection).get_table_names())
        for use in uses:
            if use.version.class_.__tablename__ not in tables:
                continue
            versions = connection.execute(select(use.version).distinct()).scalars()
            # 0 stands for "not yet".
            yield from ((use.purpose, each) for each in sorted(versions) if each)
