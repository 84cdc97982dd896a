# SPDX-License-Identifier: Apache-2.0
"""TLS without a proxy: a certificate that ends while its connection stays open."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from proxies.bent import change, look
from proxies.conftest import MakePbx
from proxies.plain_pbx import Place, PlainPbx, check_body
from service import Service, ask

WITHIN_SECONDS = 5.0


def end_by_revocation(service: Service, pbx: PlainPbx) -> None:
    _set(service, pbx, "revoked_at = issued_at")


def end_by_renewal(service: Service, pbx: PlainPbx) -> None:
    # As a week after a renewal: the old certificate's time beside the new is over.
    _set(service, pbx, "retires_at = issued_at")


def end_by_initialising_again(service: Service, pbx: PlainPbx) -> None:
    again = PlainPbx(pbx.serial_number, pbx.folder)
    again.initialise(Place(service.port, service.data_dir))


def end_by_removal(service: Service, pbx: PlainPbx) -> None:
    number = f"{pbx.chain[0].serial_number:x}"
    change(service, "DELETE FROM device_certificate WHERE number = ?", number)


def _set(service: Service, pbx: PlainPbx, what: str) -> None:
    number = f"{pbx.chain[0].serial_number:x}"
    statement = f"UPDATE device_certificate SET {what} WHERE number = ?"
    change(service, statement, number)


ENDS = [
    end_by_revocation,
    end_by_renewal,
    end_by_initialising_again,
    end_by_removal,
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_the_next_request_on_the_same_connection_is_refused(
    native: Service, native_place: Place, make_pbx: MakePbx, end: object
) -> None:
    pbx = make_pbx(native_place)
    body = check_body(pbx.serial_number)
    with closing(native_place.connection(pbx.file)) as connection:
        before = ask(connection, "POST", "/cic/v1/check", json=body)
        assert callable(end)
        end(native, pbx)
        after = ask(connection, "POST", "/cic/v1/check", json=body)
        still = ask(connection, "GET", "/.well-known/est/cacerts")
    assert before.status == 200
    assert (after.status, after.code) == (403, "device-not-recognised")
    assert still.status == 200
    assert pbx.check(native_place).status == 403


def test_the_address_is_the_peers_whatever_it_says(
    native: Service, make_pbx: MakePbx
) -> None:
    place = Place(native.port, native.data_dir, source="127.0.0.9")
    pbx = PlainPbx(make_pbx.serial_number(), make_pbx.folder)
    pbx.initialise(place)
    assert pbx.check(place, [("X-Forwarded-For", "198.51.100.1")]).status == 200
    ((address,),) = look(
        native, "SELECT address FROM access_record ORDER BY id DESC LIMIT 1"
    )
    assert address == "127.0.0.9"


@pytest.fixture
def rolling(fleet_data: Path, tmp_path: Path) -> Iterator[Service]:
    """A service of its own, whose device CA may be rolled over."""
    with Service(tmp_path / "rolling", data=fleet_data) as service:
        yield service


def test_during_a_roll_over_both_cas_are_good_and_nothing_restarts(
    rolling: Service, make_pbx: MakePbx
) -> None:
    place = Place(rolling.port, rolling.data_dir)
    old = make_pbx(place)
    assert old.check(place).status == 200
    workers = rolling.workers()
    rolling.run("device-ca", "roll-over")
    new = _initialised_by_another_ca(place, make_pbx, old.chain[0].issuer)
    deadline = time.monotonic() + WITHIN_SECONDS
    while not _is_let_in(new, place) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pbx in (old, new):
        assert pbx.check(place).status == 200
    assert rolling.workers() == workers


def _initialised_by_another_ca(
    place: Place, make_pbx: MakePbx, issuer: x509.Name
) -> PlainPbx:
    deadline = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < deadline:
        pbx = make_pbx(place)
        if pbx.chain[0].issuer != issuer:
            return pbx
        time.sleep(0.1)
    raise AssertionError("the CA that issues has not changed")


def _is_let_in(pbx: PlainPbx, place: Place) -> bool:
    try:
        return pbx.check(place).status == 200
    except OSError:
        return False
