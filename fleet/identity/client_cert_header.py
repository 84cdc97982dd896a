# SPDX-License-Identifier: Apache-2.0
"""The certificate as a proxy hands it on: two headers, read strictly. Pure.

``Client-Cert`` is RFC 9440 (haproxy); ``X-SSL-Client-Cert`` is nginx's
``$ssl_client_escaped_cert``. Whether the peer may be believed is asked before,
and whether the certificate may be believed afterwards (``fleet.identity.trust``).
"""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from fleet.identity.certificates import CertificateFault

# What a DER certificate of the longest size takes: percent-encoding can triple it.
LONGEST_HEADER = 40_000

# RFC 9440, section 2.1: an Item that is a Byte Sequence (RFC 8941, 3.3.5), which
# has no comma: a header that was sent twice is joined by one, and refused here.
_BYTE_SEQUENCE = re.compile(r":([A-Za-z0-9+/]+={0,2}):", re.ASCII)
_ESCAPED = re.compile(r"[A-Za-z0-9%+/=._~-]+", re.ASCII)
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)"
    rb"-----END CERTIFICATE-----[\r\n]*"
)


def read_client_cert(value: str) -> bytes:
    """Return the DER in a ``Client-Cert`` field (RFC 9440).

    Raises ``CertificateFault`` for anything but exactly one byte sequence.
    """
    match = _BYTE_SEQUENCE.fullmatch(value.strip(" ")) if _fits(value) else None
    if match is None:
        raise CertificateFault("Client-Cert is not one byte sequence of RFC 9440")
    return _decode(match[1].encode("ascii"))


def read_escaped_pem(value: str) -> bytes:
    """Return the DER in nginx's URL-encoded PEM.

    Raises ``CertificateFault`` for anything but exactly one PEM certificate.
    """
    fits = _fits(value) and _ESCAPED.fullmatch(value)
    match = _PEM.fullmatch(unquote_to_bytes(value)) if fits else None
    if match is None:
        raise CertificateFault("X-SSL-Client-Cert is not one certificate in PEM")
    return _decode(b"".join(match[1].split()))


def _fits(value: str) -> bool:
    return len(value) <= LONGEST_HEADER


def _decode(symbols: bytes) -> bytes:
    try:
        der = base64.b64decode(symbols, validate=True)
    except binascii.Error:
        der = b""
    if not der or base64.b64encode(der) != symbols:
        raise CertificateFault("a certificate header has broken base64")
    return der
