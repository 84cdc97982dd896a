# SPDX-License-Identifier: Apache-2.0
"""A PBX that renews its certificate, without sockets and at any time of the year."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from make import TestPbx, make_csr
from werkzeug.test import TestResponse

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
SECOND = timedelta(seconds=1)

RENEW = "/.well-known/est/simplereenroll"


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def ask_to_renew(pbx: TestPbx, key: ec.EllipticCurvePrivateKey) -> TestResponse:
    """Send a request for ``key``, as EST has it."""
    pem = make_csr(key, pbx.serial_number).encode()
    der = x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)
    return pbx.client.post(RENEW, data=base64.b64encode(der), headers=pbx.headers)


def renewed(pbx: TestPbx, key: ec.EllipticCurvePrivateKey | None = None) -> TestPbx:
    """Return the PBX as it is with its new certificate; ``pbx`` keeps the old."""
    key = key or new_key()
    answer = ask_to_renew(pbx, key)
    assert answer.status_code == 200, answer.json
    der = base64.b64decode(answer.data, validate=True)
    return replace(pbx, key=key, chain=pkcs7.load_der_pkcs7_certificates(der))


def code_of(answer: TestResponse) -> str:
    """Return the problem's code; "" for an answer that is none."""
    if answer.status_code < 400 or answer.json is None:
        return ""
    return str(answer.json["type"]).rpartition("/")[2]
