# SPDX-License-Identifier: Apache-2.0
"""The ways a PBX is not taken into the registry."""

from fleet.errors import Conflict


class DeviceAlreadyRegistered(Conflict):
    """The serial number is registered, with other facts or another secret."""

    code = "device-already-registered"
    reason = "A PBX with this serial number is registered already, as another one."


class MacAddressTaken(Conflict):
    """The MAC address belongs to another serial number."""

    code = "mac-address-taken"
    reason = "Another PBX is registered with this MAC address."
