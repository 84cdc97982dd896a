# SPDX-License-Identifier: Apache-2.0
"""Certificates as rows: issued, superseded, revoked, listed in the CRL.

Each function works inside a transaction of its caller, since a certificate is
always part of something larger: an initialisation, a renewal, a theft.
"""

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from fleet.devices.models import Device
from fleet.identity.authorities import authorities
from fleet.identity.certificates import read_leaf
from fleet.identity.csr import DevicePublicKey
from fleet.identity.device_ca import DeviceCa, Revocation
from fleet.identity.models import DeviceCertificate


def issue(
    session: Session,
    device: Device,
    public_key: DevicePublicKey,
    *,
    generation: int,
    now: datetime,
) -> DeviceCertificate:
    """Issue and store a certificate for ``public_key`` to ``device``."""
    issued = authorities().issuing.issue(
        public_key, serial_number=device.serial_number, now=now
    )
    der = issued.public_bytes(Encoding.DER)
    facts = read_leaf(der)
    certificate = DeviceCertificate(
        device_id=device.id,
        generation=generation,
        fingerprint=facts.fingerprint,
        key_digest=facts.spki_sha256,
        number=f"{facts.number:x}",
        der=der,
        issued_at=now,
        not_after=facts.not_after,
    )
    session.add(certificate)
    session.flush()  # its id orders what was issued
    return certificate


def revoke_all(session: Session, device_id: int, *, reason: str, now: datetime) -> None:
    """Revoke every certificate of a PBX that is not revoked yet."""
    session.execute(
        update(DeviceCertificate)
        .where(
            DeviceCertificate.device_id == device_id,
            DeviceCertificate.revoked_at.is_(None),
        )
        .values(revoked_at=now, revocation_reason=reason)
    )


def pem_chain(certificate: DeviceCertificate) -> str:
    """Return the certificate and its issuer as PEM, leaf first."""
    leaf = x509.load_der_x509_certificate(certificate.der)
    issuer_key = read_leaf(certificate.der).issuer_key_id
    issuers = [
        each.certificate
        for each in authorities().issuing.issuers()
        if each.key_id == issuer_key
    ]
    return "".join(
        each.public_bytes(Encoding.PEM).decode() for each in (leaf, *issuers)
    )


def revocations_of(
    session: Session, issuer: DeviceCa, *, now: datetime
) -> list[Revocation]:
    """Return what the CRL of ``issuer`` lists: ended, and not expired anyway.

    Ended are those that were revoked, and those that a renewal has superseded
    and whose time beside the new one is over.
    """
    rows = session.execute(
        select(
            DeviceCertificate.der,
            DeviceCertificate.number,
            DeviceCertificate.revoked_at,
            DeviceCertificate.revocation_reason,
            DeviceCertificate.retires_at,
        )
        .where(
            or_(
                DeviceCertificate.revoked_at.is_not(None),
                DeviceCertificate.retires_at <= now,
            ),
            DeviceCertificate.not_after >= now,
        )
        .order_by(DeviceCertificate.id)
        .execution_options(yield_per=1000)
    )
    found = []
    for der, number, revoked_at, reason, retires_at in rows:
        # The issuer's key identifier is in the certificate, and nowhere else by
        # chance: to parse hundreds of thousands would take minutes.
        if issuer.key_id not in der:
            continue
        if revoked_at is not None:
            flag = x509.ReasonFlags(reason or "unspecified")
            found.append(Revocation(int(number, 16), revoked_at, flag))
        elif retires_at is not None:
            flag = x509.ReasonFlags.superseded
            found.append(Revocation(int(number, 16), retires_at, flag))
    return found


def revocation_state(session: Session) -> tuple[int, datetime | None]:
    """Return what changes whenever a certificate of any CA is revoked."""
    row = session.execute(
        select(
            func.count(DeviceCertificate.revoked_at),
            func.max(DeviceCertificate.revoked_at),
        ).where(DeviceCertificate.revoked_at.is_not(None))
    ).one()
    return row[0], row[1]
