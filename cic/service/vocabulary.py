# SPDX-License-Identifier: Apache-2.0
"""The device types and versions that enough PBXs run for them to be no secret."""

from collections import Counter

from sqlalchemy import Connection, func, select

from cic.models import Activation
from fleet.devices.vocabulary import LEAST_PBXS


def confirmed(connection: Connection) -> set[tuple[str, str]]:
    """Return types and versions of at least ten PBXs that have checked with success.

    The type is the registry's; a type alone has an empty version. One PBX has one
    row, whatever it says how often, so that nobody makes a version common alone.
    """
    rows = connection.execute(
        select(Activation.device_type, Activation.software_version, func.count())
        .where(Activation.last_success_at.is_not(None))
        .group_by(Activation.device_type, Activation.software_version)
    )
    pbxs: Counter[tuple[str, str]] = Counter()
    for device_type, version, count in rows:
        pbxs[device_type, version] += count
        if version:
            pbxs[device_type, ""] += count
    return {pair for pair, count in pbxs.items() if count >= LEAST_PBXS}
