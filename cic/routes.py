# SPDX-License-Identifier: Apache-2.0
"""HTTP face of the licence check for PBXs: decode, decide, sign."""

import secrets
from base64 import urlsafe_b64encode
from datetime import datetime
from http import HTTPStatus
from random import random

from flask import Blueprint

from cic import lease
from cic.errors import InitialisationLimitReached, NewKeyRequired
from cic.schemas import (
    CheckAnswer,
    CheckRequest,
    InitialiseAnswer,
    InitialiseRequest,
)
from cic.service import initialisation
from cic.service.checks import Ask, Checked, checks
from fleet.errors import Invalid, TooMany
from fleet.ground import ground
from fleet.identity.csr import CsrFault, read_csr
from fleet.identity.guard import (
    DeviceNotPermitted,
    DeviceNotRecognised,
    SerialMismatch,
    certificate_holder,
    current_certificate,
    verified_at,
)
from fleet.keys.errors import CannotSign
from fleet.keys.signing import Signer
from fleet.server.pulse import ClockNotTrusted, timekeeper
from fleet.web.access_log import access, leave_out, note
from fleet.web.addresses import client_address
from fleet.web.callers import open_to_all
from fleet.web.contract import accepts, refuses, returns

blueprint = Blueprint("cic", __name__, url_prefix="/cic/v1")


@blueprint.post("/initialise")
@open_to_all
@refuses(
    DeviceNotRecognised,
    DeviceNotPermitted,
    NewKeyRequired,
    InitialisationLimitReached,
    TooMany,
    CannotSign,
    ClockNotTrusted,
)
@returns(InitialiseAnswer, HTTPStatus.CREATED)
@accepts(InitialiseRequest)
def initialise(
    *,
    serial_number: str,
    device_secret: str,
    csr: str,
    device_type: str,
    software_version: str,
    nonce: str,
) -> dict[str, object]:
    """Make a PBX known: by its device secret it gets a certificate and a lease.

    Again with the same key: the same certificate. With another: a
    re-initialisation, which lifts a lockout and revokes the certificate before.
    """
    now = timekeeper().now()
    signer = ground().signing.signer(lease.PURPOSE, now)  # or nothing is begun
    try:
        request = read_csr(csr.encode())
    except CsrFault as fault:
        raise Invalid(fields={"csr": [str(fault)]}) from None
    done = initialisation.initialise(
        serial_number,
        device_secret=device_secret,
        csr=request,
        software_version=software_version,
        address=client_address(),
        now=now,
    )
    if done.left_out:
        leave_out()
    note("cic", device_type=device_type, software_version=software_version)
    return {
        "certificate_chain": done.certificate_chain,
        "release_key": urlsafe_b64encode(done.release_key).rstrip(b"=").decode(),
        "keyset": ground().signing.key_set().token,
        "lease": _signed(signer, done.checked, serial_number, nonce=nonce, now=now),
    }


@blueprint.post("/check")
@certificate_holder
@refuses(CannotSign, ClockNotTrusted)
@returns(CheckAnswer)
@accepts(CheckRequest)
def check(  # noqa: PLR0913 -- the request of the protocol, field by field
    *,
    serial_number: str,
    nonce: str,
    device_type: str,
    software_version: str,
    continuation: str | None,
    device_time: datetime | None,
    failed_attempts: int | None,
) -> dict[str, object]:
    """Ask whether the PBX may run; the answer is a signed lease.

    The verdict is that of the state before this check. Only a check that is
    answered ``active`` ends the silence.
    """
    now = verified_at()
    certificate = current_certificate()
    if serial_number != certificate.serial_number:
        raise SerialMismatch
    signer = ground().signing.signer(lease.PURPOSE, now)  # or nothing is recorded
    checked = checks().check(
        Ask(
            fingerprint=certificate.fingerprint,
            serial_number=serial_number,
            nonce=nonce,
            software_version=software_version,
            continuation=continuation,
            device_time=device_time,
            failed_attempts=failed_attempts,
            access=access(
                "cic",
                address=client_address(),
                now=now,
                device_type=device_type,
                software_version=software_version,
            ),
            now=now,
        )
    )
    return {
        "lease": _signed(signer, checked, serial_number, nonce=nonce, now=now),
        "continuation": checked.continuation,
    }


def _signed(
    signer: Signer, checked: Checked, serial_number: str, *, nonce: str, now: datetime
) -> str:
    claims = lease.claims(
        checked.standing,
        serial_number=serial_number,
        nonce=nonce,
        generation=checked.generation,
        lock_at=checked.lock_at,
        amnesty_until=checked.amnesty_until,
        draw=random(),  # noqa: S311 -- spreads a load, guards nothing
        now=now,
    )
    issued = {"iss": ground().settings.public_url, "jti": secrets.token_urlsafe(16)}
    return signer.sign(lease.TYPE, issued | claims)
