# SPDX-License-Identifier: Apache-2.0
"""Who is calling: what the guard believes, and what it does not even read."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from flask import Flask
from freezegun import freeze_time
from identity.anything_goes import AnythingGoes
from identity.renewing import BIRTH, DAY, SECOND, ask_to_renew, code_of, new_key
from make import TestPbx, make_device
from sqlalchemy import delete, update

from fleet.database import db, transaction
from fleet.identity.guard import is_in_force
from fleet.identity.models import DeviceCertificate
from fleet.settings import Settings
from wsgi import create_app

YEAR = 365 * DAY


@pytest.mark.parametrize(
    ("revoked", "retires", "later", "believed"),
    [
        (None, None, timedelta(), True),
        (None, None, YEAR, True),
        (None, None, YEAR + SECOND, False),
        (None, DAY, DAY - SECOND, True),
        (None, DAY, DAY, False),
        (DAY, None, timedelta(), False),
        (DAY, DAY, timedelta(), False),
        (timedelta(), None, timedelta(), False),
    ],
)
def test_a_certificate_is_in_force(
    revoked: timedelta | None,
    retires: timedelta | None,
    later: timedelta,
    *,
    believed: bool,
) -> None:
    # A revocation counts at once, whatever its instant: clocks differ.
    assert (
        is_in_force(
            revoked_at=None if revoked is None else BIRTH + revoked,
            retires_at=None if retires is None else BIRTH + retires,
            not_after=BIRTH + YEAR,
            now=BIRTH + later,
        )
        is believed
    )


@pytest.fixture
def pbx(proxied_app: Flask) -> TestPbx:
    """A PBX that was initialised at ``BIRTH``."""
    pbx = TestPbx(proxied_app.test_client())
    with freeze_time(BIRTH):
        make_device()
        assert pbx.initialise().status_code == 201
    return pbx


def refused(pbx: TestPbx) -> set[str]:
    """Ask both kinds of guard; return the codes of their refusals."""
    with freeze_time(BIRTH + SECOND):
        return {code_of(pbx.check()), code_of(ask_to_renew(pbx, new_key()))}


def test_what_is_in_order_is_let_in(pbx: TestPbx) -> None:
    assert refused(pbx) == {""}


def test_a_certificate_that_we_did_not_issue_is_not_recognised(pbx: TestPbx) -> None:
    with transaction() as session:
        session.execute(delete(DeviceCertificate))
    assert refused(pbx) == {"device-not-recognised"}


def test_a_certificate_of_a_stranger_is_not_recognised(pbx: TestPbx) -> None:
    stranger = AnythingGoes()
    theirs = stranger.leaf(begins=BIRTH - DAY, ends=BIRTH + DAY)
    assert refused(replace(pbx, chain=[x509.load_der_x509_certificate(theirs)])) == {
        "device-not-recognised"
    }


def test_a_certificate_of_another_pbx_is_not_recognised(pbx: TestPbx) -> None:
    # As if rows had been mixed up: the certificate names one, the registry another.
    with freeze_time(BIRTH):
        other = make_device("CX1000000009")
        with transaction() as session:
            session.execute(update(DeviceCertificate).values(device_id=other.id))
    assert refused(pbx) == {"device-not-recognised"}


@pytest.mark.parametrize("later", [-2 * DAY, YEAR + SECOND])
def test_outside_its_validity_it_is_not_recognised(
    pbx: TestPbx, later: timedelta
) -> None:
    with freeze_time(BIRTH + later):
        assert code_of(pbx.check()) == "device-not-recognised"


def test_no_certificate_is_another_answer(pbx: TestPbx) -> None:
    bare = pbx.client.post("/cic/v1/check", json={})
    assert (bare.status_code, code_of(bare)) == (401, "device-certificate-required")


@pytest.mark.parametrize(
    ("tls", "peer", "code"),
    [
        (False, "127.0.0.1", ""),
        (False, "::ffff:127.0.0.1", ""),
        (False, "127.0.0.2", "device-certificate-required"),
        (False, "", "device-certificate-required"),
        # A proxy that passes TLS on unopened passes its client's headers on too.
        (True, "127.0.0.1", "device-certificate-required"),
    ],
)
def test_a_header_is_read_from_the_trusted_proxy_where_tls_is_off(
    pbx: TestPbx,
    proxied_app: Flask,
    settings: Settings,
    tls: bool,
    peer: str,
    code: str,
) -> None:
    trusted = proxied_app.extensions["trusted_proxies"]
    behind = replace(settings, tls=tls, trusted_proxies=trusted)
    app = create_app(behind)
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = peer
    with freeze_time(BIRTH + SECOND), app.app_context():
        answer = replace(pbx, client=client).check()
        db.engine.dispose()
    assert code_of(answer) == code
