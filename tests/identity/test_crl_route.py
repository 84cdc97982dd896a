# SPDX-License-Identifier: Apache-2.0
"""The CRL of each device CA: what it lists, and when it is made again."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from flask import Flask
from freezegun import freeze_time
from identity.renewing import BIRTH, DAY, SECOND, WEEK, code_of, renewed
from make import TestPbx, make_device
from werkzeug.test import TestResponse

from fleet.identity import authority
from fleet.identity.authorities import authorities

Reason = x509.ReasonFlags


@pytest.fixture
def pbx(proxied_app: Flask) -> TestPbx:
    """A PBX that was initialised at ``BIRTH``."""
    return _initialised(proxied_app, "CX1000000001")


def _initialised(app: Flask, serial_number: str) -> TestPbx:
    pbx = TestPbx(app.test_client(), serial_number=serial_number)
    with freeze_time(BIRTH):
        make_device(serial_number)
        assert pbx.initialise().status_code == 201
    return pbx


def fetch(pbx: TestPbx, ca: x509.Certificate | None = None) -> TestResponse:
    found = ca or authorities().issuing.chain()[0]
    key_id = found.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return pbx.client.get(f"/.well-known/pbx-device-ca/{key_id.value.digest.hex()}.crl")


def listed(answer: TestResponse) -> dict[int, Reason]:
    """Return the numbers on the list, and why they are there."""
    assert answer.status_code == 200
    found = {}
    for entry in x509.load_der_x509_crl(answer.data):
        try:
            said = entry.extensions.get_extension_for_class(x509.CRLReason)
            found[entry.serial_number] = said.value.reason
        except x509.ExtensionNotFound:
            found[entry.serial_number] = Reason.unspecified
    return found


def number(pbx: TestPbx) -> int:
    return pbx.chain[0].serial_number


def crl_number(answer: TestResponse) -> int:
    crl = x509.load_der_x509_crl(answer.data)
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_a_new_fleet_has_an_empty_one(pbx: TestPbx) -> None:
    with freeze_time(BIRTH):
        answer = fetch(pbx)
    assert listed(answer) == {}
    assert answer.mimetype == "application/pkix-crl"
    crl = x509.load_der_x509_crl(answer.data)
    assert crl.next_update_utc == BIRTH + WEEK
    ca_key = authorities().issuing.issuers()[0].private_key.public_key()
    assert crl.is_signature_valid(ca_key)


def test_it_lists_at_once_what_a_reinitialisation_has_revoked(pbx: TestPbx) -> None:
    with freeze_time(BIRTH):
        assert listed(fetch(pbx)) == {}
        old = number(pbx)
        pbx.new_key()
        assert pbx.initialise().status_code == 201
        assert listed(fetch(pbx)) == {old: Reason.superseded}


@pytest.mark.parametrize(
    ("later", "is_listed"),
    [
        (timedelta(), False),
        (WEEK - SECOND, False),
        (WEEK, True),
        (334 * DAY, True),
        (366 * DAY, False),
    ],
)
def test_it_lists_what_was_renewed_from_the_eighth_day_to_its_own_end(
    pbx: TestPbx, later: timedelta, *, is_listed: bool
) -> None:
    with freeze_time(BIRTH + 30 * DAY):
        renewed(pbx)
    with freeze_time(BIRTH + 30 * DAY + later):
        found = listed(fetch(pbx))
    assert found == ({number(pbx): Reason.superseded} if is_listed else {})


def test_it_is_kept_for_five_minutes_while_nothing_is_revoked(pbx: TestPbx) -> None:
    numbers = []
    for later in (0, 1, 299, 300, 301):
        with freeze_time(BIRTH + later * SECOND):
            numbers.append(crl_number(fetch(pbx)))
    assert numbers[0] == numbers[1] == numbers[2]
    assert numbers[3] > numbers[2]
    assert numbers[4] == numbers[3]


def test_its_number_rises_with_every_revocation(proxied_app: Flask) -> None:
    numbers = []
    for count in range(1, 4):
        pbx = _initialised(proxied_app, f"CX100000000{count}")
        with freeze_time(BIRTH + count * timedelta(milliseconds=1)):
            pbx.new_key()
            assert pbx.initialise().status_code == 201
            answer = fetch(pbx)
            numbers.append(crl_number(answer))
            assert len(listed(answer)) == count
    assert numbers == sorted(set(numbers))


def test_each_ca_lists_its_own(pbx: TestPbx) -> None:
    folder: Path = authorities().folder
    (old_ca,) = authorities().issuing.chain()
    with freeze_time(BIRTH):
        authority.begin_rollover(folder, now=BIRTH)
        authorities().issuing._loaded.look_now()  # noqa: SLF001 -- or wait a second
        authorities().trust._anchors.look_now()  # noqa: SLF001 -- or wait a second
        (new_ca,) = authorities().issuing.chain()
        assert new_ca != old_ca
        old = number(pbx)
        pbx.new_key()
        assert pbx.initialise().status_code == 201
        second = number(pbx)
        pbx.new_key()
        assert pbx.initialise().status_code == 201
        assert set(listed(fetch(pbx, old_ca))) == {old}
        assert set(listed(fetch(pbx, new_ca))) == {second}


def test_the_key_identifier_may_be_in_capitals(pbx: TestPbx) -> None:
    key_id = authorities().issuing.key_id.hex()
    with freeze_time(BIRTH):
        url = f"/.well-known/pbx-device-ca/{key_id.upper()}.crl"
        assert pbx.client.get(url).status_code == 200


@pytest.mark.parametrize("key_id", ["00" * 20, "x", "..", "issuing", "%00"])
def test_of_a_ca_that_is_not_ours_there_is_none(pbx: TestPbx, key_id: str) -> None:
    answer = pbx.client.get(f"/.well-known/pbx-device-ca/{key_id}.crl")
    assert (answer.status_code, code_of(answer)) == (404, "not-found")
