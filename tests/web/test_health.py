# SPDX-License-Identifier: Apache-2.0
"""Health: alive, ready, and what is missing."""

import threading
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask

from fleet import migrations
from fleet.database import db
from fleet.web import health
from fleet.web.health import Check, Finding, database_answers, migrations_done, works

MakeApp = Callable[..., Flask]


def test_a_process_that_runs_is_alive(small_app: Flask) -> None:
    answer = small_app.test_client().get("/health/live")

    assert (answer.status_code, answer.json) == (200, {"status": "alive"})


def test_ready_when_every_check_is_content(make_app: MakeApp) -> None:
    content = works("tea", lambda: None, says="Hot.", otherwise="Cold.")
    app = make_app(checks=(content,))

    answer = app.test_client().get("/health/ready")

    assert answer.status_code == 200
    assert answer.json == {
        "status": "ready",
        "checks": {"tea": {"ok": True, "says": "Hot."}},
        "warnings": [],
    }


def test_not_ready_names_what_is_missing_and_repeats_no_exception(
    make_app: MakeApp,
) -> None:
    def fail() -> None:
        raise ValueError("password=secret")

    app = make_app(
        checks=(
            works("tea", fail, says="Hot.", otherwise="Cold."),
            Check("milk", lambda: Finding(ok=True, says="Fresh.", warnings=("Buy.",))),
            Check("cups", fail),  # type: ignore[arg-type] # fails before it returns
        )
    )

    answer = app.test_client().get("/health/ready")

    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["status"] == "not-ready"
    assert answer.json["checks"]["tea"] == {"ok": False, "says": "Cold."}
    assert not answer.json["checks"]["cups"]["ok"]
    assert answer.json["warnings"] == ["Buy."]
    assert "secret" not in answer.text


def test_a_check_that_hangs_does_not_hang_the_answer(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(health, "CACHED_SECONDS", 0.0)
    release = threading.Event()
    asked = []

    def hang() -> Finding:
        asked.append(1)
        release.wait(10)
        return Finding(ok=True, says="At last.")

    client = make_app(checks=(Check("slow", hang),)).test_client()
    began = time.monotonic()

    answers = [client.get("/health/ready") for _ in range(3)]

    assert time.monotonic() - began < 3
    assert [each.status_code for each in answers] == [503] * 3
    assert len(asked) == 1
    release.set()
    time.sleep(0.05)
    assert client.get("/health/ready").status_code == 200


def test_checks_are_asked_once_a_second(make_app: MakeApp) -> None:
    asked: list[int] = []
    check = works("tea", lambda: asked.append(1), says="Hot.", otherwise="Cold.")
    client = make_app(checks=(check,)).test_client()

    for _ in range(5):
        client.get("/health/ready")

    assert len(asked) == 1


@pytest.mark.usefixtures("stored_app")
def test_the_database_and_its_schema_are_asked_for() -> None:
    answers = database_answers(db.engine)
    done = migrations_done(
        db.engine, wanted=migrations.head, current=migrations.current
    )

    assert answers.ask().ok
    assert done.ask().ok


def test_an_empty_database_is_not_ready(small_app: Flask) -> None:
    with small_app.app_context():
        done = migrations_done(
            db.engine, wanted=migrations.head, current=migrations.current
        )

        assert not done.ask().ok


def test_a_database_that_is_away_is_not_ready(make_app: MakeApp) -> None:
    away = sa.create_engine("sqlite:////no/such/folder/x")
    app = make_app(checks=(database_answers(away),))

    answer = app.test_client().get("/health/ready")

    assert answer.status_code == 503
    assert "folder" not in answer.text
