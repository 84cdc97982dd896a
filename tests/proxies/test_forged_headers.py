# SPDX-License-Identifier: Apache-2.0
"""Nobody passes for a PBX by a header: through a proxy, past it, or without one."""

import pytest
from proxies.conftest import Pair
from proxies.headers import Forgery, escaped, every_forgery, standard
from proxies.plain_pbx import Place

REQUIRED = "device-certificate-required"


@every_forgery
def test_through_a_proxy_a_forger_has_shown_nothing(
    devices: Place, pair: Pair, forgery: Forgery
) -> None:
    victim = pair.victim
    refused = devices.check(victim.serial_number, headers=forgery(victim.der))
    assert (refused.status, refused.code) == (401, REQUIRED)


@every_forgery
def test_through_the_door_for_people_too(
    people: Place, pair: Pair, forgery: Forgery
) -> None:
    victim = pair.victim
    refused = people.check(victim.serial_number, headers=forgery(victim.der))
    assert (refused.status, refused.code) == (401, REQUIRED)


@every_forgery
def test_a_pbx_is_itself_whatever_else_it_claims(
    devices: Place, pair: Pair, forgery: Forgery
) -> None:
    thief, victim = pair.thief, pair.victim
    forged = forgery(victim.der)
    as_victim = devices.check(
        victim.serial_number, certificate=thief.file, headers=forged
    )
    assert (as_victim.status, as_victim.code) == (403, "serial-mismatch")
    assert thief.check(devices, headers=forged).status == 200


@every_forgery
def test_past_the_proxy_no_header_is_read(
    past_the_proxy: Place, pair: Pair, forgery: Forgery
) -> None:
    victim = pair.victim
    refused = past_the_proxy.check(victim.serial_number, headers=forgery(victim.der))
    assert (refused.status, refused.code) == (401, REQUIRED)


@every_forgery
@pytest.mark.parametrize("source", [None, "127.0.0.2"], ids=["anybody", "trusted"])
def test_where_tls_ends_here_no_header_is_read(
    native_place: Place, native_pair: Pair, forgery: Forgery, source: str | None
) -> None:
    thief, victim = native_pair.thief, native_pair.victim
    place = Place(native_place.port, native_place.data_dir, source=source)
    forged = forgery(victim.der)
    refused = place.check(victim.serial_number, headers=forged)
    assert (refused.status, refused.code) == (401, REQUIRED)
    assert thief.check(place, headers=forged).status == 200


NAMES = {
    "RFC 9440": lambda der: [("Client-Cert", standard(der))],
    "escaped PEM": lambda der: [("X-SSL-Client-Cert", escaped(der))],
}
AMBIGUOUS = {
    "both kinds": lambda der: [
        ("Client-Cert", standard(der)),
        ("X-SSL-Client-Cert", escaped(der)),
    ],
    "twice": lambda der: [("Client-Cert", standard(der))] * 2,
    "escaped twice": lambda der: [("X-SSL-Client-Cert", escaped(der))] * 2,
    "two in one": lambda der: [("Client-Cert", f"{standard(der)}, {standard(der)}")],
    "with a parameter": lambda der: [("Client-Cert", f"{standard(der)};a=1")],
    "no base64": lambda _: [("Client-Cert", ":%%%:")],
    "nothing": lambda _: [("Client-Cert", "::")],
    "no certificate": lambda _: [("Client-Cert", standard(b"certificate"))],
    "more than a certificate": lambda der: [("Client-Cert", standard(der + b"\0"))],
}


@pytest.mark.parametrize("forgery", NAMES.values(), ids=NAMES.keys())
def test_the_trusted_proxy_is_believed(
    as_the_proxy: Place, pair: Pair, forgery: Forgery
) -> None:
    pbx = pair.victim
    told = as_the_proxy.check(pbx.serial_number, headers=forgery(pbx.der))
    assert told.status == 200


@pytest.mark.parametrize("forgery", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_the_trusted_proxy_must_be_clear(
    as_the_proxy: Place, pair: Pair, forgery: Forgery
) -> None:
    pbx = pair.victim
    refused = as_the_proxy.check(pbx.serial_number, headers=forgery(pbx.der))
    assert (refused.status, refused.code) == (403, "device-not-recognised")


@pytest.mark.parametrize("name", ["Client_Cert", "X_SSL_Client_Cert"])
def test_even_from_the_trusted_proxy_an_underscore_is_no_hyphen(
    as_the_proxy: Place, pair: Pair, name: str
) -> None:
    pbx = pair.victim
    refused = as_the_proxy.check(pbx.serial_number, headers=[(name, standard(pbx.der))])
    assert (refused.status, refused.code) == (401, REQUIRED)
