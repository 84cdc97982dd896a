# SPDX-License-Identifier: Apache-2.0
"""The life of a PBX that knows nothing of us but the protocol page.

Against the service as an operator runs it, over mutual TLS that ends there, with
the wall clock of the service moved where weeks must pass.
"""

import re
from datetime import timedelta

import pytest
from faults.moved_clock import MovedClock
from service import Service
from wire.places import FIRST, SECOND, Make, later, refusal_of
from wire.plain_firmware import (
    DAY,
    NotBelieved,
    PlainFirmware,
    base64url,
    instant,
    openssl,
)

pytestmark = [
    pytest.mark.foreign("openssl"),
    pytest.mark.foreign("curl"),
    pytest.mark.foreign("gcc"),
]


def test_a_pbx_lives_by_the_protocol_page(
    service: Service, clock: MovedClock, make_pbx: Make
) -> None:
    pbx = make_pbx(FIRST)
    lease = pbx.initialise()
    _check_lease_of_an_active_pbx(service, clock, lease, generation=1)
    _check_certificate(pbx, clock)
    _check_key_sets(pbx)
    release_key = lease["release_key"]

    later(service, clock, DAY)
    lease = pbx.check()
    _check_lease_of_an_active_pbx(service, clock, lease, generation=1)

    before = pbx.chain.read_text()
    pbx.renew()
    assert pbx.chain.read_text() != before
    _check_certificate(pbx, clock)
    assert pbx.check()["verdict"] == "active"

    _check_block(service, pbx)

    later(service, clock, 40 * DAY)
    _check_lock(pbx, clock)
    _check_reinitialisation(service, clock, pbx, release_key)


