# SPDX-License-Identifier: Apache-2.0
"""Renewal as openssl and curl see it: every body that a client may send."""

import base64
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from est.renewing import (
    CACERTS,
    RENEW,
    RenewingPbx,
    csr_der,
    new_key,
    only_certificate,
    run,
)
from make import make_csr
from proxies.bent import change, look
from proxies.plain_pbx import Place, PlainPbx, verified
from service import Service

KEY = new_key()


def one_line(serial: str) -> bytes:
    return base64.b64encode(csr_der(KEY, serial))


def lines(serial: str, end: str = "\n") -> bytes:
    text = textwrap.fill(one_line(serial).decode(), 64)
    return (text.replace("\n", end) + end).encode()


P384 = ec.generate_private_key(ec.SECP384R1())


def _csr(names: list[tuple[x509.ObjectIdentifier, str]]) -> bytes:
    subject = x509.Name([x509.NameAttribute(*each) for each in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(KEY, SHA256()).public_bytes(Encoding.DER)


def _rsa() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    der = builder.sign(key, SHA256()).public_bytes(Encoding.DER)
    return base64.b64encode(der)


RSA = _rsa()


def _forged(serial: str) -> bytes:
    der = bytearray(csr_der(KEY, serial))
    at = der.index(serial.encode())
    der[at + len(serial) - 1] = ord("0")
    return base64.b64encode(bytes(der))


GOOD: dict[str, Callable[[str], bytes]] = {
    "one line": one_line,
    "one line and its end": lambda serial: one_line(serial) + b"\r\n",
    "lines of 64": lines,
    "lines of 64 that end as in mail": lambda serial: lines(serial, "\r\n"),
    "PEM": lambda serial: make_csr(KEY, serial).encode(),
    "no subject": lambda _: base64.b64encode(_csr([])),
    "another name beside the serial number": lambda serial: base64.b64encode(
        _csr([(x509.NameOID.SERIAL_NUMBER, serial), (x509.NameOID.COMMON_NAME, "x")])
    ),
}
OTHER = "CX2000000099"
BAD: dict[str, tuple[Callable[[str], bytes], int, str]] = {
    "another serial number": (lambda _: one_line(OTHER), 403, "serial-mismatch"),
    "its own and another": (
        lambda serial: base64.b64encode(
            _csr([(x509.NameOID.SERIAL_NUMBER, each) for each in (serial, OTHER)])
        ),
        403,
        "serial-mismatch",
    ),
    "nothing": (lambda _: b"", 400, "invalid-request"),
    "broken base64": (lambda s: b"%" + one_line(s), 400, "invalid-request"),
    "half of it": (lambda s: one_line(s)[:100], 400, "invalid-request"),
    "no padding": (lambda s: one_line(s)[:-1], 400, "invalid-request"),
    "something after it": (
        lambda s: base64.b64encode(csr_der(KEY, s) + b"\0"),
        400,
        "invalid-request",
    ),
    "not ASCII": (lambda _: "ä".encode() * 40, 400, "invalid-request"),
    "raw DER": (lambda s: csr_der(KEY, s), 400, "invalid-request"),
    "a certificate": (lambda _: base64.b64encode(b"0" * 300), 400, "invalid-request"),
    "a key of 2048 bits RSA": (lambda _: RSA, 400, "invalid-request"),
    "a curve that we do not take": (
        lambda s: base64.b64encode(csr_der(P384, s)),
        400,
        "invalid-request",
    ),
    "a forged signature": (_forged, 400, "invalid-request"),
    "20 kB": (lambda _: b"A" * 20_000, 413, "request-too-large"),
    "2 MB": (lambda _: b"A" * 2_000_000, 413, "request-too-large"),
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD.keys())
def test_a_request_may_be_written_in_several_ways(
    place: Place, pbx: RenewingPbx, body: Callable[[str], bytes]
) -> None:
    answer = pbx.renew(place, KEY, body(pbx.serial_number))
    issued = only_certificate(answer)
    assert issued.public_key() == KEY.public_key()
    assert issued.subject == pbx.chain[0].subject


def test_what_is_no_request_is_refused_and_changes_nothing(
    service: Service, place: Place, pbx: RenewingPbx
) -> None:
    before = _certificates(service, pbx)
    found = {}
    for name, (body, _, _) in BAD.items():
        answer = pbx.renew(place, KEY, body(pbx.serial_number))
        found[name] = (answer.status, answer.code)
    assert found == {name: (status, code) for name, (_, status, code) in BAD.items()}
    assert _certificates(service, pbx) == before


def _certificates(service: Service, pbx: PlainPbx) -> list[tuple[object, ...]]:
    return look(
        service,
        "SELECT device_certificate.* FROM device_certificate JOIN device"
        " ON device.id = device_id WHERE serial_number = ?",
        pbx.serial_number,
    )


def test_an_answer_that_was_lost_is_given_again(place: Place, pbx: RenewingPbx) -> None:
    key = new_key()
    first = only_certificate(pbx.renew(place, key))
    again = only_certificate(pbx.renew(place, key))
    assert again == first


def test_the_same_key_may_be_certified_again(place: Place, pbx: RenewingPbx) -> None:
    # RFC 7030, section 4.2.2: that is a renewal; with another key it is a rekey.
    issued = only_certificate(pbx.renew(place, pbx.key))
    assert issued.public_key() == pbx.chain[0].public_key()
    assert issued.serial_number != pbx.chain[0].serial_number
    assert only_certificate(pbx.renew(place, pbx.key)) == issued


def test_an_ed25519_key_is_as_good(place: Place, pbx: RenewingPbx) -> None:
    key = Ed25519PrivateKey.generate()
    assert only_certificate(pbx.renew(place, key)).public_key() == key.public_key()


def test_a_renewed_certificate_renews_itself(place: Place, pbx: RenewingPbx) -> None:
    for _ in range(3):
        key = new_key()
        issued = only_certificate(pbx.renew(place, key))
        pbx.key = key
        pbx.keep([issued])
        assert pbx.check(place).status == 200


@pytest.mark.foreign("curl", "openssl")
def test_with_openssl_and_curl_alone(
    service: Service, pbx: RenewingPbx, tmp_path: Path
) -> None:
    certificate, key = pbx.files()
    ca = service.data_dir / "device-ca" / "issuing.pem"
    curl = ["-sSf", "--cacert", str(service.ca_file)]

    def unpacked(said: bytes, name: str) -> None:
        """The base64 is one line, for which openssl has the option -A."""
        (tmp_path / f"{name}.b64").write_bytes(said)
        decode = ["base64", "-d", "-A", "-in", f"{name}.b64", "-out", f"{name}.p7"]
        run(tmp_path, "openssl", *decode)
        words = ["-inform", "DER", "-in", f"{name}.p7", "-print_certs"]
        run(tmp_path, "openssl", "pkcs7", *words, "-out", f"{name}.pem")

    unpacked(run(tmp_path, "curl", *curl, f"{service.url}{CACERTS}"), "cacerts")
    said = run(tmp_path, "openssl", "x509", "-in", "cacerts.pem", "-outform", "DER")
    assert said == x509.load_pem_x509_certificate(ca.read_bytes()).public_bytes(
        Encoding.DER
    )
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    name = ["-keyout", "new.key", "-subj", f"/serialNumber={pbx.serial_number}"]
    request = [*new, *name, "-outform", "DER", "-out", "new.csr"]
    run(tmp_path, "openssl", "req", *request)
    # Without -A openssl breaks the lines, as a PBX's own script would.
    run(tmp_path, "openssl", "base64", "-in", "new.csr", "-out", "new.b64")
    sent = ["--cert", str(certificate), "--key", str(key), "--data-binary", "@new.b64"]
    kind = ["-H", "Content-Type: application/pkcs10"]
    unpacked(run(tmp_path, "curl", *curl, *sent, *kind, f"{service.url}{RENEW}"), "new")
    words = ["-x509_strict", "-purpose", "sslclient", "-CAfile", str(ca), "new.pem"]
    assert b"OK" in run(tmp_path, "openssl", "verify", *words)


def test_nobody_else_may_renew(
    place: Place, pbx: RenewingPbx, service: Service
) -> None:
    body = one_line(pbx.serial_number)
    refused = place.ask("POST", RENEW, body=body)
    assert (refused.status, refused.code) == (401, "device-certificate-required")
    number = f"{pbx.chain[0].serial_number:x}"
    change(
        service,
        "UPDATE device_certificate SET revoked_at = issued_at WHERE number = ?",
        number,
    )
    refused = pbx.renew(place, KEY)
    assert (refused.status, refused.code) == (403, "device-not-recognised")


def test_a_blocked_pbx_may_not(
    place: Place, pbx: RenewingPbx, service: Service
) -> None:
    blocked = service.request(
        "POST",
        f"/cic/v1/devices/{pbx.serial_number}/block",
        json={"reason": "stolen"},
        headers=service.staff() | {"Idempotency-Key": "1"},
    )
    assert blocked.status == 200, blocked.body
    refused = pbx.renew(place, KEY)
    assert (refused.status, refused.code) == (403, "device-not-permitted")
    assert place.ask("GET", CACERTS, certificate=pbx.file).status == 200


def test_a_locked_pbx_may(place: Place, pbx: RenewingPbx, service: Service) -> None:
    keyset = place.ask("GET", "/cic/v1/keyset").body.decode()
    change(
        service,
        "UPDATE activation SET silent_since = '2020-01-01 00:00:00.000000'"
        " WHERE device_id = (SELECT id FROM device WHERE serial_number = ?)",
        pbx.serial_number,
    )
    token = pbx.check(place).json["lease"]
    lease = verified(token, keyset=keyset, data_dir=place.data_dir)
    assert lease["verdict"] == "locked"
    assert pbx.renew(place, new_key()).status == 200
