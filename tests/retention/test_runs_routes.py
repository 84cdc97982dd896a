# SPDX-License-Identifier: Apache-2.0
"""How retention stands and its runs, over HTTP; and a run that somebody asks for."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from make import make_token
from recording import keep_records
from sqlalchemy import func, insert, select, text
from werkzeug.test import TestResponse

from fleet.clock import utcnow
from fleet.database import db, reading, transaction, writing
from fleet.server.lease import Lease
from fleet.server.models import Outage
from fleet.staff.audit import AuditFacts, Wanted, entries
from fleet.staff.models import IdempotentAnswer
from fleet.staff.roles import Role
from fleet.web.access_rooms import GREATEST_AGE
from fleet.web.models import AccessRecord
from retention.service import asked, runs, working
from retention.service.asked import RunIncomplete, run_by_job
from retention.service.runs import LEASE_NAME, RunReport

DAY = timedelta(days=1)
KEY = {"Idempotency-Key": "3a1c6b52-one-run"}
ROUTES = ["/retention/v1/status", "/retention/v1/runs", "/retention/v1/plan"]

Staff = Callable[..., FlaskClient]


@pytest.fixture
def staff(app: Flask) -> Staff:
    """Somebody with a token of the given role."""

    def make(role: Role = Role.OPERATOR) -> FlaskClient:
        client = app.test_client()
        token = make_token(role, dealer="Sons" if role is Role.DEALER else "")
        client.environ_base["HTTP_AUTHORIZATION"] = token["Authorization"]
        return client

    return make


@pytest.fixture
def records(app: Flask) -> None:
    """Some to be sealed, of which some are too old."""
    assert app.testing
    now = utcnow()
    keep_records([now - 5 * DAY] * 11)
    keep_records([now - GREATEST_AGE - 2 * DAY] * 4)


def begin(client: FlaskClient, headers: Any = None, **body: object) -> TestResponse:
    return client.post("/retention/v1/runs", json=body, headers=headers or {})


def count(model: Any) -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(model)) or 0


def audited() -> list[AuditFacts]:
    return [*entries(Wanted(action="retention.run"), limit=200).items]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", ROUTES)
def test_all_staff_but_dealers_see_how_it_stands(staff: Staff, path: str) -> None:
    for role in Role:
        status = 403 if role is Role.DEALER else 200
        assert staff(role).get(path).status_code == status, role


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_operators_alone_begin_a_run(staff: Staff) -> None:
    for role in Role:
        status = 200 if role is Role.OPERATOR else 403
        assert begin(staff(role)).status_code == status, role
        assert begin(staff(role), dry_run=True).status_code == status, role
    assert len(audited()) == 1


@pytest.mark.usefixtures("records")
def test_status_says_what_is_overdue(staff: Staff) -> None:
    told = staff().get("/retention/v1/status").json
    assert told is not None
    assert (told["overdue"], told["healthy"], told["clock"]) == (True, False, "ok")
    first = told["categories"][0]
    assert (first["name"], first["overdue"], first["late"]) == (
        "access-records",
        4,
        True,
    )
    assert told["totals"] == {"late": 0, "lost": 0, "unbalanced": 0}


@pytest.mark.usefixtures("records")
def test_a_dry_run_changes_nothing_and_is_not_written_down(staff: Staff) -> None:
    told = begin(staff(), dry_run=True).json
    assert told is not None
    assert (told["state"], told["number"]) == ("planned", None)
    assert (told["sealed_days"], told["sealed_records"], told["deleted"]) == (2, 15, 4)
    assert count(AccessRecord) == 15
    assert audited() == []
    plan = staff().get("/retention/v1/plan").json
    assert plan is not None
    assert [each["records"] for each in plan["to_seal"]] == [{"cic": 4}, {"cic": 11}]
    assert plan["too_old"] == {"cic": 4}


@pytest.mark.usefixtures("records")
def test_a_run_does_it_and_says_who_asked_for_it_in_the_audit_log_only(
    staff: Staff,
) -> None:
    told = begin(staff(), reason="an inspection").json
    assert told is not None
    assert (told["number"], told["state"], told["deleted"]) == (1, "ok", 4)
    assert count(AccessRecord) == 11
    [entry] = audited()
    assert (entry.actor, entry.reason) == ("Anna Agent", "an inspection")
    page = staff().get("/retention/v1/runs").json
    assert page is not None
    [run] = page["items"]
    assert (run["state"], run["facts"]["by"]) == ("ok", "staff:operator")
    assert "Anna" not in str(page)


@pytest.mark.usefixtures("records")
def test_runs_are_listed_page_by_page(staff: Staff) -> None:
    client = staff()
    begin(client)
    keep_records([utcnow() - GREATEST_AGE - DAY])
    begin(client)
    first = client.get("/retention/v1/runs?limit=1").json
    assert first is not None
    assert [each["number"] for each in first["items"]] == [2]
    cursor = first["next_cursor"]
    rest = client.get(f"/retention/v1/runs?limit=1&cursor={cursor}").json
    assert rest is not None
    assert [each["number"] for each in rest["items"]] == [1]
    assert client.get("/retention/v1/runs?cursor=x").status_code == 400


@pytest.mark.usefixtures("records")
def test_a_repeated_request_gets_the_first_answer_and_is_noted_once(
    staff: Staff,
) -> None:
    client = staff()
    first = begin(client, KEY)
    keep_records([utcnow() - GREATEST_AGE - DAY])
    again = begin(client, KEY)
    assert first.status_code == again.status_code == 200
    assert first.data == again.data
    assert count(AccessRecord) == 12
    assert len(audited()) == 1
    assert begin(client, KEY, reason="another").status_code == 422
    assert begin(client, {"Idempotency-Key": "another"}).json["deleted"] == 1
    assert len(audited()) == 2


@pytest.mark.usefixtures("records")
def test_others_write_while_a_run_with_a_key_is_under_way(
    staff: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite there is one writer: a transaction around the run would be that."""
    wrote: list[int] = []
    work = runs.run

    def run(**given: Any) -> RunReport:
        with writing(db.engine) as connection:
            row = {"began_at": utcnow(), "ended_at": utcnow()}
            connection.execute(insert(Outage).values(row))
        wrote.append(count(Outage))
        return work(**given)

    monkeypatch.setattr(runs, "run", run)
    assert begin(staff(), KEY).status_code == 200
    assert wrote == [1]


