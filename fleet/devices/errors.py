# SPDX-License-Identifier: Apache-2.0
"""The ways a PBX is not taken into the registry, not found in it, or no heir."""

from fleet.errors import Conflict, NotFound


class DeviceAlreadyRegistered(Conflict):
    """The serial number is registered, with other facts or another secret."""

    code = "device-already-registered"
    reason = "A PBX with this serial number is registered already, as another one."


class MacAddressTaken(Conflict):
    """The MAC address belongs to another serial number."""

    code = "mac-address-taken"
    reason = "Another PBX is registered with this MAC address."


class CannotReplace(Conflict):
    """The PBX that should take over cannot."""

    code = "replacement-impossible"
    reason = "The other PBX cannot take over: it is the same, blocked or replaced."


class UnknownDevice(NotFound):
    """No PBX with this serial number is registered."""

    code = "unknown-device"
    reason = "No PBX with this serial number is registered."
