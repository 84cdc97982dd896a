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
    device.release_key_version, key = release_key(
        device.serial_number, device.release_key_version
    )
    return key


def release_key(serial_number: str, version: int) -> tuple[int, bytes]:
    """Return the version of the master key and the PBX's key that it makes.

    ``version`` is what the locked row says; where that is 0, nothing yet, the
    caller writes the returned one into it. Raises ``MissingKey``.
    """
    keyring = ground().keyring
    master = keyring.get(PURPOSE, version) if version else keyring.current(PURPOSE)
    return master.version, device_release_key(master, serial_number)