@pytest.mark.usefixtures("records")
def test_a_repeat_after_a_crash_does_the_run_and_is_noted_once(
    staff: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = staff()

    def crash(**_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(runs, "run", crash)
        assert begin(client, KEY).status_code == 500
    assert (len(audited()), count(IdempotentAnswer)) == (1, 1)
    assert begin(client, KEY, reason="another").status_code == 422
    assert begin(client, KEY).json["deleted"] == 4
    assert len(audited()) == 1
    assert begin(client, KEY).json["deleted"] == 4


@pytest.mark.usefixtures("records")
def test_duplicates_at_once_have_one_effect_and_one_answer(
    app: Flask, staff: Staff
) -> None:
    header = staff().environ_base["HTTP_AUTHORIZATION"]
    barrier = threading.Barrier(3)
    answers: list[tuple[int, bytes]] = []

    def ask() -> None:
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = header
        barrier.wait()
        answer = begin(client, KEY)
        answers.append((answer.status_code, answer.data))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(answers) == 3
    assert len(set(answers)) == 1
    assert answers[0][0] == 200
    assert count(AccessRecord) == 11
    assert len(audited()) == 1


@pytest.mark.usefixtures("records")
def test_a_run_under_way_elsewhere_is_waited_for_and_then_refused(
    staff: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "PATIENCE", timedelta(seconds=0.2))
    other = Lease(db.engine, LEASE_NAME)
    assert other.claim(utcnow())
    client = staff()
    answer = begin(client, KEY)
    assert answer.json is not None
    assert (answer.status_code, answer.json["type"]) == (
        503,
        "/problems/retention-run-under-way",
    )
    assert int(answer.headers["Retry-After"]) > 0
    assert count(AccessRecord) == 15
    other.give_up()
    # The same request may be sent again, as it was told.
    assert begin(client, KEY).json["deleted"] == 4
    assert len(audited()) == 1


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "body", [{"dry_run": "perhaps"}, {"dryrun": True}, {"reason": 1}]
)
def test_a_body_that_means_something_else_begins_nothing(
    staff: Staff, body: dict[str, object]
) -> None:
    assert begin(staff(), KEY, **body).status_code == 400
    assert count(IdempotentAnswer) == 0


# The job


@pytest.mark.usefixtures("records")
def test_the_job_leaves_a_run_under_way_alone(app: Flask) -> None:
    assert app.testing
    other = Lease(db.engine, LEASE_NAME)
    assert other.claim(utcnow())
    assert run_by_job(utcnow()) is None
    assert count(AccessRecord) == 15
    other.give_up()
    report = run_by_job(utcnow())
    assert report is not None
    assert (report.state, report.deleted) == ("ok", 4)


@pytest.mark.usefixtures("records")
def test_a_job_whose_run_leaves_something_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with db.engine.begin() as connection:
        connection.execute(
            text("ALTER TABLE access_count RENAME COLUMN country TO elsewhere")
        )
    monkeypatch.setattr(working, "TRIES_TO_SEAL", 1)
    with pytest.raises(RunIncomplete):
        run_by_job(utcnow())


def test_nothing_stays_open(staff: Staff) -> None:
    begin(staff(), KEY)
    with transaction():
        pass
    assert "Current Checked out connections: 0" in db.engine.pool.status()
