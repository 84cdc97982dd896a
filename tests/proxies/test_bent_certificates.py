# SPDX-License-Identifier: Apache-2.0
"""Certificates with a fault are refused: by TLS where it can, by us in any case."""

import ssl
from pathlib import Path

import pytest
from proxies.bent import BENT, STRAIGHT, Bend, write
from proxies.conftest import Pair
from proxies.headers import escaped, standard
from proxies.plain_pbx import Place
from service import Reply, Service

every_bend = pytest.mark.parametrize("bend", BENT.values(), ids=BENT.keys())
both_kinds = pytest.mark.parametrize("kind", ["Client-Cert", "X-SSL-Client-Cert"])

# What TLS itself tells: the alert that the client is sent (RFC 8446, section 6.2).
ALERTS = {
    "expired": "certificate expired",
    "not yet valid": "bad certificate",
    "of a foreign CA": "decrypt error|unknown ca|bad certificate",
    "for servers": "unsupported certificate",
    "for anything": "unsupported certificate",
}
OTHERS = {name: bend for name, bend in BENT.items() if name not in ALERTS}


@both_kinds
def test_a_straight_one_is_believed(
    as_the_proxy: Place, behind: Service, pair: Pair, kind: str
) -> None:
    assert _asserted(as_the_proxy, behind, pair, STRAIGHT, kind).status == 200


@every_bend
@both_kinds
def test_a_proxy_that_lies_is_not_believed(
    as_the_proxy: Place, behind: Service, pair: Pair, bend: Bend, kind: str
) -> None:
    refused = _asserted(as_the_proxy, behind, pair, bend, kind)
    assert (refused.status, refused.code) == (403, "device-not-recognised")


def _asserted(
    place: Place, service: Service, pair: Pair, bend: Bend, kind: str
) -> Reply:
    """Let the trusted proxy claim that this certificate was shown to it."""
    der, _ = bend.make(service, pair.victim.serial_number)
    value = standard(der) if kind == "Client-Cert" else escaped(der)
    return place.check(pair.victim.serial_number, headers=[(kind, value)])


@every_bend
def test_no_proxy_lets_it_through(
    devices: Place, behind: Service, pair: Pair, tmp_path: Path, bend: Bend
) -> None:
    serial = pair.victim.serial_number
    _, pem = bend.make(behind, serial)
    try:
        refused = devices.check(serial, certificate=write(tmp_path, pem))
    except OSError:
        return  # a TLS alert
    assert (refused.status, refused.code) == (403, "device-not-recognised")


def test_natively_a_straight_one_is_believed(
    native_place: Place, native: Service, native_pair: Pair, tmp_path: Path
) -> None:
    serial = native_pair.victim.serial_number
    _, pem = STRAIGHT.make(native, serial)
    assert native_place.check(serial, certificate=write(tmp_path, pem)).status == 200


@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("name", "alert"), ALERTS.items())
def test_natively_tls_says_what_is_wrong(
    native: Service,
    native_pair: Pair,
    tmp_path: Path,
    name: str,
    alert: str,
    highest: ssl.TLSVersion,
) -> None:
    serial = native_pair.victim.serial_number
    _, pem = BENT[name].make(native, serial)
    place = Place(native.port, native.data_dir, highest=highest)
    with pytest.raises(ssl.SSLError, match=alert):
        place.check(serial, certificate=write(tmp_path, pem))


@pytest.mark.parametrize("bend", OTHERS.values(), ids=OTHERS.keys())
def test_natively_we_refuse_what_tls_lets_in(
    native_place: Place, native: Service, native_pair: Pair, tmp_path: Path, bend: Bend
) -> None:
    serial = native_pair.victim.serial_number
    _, pem = bend.make(native, serial)
    refused = native_place.check(serial, certificate=write(tmp_path, pem))
    assert (refused.status, refused.code) == (403, "device-not-recognised")


def test_natively_no_certificate_is_asked_for_but_required(
    native_place: Place, native_pair: Pair
) -> None:
    refused = native_place.check(native_pair.victim.serial_number)
    assert (refused.status, refused.code) == (401, "device-certificate-required")
    assert native_place.ask("GET", "/health/live").status == 200
