# SPDX-License-Identifier: Apache-2.0
"""A PBX renews its certificate; the old one stays for a week."""

import base64
import threading
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import pkcs7
from flask import Flask
from freezegun import freeze_time
from identity.renewing import (
    BIRTH,
    DAY,
    SECOND,
    WEEK,
    ask_to_renew,
    code_of,
    new_key,
    renewed,
)
from make import SERIAL, TestPbx, make_csr, make_device, make_token
from sqlalchemy import func, select

from fleet.clock import utcnow
from fleet.database import reading
from fleet.identity.certificates import read_leaf
from fleet.identity.csr import read_csr
from fleet.identity.guard import DeviceNotRecognised, recognise
from fleet.identity.models import DeviceCertificate
from fleet.identity.renewal import renew
from fleet.web import access_log
from fleet.web.models import AccessRecord

SPRING = BIRTH + 30 * DAY


@pytest.fixture
def pbx(proxied_app: Flask) -> TestPbx:
    """A PBX that was initialised at ``BIRTH``."""
    pbx = TestPbx(proxied_app.test_client())
    with freeze_time(BIRTH):
        make_device()
        assert pbx.initialise().status_code == 201
    return pbx


def issued() -> int:
    with reading() as session:
        return session.scalar(select(func.count(DeviceCertificate.id))) or 0


@pytest.mark.parametrize(
    ("later", "status"),
    [
        (timedelta(), 200),
        (6 * DAY, 200),
        (WEEK - SECOND, 200),
        (WEEK, 403),
        (WEEK + SECOND, 403),
        (60 * DAY, 403),
    ],
)
def test_the_old_certificate_is_good_for_seven_days(
    pbx: TestPbx, later: timedelta, status: int
) -> None:
    with freeze_time(SPRING):
        young = renewed(pbx)
    with freeze_time(SPRING + later):
        assert young.check().status_code == 200
        pbx.continuation = young.continuation
        assert pbx.check().status_code == status


def test_a_renewal_is_no_check_and_unlocks_nothing(pbx: TestPbx) -> None:
    with freeze_time(BIRTH + 40 * DAY):
        assert pbx.lease()["verdict"] == "locked"
        young = renewed(pbx)
        assert young.lease()["verdict"] == "locked"


def test_it_does_not_raise_the_generation(pbx: TestPbx) -> None:
    with freeze_time(SPRING):
        assert renewed(pbx).lease()["generation"] == 1


def test_the_lost_answer_is_given_again_for_as_long_as_the_old_stays(
    pbx: TestPbx,
) -> None:
    key = new_key()
    with freeze_time(SPRING):
        first = renewed(pbx, key)
    with freeze_time(SPRING + WEEK - SECOND):
        assert renewed(pbx, key).chain == first.chain
    assert issued() == 2


def test_the_same_key_again_a_year_later_gets_a_new_certificate(pbx: TestPbx) -> None:
    with freeze_time(SPRING):
        first = renewed(pbx)
    with freeze_time(SPRING + 300 * DAY):
        second = renewed(first, first.key)
    assert second.chain != first.chain
    assert second.chain[0].not_valid_after_utc == SPRING + 665 * DAY


def test_a_second_key_within_the_week_retires_the_first(pbx: TestPbx) -> None:
    # The PBX lost the answer and the key with it.
    with freeze_time(SPRING):
        lost = renewed(pbx)
    with freeze_time(SPRING + 2 * DAY):
        young = renewed(pbx)
    with freeze_time(SPRING + WEEK):
        assert pbx.check().status_code == 403  # its week began with the first
        assert lost.check().status_code == 200
    with freeze_time(SPRING + 2 * DAY + WEEK):
        assert lost.check().status_code == 403
        assert young.check().status_code == 200


def test_a_reinitialisation_ends_both(pbx: TestPbx) -> None:
    with freeze_time(SPRING):
        young = renewed(pbx)
        again = TestPbx(pbx.client)
        assert again.initialise().status_code == 201
        assert [each.check().status_code for each in (pbx, young, again)] == [
            403,
            403,
            200,
        ]


