# SPDX-License-Identifier: Apache-2.0
"""HTTP face of certificates: EST (RFC 7030) and the CRL.

Bodies are base64 in one line: clients in the field read no line breaks there.
"""

import base64
import binascii
from typing import cast

from cryptography import x509
from flask import Blueprint, Flask, Response, request
from flask.sansio.blueprints import BlueprintSetupState

from fleet.devices.forgetting import on_forgetting
from fleet.errors import Invalid, NotFound, TooLarge, TooMany
from fleet.identity import revocation_lists
from fleet.identity.authorities import authorities
from fleet.identity.authority import certs_only_pkcs7
from fleet.identity.csr import LONGEST_CSR, CsrFault, read_csr
from fleet.identity.forgetting import forget
from fleet.identity.guard import (
    ACTIVE,
    LOCKED,
    DeviceNotRecognised,
    SerialMismatch,
    current_device,
    device_only,
)
from fleet.identity.renewal import renew
from fleet.server.pulse import timekeeper
from fleet.web.access_log import note
from fleet.web.callers import open_to_all
from fleet.web.contract import refuses, says, takes

blueprint = Blueprint("est", __name__)

CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"


@blueprint.record
def _prepare(state: BlueprintSetupState) -> None:
    app = cast("Flask", state.app)
    revocation_lists.register(app)
    on_forgetting(app, forget)


@blueprint.get("/.well-known/est/cacerts")
@open_to_all
@says("application/pkcs7-mime")
def cacerts() -> Response:
    """Return the device CAs that are trusted (RFC 7030, section 4.1)."""
    return _certs_only(authorities().trust.certificates())


@blueprint.post("/.well-known/est/simplereenroll")
@device_only(ACTIVE, LOCKED)
@takes("application/pkcs10")
@says("application/pkcs7-mime")
@refuses(Invalid, TooLarge, SerialMismatch, DeviceNotRecognised, TooMany)
def simplereenroll() -> Response:
    """Renew the PBX's certificate (RFC 7030, section 4.2.2).

    The body is a PKCS #10 request in base64. The certificate that was shown
    stays valid for seven days.
    """
    now = timekeeper().now()
    try:
        csr = read_csr(_sent_der())
    except CsrFault as fault:
        raise Invalid(str(fault)) from None
    device = current_device()
    note("cic", device_type=device.device_type)
    der = renew(device, csr, now=now)
    return _certs_only([x509.load_der_x509_certificate(der)])


@blueprint.get("/.well-known/pbx-device-ca/<key_id>.crl")
@open_to_all
@says("application/pkix-crl")
@refuses(NotFound)
def crl(key_id: str) -> Response:
    """Return the revocation list of one device CA, by its key identifier in hex.

    It lists what is revoked at this moment. This service itself looks a
    certificate up at each request; the list is for proxies.
    """
    now = timekeeper().now()
    for issuer in authorities().issuing.issuers():
        if issuer.key_id.hex() == key_id.lower():
            der = revocation_lists.current().of(issuer, now=now)
            response = Response(der, mimetype="application/pkix-crl")
            response.headers["Cache-Control"] = "public, max-age=300"
            return response
    raise NotFound("There is no device CA with this key identifier.")


def _sent_der() -> bytes:
    body = request.stream.read(2 * LONGEST_CSR + 1)
    if len(body) > 2 * LONGEST_CSR:
        raise TooLarge("The request is too long.")
    if body.lstrip()[:11] == b"-----BEGIN ":
        return body.strip()
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        raise Invalid("The body is not a PKCS #10 request in base64.") from None


def _certs_only(certificates: list[x509.Certificate]) -> Response:
    body = base64.b64encode(certs_only_pkcs7(certificates))
    response = Response(body, content_type=CERTS_ONLY)
    response.headers["Content-Transfer-Encoding"] = "base64"
    return response
