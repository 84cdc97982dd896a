# SPDX-License-Identifier: Apache-2.0
"""A PBX redeems a voucher over HTTP."""

import json
import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from calling import entitled, problem, redeem
from flask import Flask
from freezegun import freeze_time
from fuzz.journeys import dump
from make import NOBODY, SERIAL, TestPbx, make_nonce, verified
from making import (
    BIRTH,
    days,
    make_pbx,
    make_product,
    make_voucher,
    release_rows,
    voucher_row,
)
from sqlalchemy import select, update

from cic.service import holds
from fleet.database import reading, transaction
from fleet.ground import ground
from fleet.server.models import Pulse
from fleet.server.pulse import timekeeper
from fleet.web import access_log
from fleet.web.models import AccessRecord
from voucher import codes

OTHER = "CX1000000002"


pytestmark = pytest.mark.usefixtures("at_birth")


def test_a_redeemed_voucher_is_answered_with_code_and_signed_functions(
    pbx: TestPbx,
) -> None:
    code, _ = make_voucher(make_product(duration_days=365))
    nonce = make_nonce()

    answer = redeem(pbx, codes.shown(code), nonce=nonce)

    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    said = answer.get_json()
    assert list(said) == [
        "product_number",
        "quantity",
        "release_code",
        "redeemed_at",
        "entitlements",
    ]
    assert (said["product_number"], said["quantity"]) == (17, 10)
    assert said["redeemed_at"] == "2027-03-01T12:00:00Z"
    assert said["release_code"].replace("-", "") == release_rows()[0].code
    assert [len(each) for each in said["release_code"].split("-")] == [5] * 5
    claims = verified(said["entitlements"])
    assert (claims["typ"], claims["purpose"]) == ("entitlements+jwt", "entitlements")
    assert (claims["sub"], claims["nonce"]) == (SERIAL, nonce)
    assert (claims["last_sequence"], claims["functions"]) == (
        1,
        [
            {
                "function": "users",
                "quantity": 10,
                "expires_on": "2028-02-29",
                "source": "voucher",
            }
        ],
    )


def test_the_second_answer_is_200_and_the_same_but_for_the_signature(
    pbx: TestPbx,
) -> None:
    code, _ = make_voucher()
    first = redeem(pbx, code)
    with freeze_time(BIRTH + days(5)):
        again = redeem(pbx, f"  {codes.shown(code).lower()} ")
    assert (first.status_code, again.status_code) == (201, 200)
    before, after = first.get_json(), again.get_json()
    assert before.pop("entitlements") != after.pop("entitlements")
    assert json.dumps(before) == json.dumps(after)


@pytest.mark.parametrize(
    ("made", "status", "said"),
    [
        ({"revoked": True}, 404, "voucher-not-valid"),
        ({"activated": False}, 409, "voucher-not-activated"),
        ({"valid_until": BIRTH}, 409, "voucher-expired"),
    ],
)
def test_a_refusal_is_a_problem_of_its_own(
    pbx: TestPbx, made: dict[str, object], status: int, said: str
) -> None:
    code, _ = make_voucher(**made)  # type: ignore[arg-type] # as the table says
    answer = redeem(pbx, code)
    assert problem(answer) == (status, said)
    assert code not in answer.text


def test_what_another_pbx_has_is_refused(proxied_app: Flask, pbx: TestPbx) -> None:
    code, _ = make_voucher()
    assert redeem(pbx, code).status_code == 201
    other = make_pbx(proxied_app, OTHER)
    assert problem(redeem(other, code)) == (409, "voucher-already-redeemed")
    assert entitled(other) == []


def test_a_mistyped_code_says_which_group_to_look_at(pbx: TestPbx) -> None:
    code, _ = make_voucher()
    wrong = code[:7] + ("0" if code[7] != "0" else "1") + code[8:]
    answer = redeem(pbx, wrong)
    assert problem(answer) == (400, "mistyped-code")
    assert answer.get_json()["fields"] == {"code": ["Look at group 2 of 4 again."]}


def test_codes_that_do_not_exist_are_404_until_they_are_too_many(pbx: TestPbx) -> None:
    for _ in range(10):
        assert problem(redeem(pbx, codes.draw())) == (404, "voucher-not-valid")
    stopped = redeem(pbx, codes.draw())
    assert problem(stopped) == (429, "too-many-requests")
    with freeze_time(BIRTH + timedelta(seconds=int(stopped.headers["Retry-After"]))):
        assert problem(redeem(pbx, codes.draw())) == (404, "voucher-not-valid")


def test_who_has_a_good_code_never_waits_for_a_guesser(pbx: TestPbx) -> None:
    good, _ = make_voucher()
    for _ in range(11):
        last = redeem(pbx, codes.draw())
    assert problem(last) == (429, "too-many-requests")
    assert redeem(pbx, good).status_code == 201
    assert redeem(pbx, good).status_code == 200


