# SPDX-License-Identifier: Apache-2.0
"""Every way we know to hold up a certificate that one has no key for."""

import base64
from collections.abc import Callable
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

Pairs = list[tuple[str, str]]


def standard(der: bytes) -> str:
    """The field of RFC 9440."""
    return f":{base64.b64encode(der).decode()}:"


def escaped(der: bytes) -> str:
    """What nginx makes of a certificate."""
    pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    return quote(pem.decode())


def _rfc(*names: str) -> Callable[[bytes], Pairs]:
    return lambda der: [(name, standard(der)) for name in names]


def _pem(*names: str) -> Callable[[bytes], Pairs]:
    return lambda der: [(name, escaped(der)) for name in names]


FORGERIES: dict[str, Callable[[bytes], Pairs]] = {
    "Client-Cert": _rfc("Client-Cert"),
    "client-cert in lower case": _rfc("client-cert"),
    "Client_Cert": _rfc("Client_Cert"),
    "client_cert in lower case": _rfc("client_cert"),
    "Client_Cert beside an empty Client-Cert": lambda der: [
        ("Client-Cert", ""),
        ("Client_Cert", standard(der)),
    ],
    "X-SSL-Client-Cert": _pem("X-SSL-Client-Cert"),
    "x-ssl-client-cert in lower case": _pem("x-ssl-client-cert"),
    "X_SSL_Client_Cert": _pem("X_SSL_Client_Cert"),
    "X-SSL_Client-Cert": _pem("X-SSL_Client-Cert"),
    "Client-Cert twice": _rfc("Client-Cert", "Client-Cert"),
    "X-SSL-Client-Cert twice": _pem("X-SSL-Client-Cert", "X-SSL-Client-Cert"),
    "both kinds": lambda der: [
        ("Client-Cert", standard(der)),
        ("X-SSL-Client-Cert", escaped(der)),
    ],
    "Client-Cert-Chain": _rfc("Client-Cert-Chain"),
    "Client-Cert and its chain": _rfc("Client-Cert", "Client-Cert-Chain"),
    "verified by himself": lambda der: [
        ("X-SSL-Client-Cert", escaped(der)),
        ("X-SSL-Client-Verify", "SUCCESS"),
        ("X-Forwarded-Client-Cert", f'Cert="{escaped(der)}"'),
    ],
    "a trusted X-Forwarded-For": lambda der: [
        ("X-Forwarded-For", "127.0.0.2"),
        ("Forwarded", "for=127.0.0.2"),
        ("X-Real-IP", "127.0.0.2"),
        ("Client-Cert", standard(der)),
    ],
    "what the proxy sets, declared hop by hop": lambda der: [
        ("Connection", "close, X-SSL-Client-Cert, Client-Cert, X-Forwarded-For"),
        ("Client-Cert", standard(der)),
        ("X-SSL-Client-Cert", escaped(der)),
    ],
}

every_forgery = pytest.mark.parametrize(
    "forgery", FORGERIES.values(), ids=FORGERIES.keys()
)
Forgery = Callable[[bytes], Pairs]