def test_an_amnesty_holds_off_the_lock_of_everybody(
    service: Service, clock: MovedClock, make_pbx: Make
) -> None:
    pbx = make_pbx(FIRST)
    pbx.initialise()
    until = (clock.now() + 60 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    pbx.call(
        "/cic/v1/amnesties",
        {"until": until, "reason": "a carrier is down"},
        headers=service.staff(),
        status=201,
    )
    assert pbx.check()["lock_at"] == until
    clock.move(40 * DAY)
    assert pbx.check()["verdict"] == "active"
    clock.move(40 * DAY)
    assert pbx.check()["verdict"] == "locked"


def test_a_replaced_pbx_gets_its_verdict_and_its_heir_lives(
    service: Service, make_pbx: Make
) -> None:
    old, new = make_pbx(FIRST), make_pbx(SECOND)
    old.initialise()
    new.initialise()
    old.call(
        f"/cic/v1/devices/{FIRST}/replacement",
        {"by": SECOND, "reason": "struck by lightning"},
        headers=service.staff(),
    )
    assert old.check()["verdict"] == "replaced"
    assert new.check()["verdict"] == "active"
    assert refusal_of(old.initialise) == (403, "device-not-permitted")
    assert old.authorities().read_text().startswith("subject")
    with pytest.raises(ConnectionError, match="403"):
        old.renew()


def test_documents_that_were_tampered_with_are_nothing(make_pbx: Make) -> None:
    """What the tests above rest on: this PBX does not believe just anything."""
    pbx = make_pbx(FIRST)
    pbx.initialise()
    token = pbx.call("/cic/v1/keyset")
    head, payload, signature = token.split(".")
    unsigned = base64url(b'{"alg":"none","typ":"keyset+jwt","kid":"x"}')
    for forged in (
        f"{head}.{payload}.{base64url(bytes(64))}",
        f"{head}.{payload[:-4]}AAAA.{signature}",
        f"{unsigned}.{payload}.",
    ):
        with pytest.raises(NotBelieved):
            pbx.trust.learn(forged)
    with pytest.raises(NotBelieved):
        pbx.believe(token, "a nonce")


def _check_lease_of_an_active_pbx(
    service: Service, clock: MovedClock, lease: dict[str, object], *, generation: int
) -> None:
    assert lease["verdict"] == "active"
    assert lease["generation"] == generation
    assert lease["iss"] == service.settings["PBX_PUBLIC_URL"]
    lock_at = instant(str(lease["lock_at"]))
    assert abs(lock_at - clock.now() - 31 * DAY) < timedelta(minutes=1)
    warnings = lease["warn_at"]
    assert isinstance(warnings, list)
    assert all(clock.now() < instant(each) < lock_at for each in warnings)
    assert isinstance(lease["minimum_attempts"], int)
    assert lease["minimum_attempts"] > 100


def _check_certificate(pbx: PlainFirmware, clock: MovedClock) -> None:
    leaf = str(pbx.chain)
    at = ("-attime", str(int(clock.now().timestamp()) + 1))
    chain = ("-CAfile", str(pbx.authorities()), "-purpose", "sslclient")
    openssl("verify", *at, *chain, "-partial_chain", leaf)
    text = openssl("x509", "-in", leaf, "-noout", "-text").decode()
    subject = re.search("Subject: (.*)", text)
    assert subject is not None
    assert subject[1].count("serialNumber") == 1
    assert pbx.serial_number in subject[1]
    assert "SOMEBODYELSE1" not in text
    for wanted in (
        "TLS Web Client Authentication",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
        "ASN1 OID: prime256v1",
    ):
        assert wanted in text
    assert "TLS Web Server Authentication" not in text


def _check_lock(pbx: PlainFirmware, clock: MovedClock) -> None:
    """Checking alone does not unlock it, nor does the key that it had."""
    lease = pbx.check()
    assert lease["verdict"] == "locked"
    assert instant(lease["lock_at"]) < clock.now()
    assert pbx.check()["verdict"] == "locked"
    refused = refusal_of(lambda: pbx.initialise(same_key=True))
    assert refused == (409, "new-key-required")


def _check_reinitialisation(
    service: Service, clock: MovedClock, pbx: PlainFirmware, release_key: object
) -> None:
    """The certificate before is dead, the new one lives and is renewed."""
    files = (pbx.chain, pbx.key)
    stale = [each.read_bytes() for each in files]
    lease = pbx.initialise()
    _check_lease_of_an_active_pbx(service, clock, lease, generation=2)
    assert lease["release_key"] == release_key
    assert pbx.check()["verdict"] == "active"

    fresh = [each.read_bytes() for each in files]
    for file, content in zip(files, stale, strict=True):
        file.write_bytes(content)
    assert refusal_of(pbx.check) == (403, "device-not-recognised")
    for file, content in zip(files, fresh, strict=True):
        file.write_bytes(content)

    pbx.renew()
    assert pbx.check()["generation"] == 2
    again = pbx.initialise(same_key=True)  # an answer was lost
    assert again["generation"] == 2


def _check_key_sets(pbx: PlainFirmware) -> None:
    token = pbx.call("/cic/v1/keyset")
    pbx.trust.learn(token)
    plain = pbx.call("/.well-known/jwks.json")["keys"]
    assert {each["kid"] for each in plain} == set(pbx.trust.keys)
    assert all("d" not in each for each in plain)
    pbx.trust.version += 1
    with pytest.raises(NotBelieved, match="rolled back"):
        pbx.trust.learn(token)
    pbx.trust.version -= 1


def _check_block(service: Service, pbx: PlainFirmware) -> None:
    url, staff = f"/cic/v1/devices/{pbx.serial_number}", service.staff()
    pbx.call(f"{url}/block", {"reason": "stolen"}, headers=staff)
    assert pbx.check()["verdict"] == "blocked"
    with pytest.raises(ConnectionError, match="403"):
        pbx.renew()
    assert refusal_of(pbx.initialise) == (403, "device-not-permitted")
    pbx.trust.learn(pbx.call("/cic/v1/keyset"))
    pbx.call(f"{url}/unblock", {"reason": "found"}, headers=staff)
    assert pbx.check()["verdict"] == "active"