def test_a_locked_blocked_or_replaced_pbx_may_not_redeem(
    proxied_app: Flask, pbx: TestPbx
) -> None:
    make_pbx(proxied_app, OTHER, initialised=False)
    with freeze_time(BIRTH + days(60)):
        assert pbx.lease()["verdict"] == "locked"
        for code in (make_voucher()[0], *(codes.draw() for _ in range(12))):
            assert problem(redeem(pbx, code)) == (403, "device-not-permitted")
        now = BIRTH + days(60)
        holds.block(SERIAL, reason="stolen", by=NOBODY, now=now)
        for code in (make_voucher()[0], *(codes.draw() for _ in range(12))):
            assert problem(redeem(pbx, code)) == (403, "device-not-permitted")
        holds.unblock(SERIAL, reason="found", by=NOBODY, now=now)
        holds.replace(SERIAL, replaced_by=OTHER, reason="dead", by=NOBODY, now=now)
        assert problem(redeem(pbx, make_voucher()[0])) == (403, "device-not-permitted")


def test_a_certificate_that_was_revoked_redeems_nothing_from_then_on(
    pbx: TestPbx,
) -> None:
    old = replace(pbx, chain=list(pbx.chain))
    pbx.new_key()
    assert pbx.initialise().status_code == 201
    for code in (make_voucher()[0], *(codes.draw() for _ in range(12))):
        assert problem(redeem(old, code)) == (403, "device-not-recognised")
    assert redeem(pbx, make_voucher()[0]).status_code == 201


def test_without_a_certificate_nothing_is_redeemed(pbx: TestPbx) -> None:
    code, voucher_id = make_voucher()
    body = {"code": code, "nonce": make_nonce(), "serial_number": SERIAL}
    answer = pbx.client.post("/voucher/v1/redemptions", json=body)
    assert problem(answer) == (401, "device-certificate-required")
    assert voucher_row(voucher_id).redeemed_at is None


def test_fields_of_newer_firmware_are_ignored(pbx: TestPbx) -> None:
    code, _ = make_voucher()
    assert redeem(pbx, code, colour="blue", serial_number=OTHER).status_code == 201
    assert release_rows()[0].device_id == voucher_row(1).redeemed_by_id


BAD: dict[str, dict[str, object]] = {
    "no code": {"code": None},
    "a number": {"code": 12345678901234567890},
    "a list": {"code": ["A"]},
    "empty": {"code": ""},
    "too long": {"code": "A" * 65},
    "too short": {"code": "ABCDE"},
    "a letter that no code has": {"code": "U" * 20},
    "not of this world": {"code": "\N{SNOWMAN}" * 20},
    "no nonce": {"nonce": None},
    "a short nonce": {"nonce": "AAAA"},
    "a padded nonce": {"nonce": "A" * 22 + "=="},
}


def test_bad_input_is_refused_and_changes_nothing(pbx: TestPbx) -> None:
    code, _ = make_voucher()
    before = dump()
    for said, changed in BAD.items():
        answer = redeem(pbx, **({"code": code} | changed))  # type: ignore[arg-type] # bad on purpose
        status, what = problem(answer)
        assert status == 400, said
        assert what in {"invalid-request", "mistyped-code"}, said
        assert list(answer.get_json()["fields"]) == list(changed), said
    for raw in (b"", b"{", b"[]", b'{"code": "\xff"}', b'{"code":"a","code":"b"}'):
        answer = pbx.client.post(
            "/voucher/v1/redemptions",
            data=raw,
            headers=pbx.headers | {"Content-Type": "application/json"},
        )
        assert answer.status_code == 400, raw
    assert dump() == before
    assert redeem(pbx, code).status_code == 201


def test_what_cannot_be_signed_is_not_begun(pbx: TestPbx) -> None:
    code, voucher_id = make_voucher()
    for each in (ground().settings.data_dir / "keys" / "signing").glob("*.pem"):
        each.unlink()
    with freeze_time(BIRTH + timedelta(seconds=5)):
        before = dump()
        assert problem(redeem(pbx, code)) == (503, "cannot-sign")
        assert dump() == before
    assert voucher_row(voucher_id).redeemed_at is None


def test_each_request_leaves_a_record_of_address_and_time_and_no_more(
    pbx: TestPbx,
) -> None:
    redeem(pbx, make_voucher()[0])
    redeem(pbx, codes.draw())
    access_log.flush()
    with reading() as session:
        records = session.scalars(
            select(AccessRecord).where(AccessRecord.service == "voucher")
        ).all()
    assert [
        (each.address, each.accessed_at, each.device_type, each.software_version)
        for each in records
    ] == [("127.0.0.1", BIRTH, None, None)] * 2


def test_no_code_and_no_serial_number_is_logged(
    pbx: TestPbx, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    code, _ = make_voucher()
    unknown = codes.draw()
    for each in (code, codes.shown(code), code, unknown, unknown[:-1]):
        redeem(pbx, each)
    [release] = release_rows()
    for secret in (code, codes.shown(code), unknown, SERIAL, release.code):
        assert secret not in caplog.text


def test_a_clock_that_is_not_trusted_redeems_nothing(
    pbx: TestPbx, proxied_app: Flask
) -> None:
    code, voucher_id = make_voucher()
    with transaction() as session:
        session.execute(update(Pulse).values(beat_at=BIRTH + days(10**5)))
    with proxied_app.app_context():
        timekeeper().beat()
    assert problem(redeem(pbx, code)) == (503, "clock-not-trusted")
    assert voucher_row(voucher_id).redeemed_at is None
