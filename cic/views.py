# SPDX-License-Identifier: Apache-2.0
"""How a PBX is shown to staff: what the services return, in the schemas' words."""

from datetime import datetime

from cic.models import Activation
from cic.service.details import Detail, detail
from cic.service.standings import Overview
from fleet.identity.guard import is_in_force
from fleet.identity.models import DeviceCertificate


def device_view(each: Overview) -> dict[str, object]:
    """Return one PBX of a list, for ``DeviceView``."""
    device, activation, standing = each.device, each.activation, each.standing
    return {
        "serial_number": device.serial_number,
        "mac_address": device.mac_address,
        "device_type": device.device_type,
        "part_number": device.part_number,
        "hardware_revision": device.hardware_revision,
        "customer": device.customer,
        "notes": device.notes,
        "support_ends_on": device.support_ends_on,
        "registered_at": device.registered_at,
        "state": standing.verdict.value,
        "reason": standing.reason.value,
        "lock_at": standing.lock_at,
        "grace_days": standing.grace.days,
        "generation": activation.generation,
        "software_version": activation.software_version,
        "last_success_at": activation.last_success_at,
        "last_check_at": activation.last_check_at,
        "clone_suspected": activation.clone_suspected_at is not None,
        "clone_suspected_at": activation.clone_suspected_at,
    }


def detail_view(serial_number: str, *, now: datetime) -> dict[str, object]:
    """Return one PBX with all behind it, for ``DeviceDetailView``."""
    found: Detail = detail(serial_number, now=now)
    activation = found.overview.activation
    return device_view(found.overview) | {
        "why": found.why,
        "hold_reason": activation.hold_reason,
        "held_at": activation.held_at,
        "replaced_by": found.replaced_by,
        "own_grace_days": activation.grace_days or None,
        "initialised_at": activation.initialised_at,
        "reinitialisations_left": found.reinitialisations_left,
        "checks": _checks(activation),
        "certificates": [_certificate(each, now) for each in found.certificates],
        "history": found.history,
    }


def _checks(activation: Activation) -> dict[str, object]:
    return {
        "last_check_at": activation.last_check_at,
        "last_success_at": activation.last_success_at,
        "last_verdict": activation.last_verdict or None,
        "failed_attempts": activation.failed_attempts,
        "clock_skew_seconds": activation.clock_skew_seconds,
    }


def _certificate(row: DeviceCertificate, now: datetime) -> dict[str, object]:
    return {
        "number": row.number,
        "fingerprint": row.fingerprint.hex(),
        "generation": row.generation,
        "issued_at": row.issued_at,
        "not_after": row.not_after,
        "retires_at": row.retires_at,
        "revoked_at": row.revoked_at,
        "revocation_reason": row.revocation_reason,
        "in_force": is_in_force(
            revoked_at=row.revoked_at,
            retires_at=row.retires_at,
            not_after=row.not_after,
            now=now,
        ),
    }
