# SPDX-License-Identifier: Apache-2.0
"""A request of the staff that is sent twice has its effect once."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from typing import NoReturn

import pytest
from flask import Blueprint, Flask, Response, request
from flask.testing import FlaskClient
from marshmallow import Schema, fields
from sqlalchemy import func, select, text
from werkzeug.test import TestResponse

from fleet.clock import utcnow
from fleet.database import db, reading, transaction
from fleet.errors import Conflict, Forbidden, Invalid, NotFound, TooMany
from fleet.server.models import Outage
from fleet.staff import idempotency
from fleet.staff.guard import staff_only
from fleet.staff.models import IdempotentAnswer
from fleet.staff.roles import Role
from fleet.web.contract import Answered, accepts, returns

StaffClient = Callable[[Role], FlaskClient]

# What is refused before the database is asked needs only one of them.
ANY_DATABASE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
SHOWN_ONCE = "cht_shown_once_and_never_again"


class WishRequest(Schema):
    wish = fields.String(required=True)


class WishView(Schema):
    id = fields.Integer()
    secret = fields.String()


class Refused(Conflict):
    code = "hold-conflict"
    reason = "No."


REFUSALS = {
    "invalid": Invalid,
    "forbidden": Forbidden,
    "busy": TooMany,
    "conflict": Refused,
    "missing": NotFound,
}


class Never(Forbidden):
    code = "not-permitted"
    reason = "Never."


def add_row() -> int:
    with transaction() as session:
        row = Outage(began_at=utcnow(), ended_at=utcnow())
        session.add(row)
        session.flush()
        return row.id


def rows() -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(Outage)) or 0


def kept() -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(IdempotentAnswer)) or 0


@pytest.fixture(autouse=True)
def wishes(app: Flask) -> None:
    """Routes that have an effect that can be counted."""
    blueprint = Blueprint("wishes", __name__, url_prefix="/wishes")

    @blueprint.post("/")
    @staff_only(Role.SUPPORT)
    @returns(WishView, HTTPStatus.CREATED)
    @accepts(WishRequest)
    def wish(*, wish: str) -> Answered:
        number = add_row()
        if wish == "slow":
            time.sleep(0.3)
        return Answered(
            {"id": number, "secret": SHOWN_ONCE},
            HTTPStatus.CREATED,
            {"Location": f"/wishes/{number}"},
        )

    @blueprint.post("/refused/<kind>")
    @staff_only(Role.SUPPORT)
    def refuse(kind: str) -> NoReturn:
        add_row()
        if kind == "forbidden":
            raise Never
        raise REFUSALS[kind]

    @blueprint.post("/broken")
    @staff_only(Role.SUPPORT)
    def fail() -> NoReturn:
        add_row()
        raise RuntimeError

    @blueprint.post("/upload")
    @staff_only(Role.SUPPORT)
    def upload() -> Response:
        add_row()
        return Response(str(len(request.stream.read())), mimetype="text/plain")

    app.register_blueprint(blueprint)


@pytest.fixture
def anna(staff_client: StaffClient) -> FlaskClient:
    return staff_client(Role.SUPPORT)


def post(client: FlaskClient, wish: str = "x", **headers: str) -> TestResponse:
    return client.post("/wishes/", json={"wish": wish}, headers=headers or KEY)


def code(answer: TestResponse) -> str:
    return str(answer.get_json()["type"]).removeprefix("/problems/")


def test_without_a_key_each_request_is_one_of_its_own(anna: FlaskClient) -> None:
    for _ in range(2):
        anna.post("/wishes/", json={"wish": "x"})
    assert (rows(), kept()) == (2, 0)


def test_the_same_request_gets_the_first_answer_again(anna: FlaskClient) -> None:
    first, again = post(anna), post(anna)
    assert rows() == 1
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.data == again.data
    for header in ("Location", "Content-Type"):
        assert first.headers[header] == again.headers[header]
    assert first.headers["X-Request-Id"] != again.headers["X-Request-Id"]
    assert len(again.headers.getlist("X-Request-Id")) == 1


def test_a_key_may_be_quoted_or_bare(anna: FlaskClient) -> None:
    post(anna, **{"Idempotency-Key": "abc"})
    post(anna, **{"Idempotency-Key": '"abc"'})
    assert rows() == 1


@pytest.mark.parametrize(
    "path", ["/wishes/?again", "/wishes/refused/conflict"], ids=["query", "path"]
)
def test_a_key_is_for_one_request_only(anna: FlaskClient, path: str) -> None:
    post(anna)
    answer = anna.post(path, json={"wish": "x"}, headers=KEY)
    assert (answer.status_code, code(answer)) == (422, "idempotency-key-reused")
    answer = post(anna, "another")
    assert (answer.status_code, code(answer)) == (422, "idempotency-key-reused")
    assert rows() == 1
    assert post(anna).status_code == 201


def test_a_key_is_its_callers_own(staff_client: StaffClient) -> None:
    post(staff_client(Role.SUPPORT))
    assert post(staff_client(Role.SUPPORT), "another").status_code == 201
    assert rows() == 2


@ANY_DATABASE
@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        '""',
        '"open',
        'a"b',
        "two, keys",
        '"a";x=1',
        "x" * 256,
        "\u00e4",
        '"\\n"',
    ],
)
def test_a_key_that_is_none_is_refused(anna: FlaskClient, key: str) -> None:
    answer = post(anna, **{"Idempotency-Key": key})
    assert (answer.status_code, code(answer)) == (400, "invalid-request")
    assert set(answer.get_json()["fields"]) == {"Idempotency-Key"}
    assert rows() == 0


@ANY_DATABASE
@pytest.mark.parametrize("key", ["x" * 255, '"' + "x" * 255 + '"', '"a \\" \\\\ b"'])
def test_a_key_may_be_anything_visible(anna: FlaskClient, key: str) -> None:
    assert post(anna, **{"Idempotency-Key": key}).status_code == 201


def test_two_at_once_have_one_effect_and_one_answer(
    app: Flask, anna: FlaskClient
) -> None:
    header = anna.environ_base["HTTP_AUTHORIZATION"]
    barrier = threading.Barrier(4)
    answers: list[tuple[int, bytes]] = []

    def work() -> None:
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = header
        barrier.wait()
        answer = post(client, "slow")
        answers.append((answer.status_code, answer.data))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows() == 1
    assert len(set(answers)) == 1
    assert answers[0][0] == 201
    assert len(answers) == 4


@pytest.mark.parametrize(("kind", "status"), [("conflict", 409), ("missing", 404)])
def test_a_refusal_is_an_answer_and_stays_one(
    anna: FlaskClient, kind: str, status: int
) -> None:
    first = anna.post(f"/wishes/refused/{kind}", headers=KEY)
    again = anna.post(f"/wishes/refused/{kind}", headers=KEY)
    assert first.status_code == again.status_code == status
    assert first.data == again.data
    assert again.headers["Content-Type"] == "application/problem+json"
    assert (rows(), kept()) == (0, 1)


@pytest.mark.parametrize("kind", ["invalid", "forbidden", "busy"])
def test_what_may_be_right_next_time_is_judged_anew(
    anna: FlaskClient, kind: str
) -> None:
    anna.post(f"/wishes/refused/{kind}", headers=KEY)
    assert (rows(), kept()) == (0, 0)


def test_a_failure_of_ours_is_no_answer(anna: FlaskClient) -> None:
    assert anna.post("/wishes/broken", headers=KEY).status_code == 500
    assert (rows(), kept()) == (0, 0)


def test_a_malformed_body_does_not_use_the_key_up(anna: FlaskClient) -> None:
    assert anna.post("/wishes/", json={"wsh": "x"}, headers=KEY).status_code == 400
    assert post(anna).status_code == 201


def test_who_may_not_does_not_use_the_key_up(staff_client: StaffClient) -> None:
    assert post(staff_client(Role.AUDITOR)).status_code == 403
    assert kept() == 0


def test_what_was_shown_once_cannot_be_read_in_the_database(anna: FlaskClient) -> None:
    assert SHOWN_ONCE in post(anna).get_data(as_text=True)
    with reading() as session:
        for row in session.execute(text("SELECT * FROM idempotent_answer")):
            assert all(SHOWN_ONCE not in str(each) for each in row)
    assert SHOWN_ONCE in post(anna).get_data(as_text=True)


def test_an_answer_is_forgotten_after_a_day(anna: FlaskClient) -> None:
    post(anna)
    now = utcnow()
    assert idempotency.forget(now + timedelta(hours=23)) == 0
    assert idempotency.forget(now + timedelta(hours=24, seconds=5)) == 1
    assert kept() == 0
    post(anna)
    assert rows() == 2


def test_an_old_answer_that_no_job_removed_is_no_answer(anna: FlaskClient) -> None:
    post(anna)
    with transaction() as session:
        row = session.scalars(select(IdempotentAnswer)).one()
        row.created_at = utcnow() - timedelta(hours=24)
    post(anna, "another")
    assert (rows(), kept()) == (2, 1)


def test_an_upload_is_told_apart_by_its_declared_digest(anna: FlaskClient) -> None:
    def upload(digest: str | None) -> TestResponse:
        headers = dict(KEY)
        if digest is not None:
            headers["Content-Digest"] = digest
        return anna.post("/wishes/upload", data=b"x" * 100_000, headers=headers)

    assert upload(None).status_code == 400
    first, again = upload("sha-256=:AA==:"), upload("sha-256=:AA==:")
    assert first.data == again.data == b"100000"
    assert upload("sha-256=:BB==:").status_code == 422
    assert rows() == 1


def test_a_small_upload_still_reaches_the_view(anna: FlaskClient) -> None:
    answer = anna.post("/wishes/upload", data=b"x" * 100, headers=KEY)
    assert answer.data == b"100"


def test_no_connection_is_held_afterwards(anna: FlaskClient) -> None:
    post(anna)
    anna.post("/wishes/refused/conflict", headers={"Idempotency-Key": "other"})
    assert "Connections in pool" in db.engine.pool.status()
    assert "Current Checked out connections: 0" in db.engine.pool.status()
