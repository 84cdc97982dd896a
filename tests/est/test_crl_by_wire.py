# SPDX-License-Identifier: Apache-2.0
"""The CRL as a proxy would fetch it, read by openssl and obeyed by nginx."""

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from est.renewing import RenewingPbx, new_key, only_certificate, run
from programs import path_of
from proxies import fronts
from proxies.bent import change
from proxies.conftest import site_of
from proxies.plain_pbx import Place
from service import Service

SUPERSEDED = x509.ReasonFlags.superseded


def fetch(place: Place) -> x509.CertificateRevocationList:
    pem = (place.data_dir / "device-ca" / "issuing.pem").read_bytes()
    issuing = x509.load_pem_x509_certificate(pem)
    key_id = issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    path = f"/.well-known/pbx-device-ca/{key_id.value.digest.hex()}.crl"
    answer = place.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/pkix-crl"
    crl = x509.load_der_x509_crl(answer.body)
    assert crl.is_signature_valid(issuing.public_key())  # type: ignore[arg-type] # an EC key
    return crl


def end(service: Service, pbx: RenewingPbx, how: str) -> None:
    change(
        service,
        f"UPDATE device_certificate SET {how} WHERE number = ?",
        f"{pbx.chain[0].serial_number:x}",
    )


@pytest.mark.foreign("openssl")
def test_openssl_refuses_by_it_what_was_revoked(
    service: Service, place: Place, pbx: RenewingPbx, tmp_path: Path
) -> None:
    ca = service.data_dir / "device-ca" / "issuing.pem"
    (certificate, _) = pbx.files()
    said = {}
    for moment in ("before", "after"):
        pem = fetch(place).public_bytes(Encoding.PEM)
        (tmp_path / "crl.pem").write_bytes(pem)
        run(tmp_path, "openssl", "crl", "-in", "crl.pem", "-CAfile", str(ca), "-noout")
        words = ["verify", "-crl_check", "-CRLfile", "crl.pem", "-CAfile", str(ca)]
        done = subprocess.run(
            [path_of("openssl"), *words, str(certificate)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        said[moment] = (done.returncode, "certificate revoked" in done.stderr)
        end(service, pbx, "revoked_at = issued_at, revocation_reason = 'keyCompromise'")
    assert said == {"before": (0, False), "after": (2, True)}


def test_what_a_renewal_has_superseded_is_listed_when_its_week_is_over(
    service: Service, place: Place, pbx: RenewingPbx
) -> None:
    renewed = only_certificate(pbx.renew(place, new_key()))
    number = pbx.chain[0].serial_number
    assert fetch(place).get_revoked_certificate_by_serial_number(number) is None
    end(service, pbx, "retires_at = issued_at")
    _make_it_anew(place, service, pbx)
    crl = fetch(place)
    entry = crl.get_revoked_certificate_by_serial_number(number)
    assert entry is not None
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason is SUPERSEDED
    assert crl.get_revoked_certificate_by_serial_number(renewed.serial_number) is None


def _make_it_anew(place: Place, service: Service, pbx: RenewingPbx) -> None:
    # A list is kept for five minutes, unless something has been revoked since.
    other = RenewingPbx(f"CX2{90:09}", pbx.folder)
    other.initialise(place)
    end(service, other, "revoked_at = issued_at")


@pytest.mark.foreign("nginx")
def test_nginx_obeys_it(
    service: Service, place: Place, pbx: RenewingPbx, tmp_path: Path
) -> None:
    end(service, pbx, "revoked_at = issued_at")
    crl = tmp_path / "device-ca.crl"
    crl.write_bytes(fetch(place).public_bytes(Encoding.PEM))
    changes = {"# ssl_crl /etc/callhome/device-ca.crl": f"ssl_crl {crl}"}
    front = fronts.start("nginx", site_of(service, tmp_path, **changes))
    try:
        refused = pbx.check(Place(front.devices, service.data_dir))
        assert (refused.status, refused.code) == (403, "device-not-recognised")
        assert refused.headers["server"] == "nginx"
    finally:
        front.stop()
