# SPDX-License-Identifier: Apache-2.0
"""The key that the release codes of one PBX are made with.

It is handed to the PBX at its initialisation and used for every voucher that is
redeemed for it, which may be before: whichever comes first decides which master
key it is derived from, for good.
"""

from fleet.devices.models import Device
from fleet.ground import ground
from fleet.keys.keyring import device_release_key

PURPOSE = "release-master"


def release_key_of(device: Device) -> bytes:
    """Return the release-code key of ``device``, 32 bytes, in its transaction.

    The row must be locked: the first use notes the version of the master key.
    Raises ``MissingKey`` where that key is not here.
    """
    keyring = ground().keyring
    if not device.release_key_version:
        device.release_key_version = keyring.current(PURPOSE).version
    master = keyring.get(PURPOSE, device.release_key_version)
    return device_release_key(master, device.serial_number)
