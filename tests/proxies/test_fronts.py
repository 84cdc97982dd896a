# SPDX-License-Identifier: Apache-2.0
"""A PBX lives behind nginx and behind haproxy as it does without them."""

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from proxies import fronts
from proxies.bent import change, look
from proxies.conftest import PROXIES, MakePbx, Pair, site_of
from proxies.fronts import Front
from proxies.headers import standard
from proxies.plain_pbx import Place, PlainPbx, check_body, verified
from service import Service, ask

CLIENT = "127.0.0.7"


def last_address(service: Service) -> str:
    """Return the address in the newest access record.

    The newest by its instant: those of other requests are written a little later.
    """
    ((address,),) = look(
        service, "SELECT address FROM access_record ORDER BY accessed_at DESC LIMIT 1"
    )
    return str(address)


def test_a_pbx_is_initialised_and_gets_a_signed_lease(
    devices: Place, make_pbx: MakePbx
) -> None:
    pbx = make_pbx(devices)
    keyset = devices.ask("GET", "/cic/v1/keyset").body.decode()
    checked = pbx.check(devices)
    assert checked.status == 200
    lease = verified(checked.json["lease"], keyset=keyset, data_dir=devices.data_dir)
    assert lease["sub"] == pbx.serial_number
    assert lease["verdict"] == "active"


def test_a_certificate_is_looked_at_again_at_each_request(
    devices: Place, behind: Service, make_pbx: MakePbx
) -> None:
    pbx = make_pbx(devices)
    body = check_body(pbx.serial_number)
    with closing(devices.connection(pbx.file)) as connection:
        kept = [ask(connection, "POST", "/cic/v1/check", json=body)]
        change(
            behind,
            "UPDATE device_certificate SET revoked_at = issued_at WHERE number = ?",
            f"{pbx.chain[0].serial_number:x}",
        )
        kept.append(ask(connection, "POST", "/cic/v1/check", json=body))
    assert [each.status for each in kept] == [200, 403]


def test_the_next_client_is_not_taken_for_the_one_before(
    devices: Place, pair: Pair
) -> None:
    # A proxy uses a connection to the service for many clients, one after another.
    for _ in range(4):
        assert pair.thief.check(devices).status == 200
        assert devices.check(pair.thief.serial_number).status == 401
        assert pair.victim.check(devices).status == 200


def test_the_door_for_people_asks_for_no_certificate(people: Place, pair: Pair) -> None:
    refused = pair.victim.check(people)
    assert (refused.status, refused.code) == (401, "device-certificate-required")
    assert people.ask("GET", "/problems/serial-mismatch").status == 200


@pytest.mark.parametrize("path", ["/metrics", "/metrics?x", "/%6detrics", "//metrics"])
def test_the_metrics_are_not_for_everybody(
    devices: Place, people: Place, path: str
) -> None:
    for place in (devices, people):
        outside = Place(place.port, place.data_dir, source="127.0.0.7")
        assert outside.ask("GET", path).status in {403, 404}


@pytest.mark.parametrize(
    "claimed", ["", "198.51.100.1", "198.51.100.1, 127.0.0.2", "unknown"]
)
def test_the_clients_address_is_the_one_the_proxy_saw(
    devices: Place, behind: Service, pair: Pair, claimed: str
) -> None:
    place = Place(devices.port, devices.data_dir, source=CLIENT)
    headers = [("X-Forwarded-For", claimed), ("X-Real-IP", claimed)]
    assert pair.victim.check(place, headers=headers).status == 200
    assert last_address(behind) == CLIENT


CHAINS = {
    "198.51.100.1": "198.51.100.1",
    "198.51.100.1, 203.0.113.9": "203.0.113.9",
    "203.0.113.9, 127.0.0.2": "203.0.113.9",
    "6.6.6.6,203.0.113.9:4711 ,127.0.0.2": "203.0.113.9",
    "[2001:db8::1]:4711": "2001:db8::1",
    "2001:DB8:0::1, 127.0.0.2, 127.0.0.2": "2001:db8::1",
    "127.0.0.2": "127.0.0.2",
    "203.0.113.9, rubbish": "127.0.0.2",
    "": "127.0.0.2",
}


@pytest.mark.parametrize(("chain", "address"), CHAINS.items())
def test_of_a_chain_the_last_that_is_no_proxy_counts(
    as_the_proxy: Place, behind: Service, pair: Pair, chain: str, address: str
) -> None:
    headers = [
        ("Client-Cert", standard(pair.victim.der)),
        ("X-Forwarded-For", chain),
    ]
    checked = as_the_proxy.check(pair.victim.serial_number, headers=headers)
    assert checked.status == 200
    assert last_address(behind) == address


@pytest.mark.foreign("nginx", "haproxy")
def test_a_chain_of_two_real_proxies(
    behind: Service, make_pbx: MakePbx, tmp_path: Path
) -> None:
    caller = "127.0.0.8"  # nobody has called from there before
    keep = {
        "X-Forwarded-For   $remote_addr": "X-Forwarded-For $proxy_add_x_forwarded_for"
    }
    inner = fronts.start("nginx", site_of(behind, tmp_path / "inner", **keep))
    to_inner = {
        "server callhome 127.0.0.1:8080": f"server callhome localhost:{inner.people} "
        f"ssl verify required ca-file {behind.data_dir}/tls/ca.pem source 127.0.0.2 #"
    }
    outer: Front | None = None
    try:
        site = site_of(behind, tmp_path / "outer", **to_inner)
        outer = fronts.start("haproxy", site)
        place = Place(outer.devices, behind.data_dir, source=caller)
        pbx = PlainPbx(make_pbx.serial_number(), tmp_path)
        pbx.initialise(place, headers=[("X-Forwarded-For", "198.51.100.1")])
        within = time.monotonic() + 5  # it is written behind the answer
        while last_address(behind) != caller and time.monotonic() < within:
            time.sleep(0.05)
        assert last_address(behind) == caller
    finally:
        for each in filter(None, (outer, inner)):
            each.stop()


@pytest.mark.parametrize("name", PROXIES)
def test_while_the_service_is_away_a_pbx_is_told_to_come_again(
    behind: Service, tmp_path: Path, name: str
) -> None:
    site = replace(site_of(behind, tmp_path), backend=9)
    front = fronts.start(name, site)
    try:
        place = Place(front.devices, behind.data_dir)
        told = place.check("CX0000000001")
        assert (told.status, told.code) == (503, "service-unavailable")
        assert told.headers["retry-after"] == "60"
        assert told.json["status"] == 503
    finally:
        front.stop()


def test_no_proxy_writes_down_who_called(
    front: Front, devices: Place, pair: Pair
) -> None:
    place = Place(devices.port, devices.data_dir, source=CLIENT)
    assert pair.victim.check(place).status == 200
    place.ask("GET", f"/cic/v1/devices/{pair.victim.serial_number}")
    logged = front.logged()
    assert pair.victim.serial_number not in logged
    assert CLIENT not in logged