def test_a_reinitialisation_that_comes_between_wins(pbx: TestPbx) -> None:
    with freeze_time(SPRING):
        now = utcnow()
        der = base64.b64decode(pbx.headers["Client-Cert"].strip(":"))
        calling = recognise(read_leaf(der), now=now)
        TestPbx(pbx.client).initialise()
        before = issued()
        csr = read_csr(_csr())
        with pytest.raises(DeviceNotRecognised):
            renew(calling, csr, now=now)
        assert issued() == before


def _csr() -> bytes:
    return make_csr(new_key(), SERIAL).encode()


def test_ten_at_once_get_one_certificate(proxied_app: Flask, pbx: TestPbx) -> None:
    key = new_key()
    answers = []
    start = threading.Barrier(10)

    def ask() -> None:
        own = TestPbx(proxied_app.test_client(), chain=pbx.chain, key=pbx.key)
        start.wait()
        answers.append(ask_to_renew(own, key))

    with freeze_time(SPRING):
        threads = [threading.Thread(target=ask) for _ in range(10)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert [each.status_code for each in answers] == [200] * 10
    assert len({each.data for each in answers}) == 1
    assert issued() == 2


@pytest.mark.parametrize(
    ("hold", "status", "code"),
    [("", 200, ""), ("block", 403, "device-not-permitted")],
    ids=["active", "blocked"],
)
def test_the_standing_decides(pbx: TestPbx, hold: str, status: int, code: str) -> None:
    with freeze_time(SPRING):
        if hold:
            url = f"/cic/v1/devices/{SERIAL}/{hold}"
            said = pbx.client.post(url, json={"reason": "x"}, headers=make_token())
            assert said.status_code == 200, said.json
        answer = ask_to_renew(pbx, new_key())
    assert (answer.status_code, code_of(answer)) == (status, code)


def test_a_replaced_pbx_renews_nothing(pbx: TestPbx) -> None:
    with freeze_time(SPRING):
        make_device("CX1000000002")
        said = pbx.client.post(
            f"/cic/v1/devices/{SERIAL}/replacement",
            json={"by": "CX1000000002", "reason": "lightning"},
            headers=make_token(),
        )
        assert said.status_code == 200, said.json
        answer = ask_to_renew(pbx, new_key())
    assert code_of(answer) == "device-not-permitted"


def test_it_is_recorded_like_a_check_without_a_serial_number(pbx: TestPbx) -> None:
    access_log.flush()
    with freeze_time(SPRING):
        renewed(pbx)
    access_log.flush()
    with reading() as session:
        record = session.scalars(
            select(AccessRecord).order_by(AccessRecord.id.desc())
        ).first()
    assert record is not None
    assert (record.service, record.accessed_at) == ("cic", SPRING)
    assert record.device_type == "COMtrexx VM"


def test_what_comes_back_is_one_certificate_in_one_line(pbx: TestPbx) -> None:
    with freeze_time(SPRING):
        answer = ask_to_renew(pbx, new_key())
        assert pbx.lease()["verdict"] == "active"
    assert answer.mimetype == "application/pkcs7-mime"
    assert answer.mimetype_params == {"smime-type": "certs-only"}
    assert b"\n" not in answer.data
    (leaf,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.data))
    assert leaf.subject == pbx.chain[0].subject


def test_many_renewals_in_a_day_are_too_many_and_the_next_day_is_new(
    pbx: TestPbx,
) -> None:
    """A stolen key cannot fill the database; an honest PBX needs one a year."""
    with freeze_time(SPRING):
        answers = [ask_to_renew(pbx, new_key()) for _ in range(30)]
        count = issued()
    with freeze_time(SPRING + DAY + SECOND):
        after = ask_to_renew(pbx, new_key())

    assert [each.status_code for each in answers] == [200] * 24 + [429] * 6
    assert answers[-1].headers["Retry-After"] == "3600"
    assert count == 25  # with the one of its initialisation
    assert after.status_code == 200
