# SPDX-License-Identifier: Apache-2.0
"""Says which PBX a request comes from: by its certificate, and by nothing else.

The certificate comes from the TLS connection where TLS ends here, and otherwise
from the header that a trusted proxy sets; from a header of anybody else never
(protocol, section 1). Whichever way it came, it is verified here again in full,
and then looked up: only a certificate that this service issued and has not
revoked is believed, at each request.

``@device_only`` does all of this and asks what the PBX's standing permits.
``@certificate_holder`` stops before the look-up, for the licence check, which
does that look-up for many requests at once.
"""

import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar, cast

from flask import Flask, current_app, g, request
from sqlalchemy import Connection, bindparam, select

from fleet.commits import padded
from fleet.database import reading
from fleet.devices.models import Device
from fleet.errors import Forbidden, Unauthenticated
from fleet.ground import ground
from fleet.identity.authorities import authorities
from fleet.identity.certificates import CertificateFault, DeviceCertificateFacts
from fleet.identity.client_cert_header import read_client_cert, read_escaped_pem
from fleet.identity.models import DeviceCertificate
from fleet.server.pulse import timekeeper
from fleet.web.access_log import leave_out
from fleet.web.addresses import peer_is_trusted
from fleet.web.callers import Callers, Kind, declare

P = ParamSpec("P")
T = TypeVar("T")

# The standings of a PBX (``cic.standing``), as far as other rooms permit by them.
ACTIVE = "active"
LOCKED = "locked"
BLOCKED = "blocked"
REPLACED = "replaced"


class DeviceCertificateRequired(Unauthenticated):
    """A route for PBXs was called without a certificate."""

    code = "device-certificate-required"
    reason = "This route needs the PBX's client certificate."


class DeviceNotRecognised(Forbidden):
    """One answer for every certificate, serial number or secret that is not good."""

    code = "device-not-recognised"
    reason = "This PBX is not recognised."


class DeviceNotPermitted(Forbidden):
    """The PBX is known, but its standing does not allow this."""

    code = "device-not-permitted"
    reason = "The standing of this PBX does not permit this request."


class SerialMismatch(Forbidden):
    """The request names another PBX than the certificate."""

    code = "serial-mismatch"
    reason = "The request names another serial number than the certificate."


class StandingOf(Protocol):
    """How the guard learns a PBX's standing: the licence check lends this."""

    def __call__(self, device_id: int, *, now: datetime) -> str:
        """Return one of the words above for the PBX ``device_id``."""


class StandingsAmong(Protocol):
    """How others learn the standings of many PBXs: lent likewise."""

    def __call__(
        self, connection: Connection, device_ids: Collection[int], /, *, now: datetime
    ) -> dict[int, str]:
        """Return the word for each PBX, as ``connection`` sees it, by its id."""


@dataclass(frozen=True)
class CallingDevice:
    """The PBX that a request comes from.

    One that is ``left_out`` has no access records (``Device.left_out``).
    """

    device_id: int
    serial_number: str
    device_type: str
    generation: int
    certificate_id: int
    certificate: DeviceCertificateFacts
    standing: str
    left_out: bool


def lend_standing(app: Flask, standing_of: StandingOf) -> None:
    """Let the guards of ``app`` ask for standings."""
    app.extensions["standing_of"] = standing_of


def lend_standings(app: Flask, standings_among: StandingsAmong) -> None:
    """Let the services of ``app`` ask for standings inside their own transactions.

    Who has locked a PBX's row of the registry learns what stays true until the end
    of the transaction: nobody is blocked or replaced without that lock.
    """
    app.extensions["standings_among"] = standings_among


def standings_among(
    connection: Connection, device_ids: Collection[int], *, now: datetime
) -> dict[int, str]:
    """Return the standings of some PBXs; one that was never initialised has none."""
    lent = cast("StandingsAmong", current_app.extensions["standings_among"])
    return lent(connection, device_ids, now=now)


def is_held(connection: Connection, device_id: int, *, now: datetime) -> bool:
    """Whether a PBX is blocked or replaced."""
    found = standings_among(connection, [device_id], now=now)
    return found.get(device_id) in {BLOCKED, REPLACED}


def certificate_holder(view: Callable[P, T]) -> Callable[P, T]:
    """Admit whoever holds a verified certificate; the view looks it up itself."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        g.verified_at = now = timekeeper().now()
        g.certificate = shown_certificate(now)
        return view(*args, **kwargs)

    return declare(guarded, Callers(Kind.DEVICE))


def device_only(
    *standings: str,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Admit a registered PBX whose standing is one of ``standings``."""
    permitted: frozenset[str] = frozenset(standings)

    def bind(view: Callable[P, T]) -> Callable[P, T]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            # By a clock that is wrong, a good certificate would be refused for good
            # by a PBX that takes the refusal at its word; 503 it does not.
            now = timekeeper().now()
            device = recognise(shown_certificate(now), now=now)
            if device.standing not in permitted:
                raise DeviceNotPermitted
            g.device = device
            if device.left_out:
                leave_out()
            return view(*args, **kwargs)

        return declare(guarded, Callers(Kind.DEVICE))

    return bind


