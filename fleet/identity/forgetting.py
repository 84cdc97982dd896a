# SPDX-License-Identifier: Apache-2.0
"""What becomes of a PBX's certificates when the PBX is erased."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.orm import Session

from fleet.devices.models import Device
from fleet.identity.models import DeviceCertificate


def forget(
    session: Session,
    device: Device,
    keep_contract: bool,  # noqa: FBT001 -- a hook of fleet.devices.forgetting
    now: datetime,  # noqa: ARG001 -- likewise
) -> Mapping[str, int]:
    """Keep them while the PBX lives by them; what is not here is believed no more."""
    if keep_contract:
        return {}
    gone = session.execute(
        delete(DeviceCertificate)
        .where(DeviceCertificate.device_id == device.id)
        .returning(DeviceCertificate.id)
    )
    return {"device_certificate": len(gone.all())}
