# SPDX-License-Identifier: Apache-2.0
"""Certificate signing requests (PKCS #10, RFC 2986), read strictly. Pure.

Only the public key is taken from a request: subject, extensions and validity
are the server's to decide. Its own signature is checked, which proves that the
sender has the private key.
"""

import re
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fleet.identity.certificates import serial_numbers_of, sha256_of_public_key

# One with a P-256 key has about 250 bytes in DER.
LONGEST_CSR = 8192

DevicePublicKey = EllipticCurvePublicKey | Ed25519PublicKey

_PEM = re.compile(
    rb"\s*-----BEGIN (NEW )?CERTIFICATE REQUEST-----\r?\n[A-Za-z0-9+/=\s]+"
    rb"-----END (NEW )?CERTIFICATE REQUEST-----\s*"
)


class CsrFault(Exception):  # noqa: N818 -- a fault of what was sent, not of ours
    """A request cannot be granted; the text is for its sender and may be logged."""


@dataclass(frozen=True)
class CsrFacts:
    """What we go by in a request.

    ``serial_numbers`` are those that its subject names, which is not binding.
    """

    public_key: DevicePublicKey = field(repr=False)
    spki_sha256: bytes
    serial_numbers: tuple[str | bytes, ...] = field(repr=False)


def read_csr(pem_or_der: bytes) -> CsrFacts:
    """Read a request with an ECDSA P-256 or Ed25519 key.

    Raises ``CsrFault``, and nothing else, whatever the bytes are.
    """
    if len(pem_or_der) > LONGEST_CSR:
        raise CsrFault("The request is too long.")
    try:
        return _facts(_parsed(pem_or_der))
    except CsrFault:
        raise
    except Exception:  # noqa: BLE001 -- hostile DER: whatever the parser says, one answer
        raise CsrFault("This is not a certificate signing request.") from None


def _parsed(pem_or_der: bytes) -> x509.CertificateSigningRequest:
    if _PEM.fullmatch(pem_or_der):
        return x509.load_pem_x509_csr(pem_or_der)
    return x509.load_der_x509_csr(pem_or_der)


def _facts(csr: x509.CertificateSigningRequest) -> CsrFacts:
    key = csr.public_key()
    if not isinstance(key, Ed25519PublicKey) and not (
        isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    ):
        raise CsrFault("The key must be ECDSA P-256 or Ed25519.")
    if not csr.is_signature_valid:
        raise CsrFault("The request is not signed with its own key.")
    return CsrFacts(key, sha256_of_public_key(key), serial_numbers_of(csr.subject))
