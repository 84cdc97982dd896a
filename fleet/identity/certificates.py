# SPDX-License-Identifier: Apache-2.0
"""What a PBX's certificate says: read from its DER, strictly. Pure.

Text forms of a subject are ambiguous (a common name may hold
``x/serialNumber=...``), so the serial number of the PBX is read from the DER
only: the one attribute serialNumber (OID 2.5.4.5) of the subject, which is not
the certificate's own number of the same name. A certificate without an extended
key usage passes OpenSSL as good for everything; here it is refused.
"""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.extensions import ExtensionTypeVar
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# A certificate of ours has about 500 bytes; a chain of RSA-4096 about 2000.
LONGEST_DER = 8192

# Certificates that are remembered once read, of about 2 kB each.
REMEMBERED = 4096

_SERIAL_NUMBER = re.compile(r"[A-Z0-9]{6,32}", re.ASCII)


class CertificateFault(Exception):  # noqa: N818 -- a fault of what was shown, not of ours
    """A certificate is not one that a PBX may show.

    The text names the kind of fault and no content: it may be logged.
    """


@dataclass(frozen=True)
class DeviceCertificateFacts:
    """What we go by in a PBX's certificate.

    ``serial_number`` is the PBX's; ``number`` is the certificate's own, unique
    only together with ``issuer_key_id``. Digests are SHA-256: of the certificate
    (``fingerprint``) and of its public key (``spki_sha256``).
    """

    serial_number: str = field(repr=False)
    fingerprint: bytes
    spki_sha256: bytes
    not_before: datetime
    not_after: datetime
    issuer_key_id: bytes | None
    number: int

    def is_in_time(self, now: datetime) -> bool:
        """Whether ``now`` is in the validity, both ends included (RFC 5280)."""
        return self.not_before <= now <= self.not_after


@lru_cache(maxsize=REMEMBERED)
def read_leaf(der: bytes) -> DeviceCertificateFacts:
    """Read the certificate that a PBX has shown.

    Neither its issuer nor its dates are judged (``fleet.identity.trust`` does).
    Raises ``CertificateFault``, and nothing else, whatever the bytes are.
    """
    if len(der) > LONGEST_DER:
        raise CertificateFault("the certificate is too long")
    try:
        return _facts(x509.load_der_x509_certificate(der), der)
    except CertificateFault:
        raise
    except Exception:  # noqa: BLE001 -- hostile DER: whatever the parser says, one answer
        raise CertificateFault("this is not a certificate") from None


def extension_of(
    extensions: x509.Extensions, kind: type[ExtensionTypeVar]
) -> ExtensionTypeVar | None:
    """Return one extension's value, or nothing where it is absent."""
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def refuse_unknown_critical(extensions: x509.Extensions) -> None:
    """Raise ``CertificateFault`` for a critical extension that nobody here knows.

    Such a certificate must not be used (RFC 5280, section 4.2).
    """
    if any(
        each.critical and isinstance(each.value, x509.UnrecognizedExtension)
        for each in extensions
    ):
        raise CertificateFault("an extension is critical and unknown")


def _refuse_other_uses(extensions: x509.Extensions) -> None:
    """Refuse a certificate that is a CA's, or is not for TLS clients."""
    usage = extension_of(extensions, x509.ExtendedKeyUsage)
    if usage is None or ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise CertificateFault("the certificate is not for TLS clients")
    constraints = extension_of(extensions, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise CertificateFault("the certificate is a CA's")
    key_usage = extension_of(extensions, x509.KeyUsage)
    if key_usage is not None and not key_usage.digital_signature:
        raise CertificateFault("the key is not for signatures")
    refuse_unknown_critical(extensions)


def sha256_of_public_key(key: CertificatePublicKeyTypes) -> bytes:
    """Return the SHA-256 of a key's SubjectPublicKeyInfo in DER."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def serial_numbers_of(name: x509.Name) -> tuple[str | bytes, ...]:
    """Return every serialNumber attribute, also those that share an RDN."""
    found = name.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    return tuple(attribute.value for attribute in found)


def _facts(certificate: x509.Certificate, der: bytes) -> DeviceCertificateFacts:
    _refuse_other_uses(certificate.extensions)
    issuer = extension_of(certificate.extensions, x509.AuthorityKeyIdentifier)
    return DeviceCertificateFacts(
        serial_number=_only_serial_number(certificate.subject),
        fingerprint=hashlib.sha256(der).digest(),
        spki_sha256=sha256_of_public_key(certificate.public_key()),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        issuer_key_id=issuer.key_identifier if issuer else None,
        number=certificate.serial_number,
    )


def _only_serial_number(subject: x509.Name) -> str:
    values = serial_numbers_of(subject)
    if len(values) != 1:
        raise CertificateFault("the subject does not have exactly one serialNumber")
    value = values[0]
    if not isinstance(value, str) or not _SERIAL_NUMBER.fullmatch(value):
        raise CertificateFault("the serialNumber is not written as we issue it")
    return value
