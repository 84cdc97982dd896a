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


class ProcessingRestricted(Conflict):
    """What is known of the PBX's owner may be kept, and nothing else be done with it.

    Somebody asked for that (GDPR, article 18).
    """

    code = "processing-restricted"
    reason = (
        "The processing of this PBX's data is restricted: customer and notes are "
        "changed only on a verified request of whom they are about."
    )


class UnknownDevice(NotFound):
    """No PBX with this serial number is registered."""

    code = "unknown-device"
    reason = "No PBX with this serial number is registered."
