# SPDX-License-Identifier: Apache-2.0
"""Of whoever objects no request is recorded from then on, whatever it asks for."""

import base64
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from flask import Flask
from freezegun import freeze_time
from make import SERIAL, make_csr, make_device, make_nonce, make_token
from making import BIRTH, make_product, make_voucher
from rights_office import Office, access_records, opened, redeem
from visiting import Person

Deed = Callable[[Office], int]


@pytest.fixture
def office(proxied_app: Flask) -> Office:
    return opened(proxied_app)


def check(office: Office) -> int:
    with freeze_time(office.at):
        return office.pbx.check().status_code


def sync(office: Office) -> int:
    return office.entitlements().status_code


def redeem_one(office: Office) -> int:
    with freeze_time(office.at):
        code, _ = make_voucher(make_product())
        return redeem(office, code).status_code


def redeem_in_vain(office: Office) -> int:
    with freeze_time(office.at):
        code, _ = make_voucher(make_product(), activated=False)
        return redeem(office, code).status_code


def start_trial(office: Office) -> int:
    with freeze_time(office.at):
        product = make_product(18, trial=True, duration_days=30)
        return office.pbx.client.post(
            "/voucher/v1/trials",
            json={"product_number": product.product_number, "nonce": make_nonce()},
            headers=office.pbx.headers,
        ).status_code


def redeem_by_browser(office: Office) -> int:
    with freeze_time(office.at):
        code, _ = make_voucher(make_product())
        person = Person(office.app)
        return person.redeem(code, SERIAL).status_code


def renew(office: Office) -> int:
    with freeze_time(office.at):
        key = ec.generate_private_key(ec.SECP256R1())
        pem = make_csr(key, SERIAL).encode()
        der = x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)
        return office.pbx.client.post(
            "/.well-known/est/simplereenroll",
            data=base64.b64encode(der),
            content_type="application/pkcs10",
            headers=office.pbx.headers,
        ).status_code


def initialise(office: Office) -> int:
    with freeze_time(office.at):
        office.pbx.new_key()
        return office.pbx.initialise().status_code


DEEDS: list[tuple[Deed, int]] = [
    (check, 200),
    (sync, 200),
    (redeem_one, 201),
    (redeem_in_vain, 409),
    (start_trial, 201),
    (redeem_by_browser, 200),
    (renew, 200),
    (initialise, 201),
]


@pytest.mark.parametrize(("deed", "status"), DEEDS, ids=lambda each: str(each)[:20])
@pytest.mark.parametrize("why", ["objection", "restriction"])
def test_nothing_is_recorded_of_a_pbx_that_is_left_out(
    office: Office, deed: Deed, status: int, why: str
) -> None:
    office.fulfil(why)
    before = access_records()

    assert deed(office) == status
    assert access_records() == before


@pytest.mark.parametrize(("deed", "status"), DEEDS, ids=lambda each: str(each)[:20])
def test_of_any_other_it_is(office: Office, deed: Deed, status: int) -> None:
    office.own("POST", "device/objection", {})
    office.own("POST", "device/objection", {"withdraw": True})
    before = access_records()

    assert deed(office) == status
    assert access_records() == before + 1


def test_a_pbx_objects_by_itself_and_again_changes_nothing(office: Office) -> None:
    first = office.own("POST", "device/objection")
    assert first.status_code == 200
    assert first.json["objected_at"] == "2027-03-01T14:00:00Z"
    assert "no request" in first.json["effect"]["en"]
    office.at = office.at.replace(hour=20)
    assert office.own("POST", "device/objection", {}).json == first.json
    [noted] = office.send("GET", "requests").json["items"]
    assert (noted["kind"], noted["state"]) == ("objection", "fulfilled")
    taken_back = office.own("POST", "device/objection", {"withdraw": True})
    assert taken_back.json["objected_at"] is None


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_who_cannot_decide_is_asked_to_wait(office: Office) -> None:
    for number in range(20):
        changed = {"withdraw": bool(number % 2)}
        assert office.own("POST", "device/objection", changed).status_code == 200
    refused = office.own("POST", "device/objection", {})
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "3600"
    assert office.own("POST", "device/objection", {"withdraw": True}).status_code == 200


def test_one_objection_leaves_the_others_in_the_same_batch(
    office: Office, proxied_app: Flask
) -> None:
    office.own("POST", "device/objection", {})
    with freeze_time(BIRTH):
        make_device("CX1000000002")
        make_token()
        other = type(office.pbx)(proxied_app.test_client(), "CX1000000002")
        assert other.initialise().status_code == 201
    before = access_records()
    with freeze_time(office.at):
        assert office.pbx.check().status_code == 200
        assert other.check().status_code == 200
    assert access_records() == before + 1
