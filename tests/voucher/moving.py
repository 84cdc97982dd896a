# SPDX-License-Identifier: Apache-2.0
"""What tests of moves have in common: genuine codes, and PBXs with none left."""

import codes_by_the_text as by_the_text
from making import release_rows

from fleet.database import transaction
from fleet.devices.registry import locked
from fleet.devices.release_keys import release_key_of
from voucher.models import ReleaseCode


def genuine(code: str, serial_number: str) -> by_the_text.Said:
    """Read a release code by the text of the protocol, as an offline PBX does."""
    with transaction() as session:
        key = release_key_of(locked(session, serial_number))
    found = by_the_text.read(code.replace("-", ""), serial_number, key)
    assert found is not None
    return found


def use_up(serial_number: str, sequence: int) -> None:
    """Give a PBX a release with a sequence number, as if it had had all before."""
    with transaction() as session:
        device = locked(session, serial_number)
        last = release_rows()[-1]
        columns = {
            each.name: getattr(last, each.name)
            for each in ReleaseCode.__table__.columns
            if each.name != "id"
        }
        session.add(
            ReleaseCode(
                **columns
                | {"device_id": device.id, "sequence": sequence, "voucher_id": None}
            )
        )