def current_device() -> CallingDevice:
    """Return the PBX that the request in context comes from."""
    return cast("CallingDevice", g.device)


def current_certificate() -> DeviceCertificateFacts:
    """Return the verified certificate of the request in context."""
    return cast("DeviceCertificateFacts", g.certificate)


def verified_at() -> datetime:
    """Return the instant at which that certificate was verified: the request's."""
    return cast("datetime", g.verified_at)


def shown_certificate(now: datetime) -> DeviceCertificateFacts:
    """Return the certificate shown with the request in context, verified.

    Raises ``DeviceCertificateRequired`` where there is none, and
    ``DeviceNotRecognised`` for one that is not in order.
    """
    der = _shown_der()
    if der is None:
        raise DeviceCertificateRequired
    try:
        return authorities().trust.verify(der, now)
    except CertificateFault:
        raise DeviceNotRecognised from None


def shows_certificate() -> bool:
    """Whether the request in context came with a client certificate at all."""
    try:
        return _shown_der() is not None
    except DeviceNotRecognised:
        return True


def recognise(facts: DeviceCertificateFacts, *, now: datetime) -> CallingDevice:
    """Look a verified certificate up; raise ``DeviceNotRecognised``."""
    with reading() as session:
        row = session.execute(
            select(DeviceCertificate, Device)
            .join(Device, Device.id == DeviceCertificate.device_id)
            .where(DeviceCertificate.fingerprint == facts.fingerprint)
        ).one_or_none()
        if row is None:
            raise DeviceNotRecognised
        certificate, device = row
        if not is_in_force(
            revoked_at=certificate.revoked_at,
            retires_at=certificate.retires_at,
            not_after=certificate.not_after,
            now=now,
        ):
            raise DeviceNotRecognised
        if device.serial_number != facts.serial_number:
            raise DeviceNotRecognised
        standing_of = cast("StandingOf", current_app.extensions["standing_of"])
        return CallingDevice(
            device_id=device.id,
            serial_number=device.serial_number,
            device_type=device.device_type,
            generation=certificate.generation,
            certificate_id=certificate.id,
            certificate=facts,
            standing=standing_of(device.id, now=now),
            left_out=device.left_out,
        )


_BELIEVED = (
    select(
        DeviceCertificate.fingerprint,
        Device.serial_number,
        DeviceCertificate.revoked_at,
        DeviceCertificate.retires_at,
        DeviceCertificate.not_after,
    )
    .join(Device, Device.id == DeviceCertificate.device_id)
    .where(DeviceCertificate.fingerprint.in_(bindparam("fingerprints", expanding=True)))
)


def believed_among(
    connection: Connection, fingerprints: Collection[bytes], *, now: datetime
) -> dict[bytes, str]:
    """Look many verified certificates up, for work that is done for many at once.

    Returns the serial number of each that is believed, by its fingerprint. Who has
    locked those PBXs' rows of the registry learns what stays true until the end
    of the transaction.
    """
    rows = connection.execute(_BELIEVED, {"fingerprints": padded(fingerprints)})
    return {
        row.fingerprint: row.serial_number
        for row in rows
        if is_in_force(
            revoked_at=row.revoked_at,
            retires_at=row.retires_at,
            not_after=row.not_after,
            now=now,
        )
    }


def is_in_force(
    *,
    revoked_at: datetime | None,
    retires_at: datetime | None,
    not_after: datetime,
    now: datetime,
) -> bool:
    """Whether a certificate that we issued is still believed at ``now``."""
    if revoked_at is not None:
        return False
    return now <= not_after and (retires_at is None or now < retires_at)


def _shown_der() -> bytes | None:
    if not ground().settings.tls:
        return _from_proxy() if peer_is_trusted() else None
    # Where TLS ends here, no header says anything: a proxy that passes TLS on
    # unopened has its own address, but the header would be its client's.
    connection = request.environ.get("gunicorn.socket")
    if not isinstance(connection, ssl.SSLSocket):
        return None
    return connection.getpeercert(binary_form=True)


def _from_proxy() -> bytes | None:
    # One proxy speaks RFC 9440, another sends escaped PEM. Both at once is
    # either a mistake in a configuration or somebody's header that slipped by.
    environ = request.environ
    standard = environ.get("HTTP_CLIENT_CERT", "")
    escaped = environ.get("HTTP_X_SSL_CLIENT_CERT", "")
    if standard and escaped:
        raise DeviceNotRecognised
    if not standard and not escaped:
        return None
    try:
        return read_client_cert(standard) if standard else read_escaped_pem(escaped)
    except CertificateFault:
        raise DeviceNotRecognised from None
