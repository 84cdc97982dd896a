# SPDX-License-Identifier: Apache-2.0
"""What wakes somebody: warnings of readiness, numbers for Prometheus, the doctor."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event
from time import monotonic

import pytest
from click.testing import CliRunner
from conftest import running
from flask import Flask
from flask.testing import FlaskClient
from recording import keep_records
from sqlalchemy import Engine, event, insert, text

from fleet import doctor
from fleet.app import assemble
from fleet.clock import utcnow
from fleet.database import db, transaction
from fleet.feature import Feature, Gauge
from fleet.server import job_runs
from fleet.settings import Settings
from fleet.web import health, metrics
from fleet.web.access_rooms import GREATEST_AGE
from retention import countries
from retention.models import DaySeal, RetentionState, RightsRequest
from retention.service import watching
from wsgi import callhome

ROOT = Path(__file__).resolve().parents[2]
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _no_second_hand_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CACHED_SECONDS", 0.0)


def told(client: FlaskClient) -> dict[str, float]:
    """All numbers of retention and of jobs, by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    found = re.findall(
        r"^(callhome_(?:retention|job|gauges)_\S+) (\S+)$", answer.text, re.MULTILINE
    )
    return {name: float(value) for name, value in found}


def of_records(name: str) -> str:
    labels = 'category="access-records",table="access_record"'
    return f"callhome_retention_{name}{{{labels}}}"


def succeeded(ago: timedelta) -> None:
    with transaction() as session:
        row = {"id": 1, "succeeded_at": utcnow() - ago}
        session.execute(insert(RetentionState).values(row))


def test_a_service_at_rest_has_nothing_to_warn_of(client: FlaskClient) -> None:
    answer = client.get("/health/ready")
    assert answer.json is not None
    assert answer.json["checks"]["retention"]["ok"]
    assert not any("retention" in each for each in answer.json["warnings"])
    found = told(client)
    assert found[of_records("oldest_age_seconds")] == 0
    assert found[of_records("overdue_records")] == 0
    assert found["callhome_retention_overdue"] == 0
    assert "callhome_retention_last_success_timestamp_seconds" not in found


def test_a_country_database_that_is_not_there_is_warned_of(
    app: Flask, client: FlaskClient, tmp_path: Path
) -> None:
    countries.register(app, str(tmp_path / "gone.mmdb"))

    answer = client.get("/health/ready")

    assert answer.json is not None
    assert answer.json["status"] == "ready"
    assert any("country" in each for each in answer.json["warnings"])


def test_what_is_overdue_is_warned_of_and_takes_nobody_off_the_balancer(
    client: FlaskClient,
) -> None:
    succeeded(2 * HOUR)
    keep_records([utcnow() - GREATEST_AGE - 3 * HOUR] * 2)
    answer = client.get("/health/ready")
    assert answer.json is not None
    assert (answer.status_code, answer.json["status"]) == (200, "ready")
    warned = [each for each in answer.json["warnings"] if each.startswith("retention:")]
    assert "access-records overdue by 3.0 hours" in warned[0]
    assert "no run has succeeded since" in warned[1]
    assert "192.0.2.7" not in answer.text
    found = told(client)
    age = (GREATEST_AGE + 3 * HOUR).total_seconds()
    assert age <= found[of_records("oldest_age_seconds")] < age + 60
    assert found[of_records("greatest_age_seconds")] == 336 * 3600
    assert found[of_records("overdue_records")] == 2
    assert found[of_records("category_overdue")] == 1
    assert found["callhome_retention_overdue"] == 1
    assert found["callhome_retention_silent"] == 1
    last = found["callhome_retention_last_success_timestamp_seconds"]
    assert abs(utcnow().timestamp() - 7200 - last) < 60


def test_late_lost_and_unbalanced_records_are_told(client: FlaskClient) -> None:
    today = utcnow().date()
    seal = {"day": today, "service": "cic", "records": 5, "threshold": 10}
    with transaction() as session:
        more = {"sealed_at": utcnow(), "deleted": 9, "lost": 1}
        session.execute(insert(DaySeal).values(seal | more))
    found = told(client)
    assert found["callhome_retention_late_records"] == 3
    assert found["callhome_retention_lost_records"] == 1
    assert found["callhome_retention_unbalanced_weeks"] == 1


def test_requests_past_their_month_are_told(client: FlaskClient) -> None:
    now = utcnow()
    for state, due in (("open", -HOUR), ("open", HOUR), ("fulfilled", -HOUR)):
        with transaction() as session:
            session.add(
                RightsRequest(
                    device_id=None,
                    kind="access",
                    asked_by="device",
                    reason="",
                    verified_by="certificate",
                    received_at=now,
                    due_at=now + due,
                    state=state,
                )
            )
    assert told(client)["callhome_retention_overdue_rights_requests"] == 1


def test_how_each_job_went_is_told(client: FlaskClient) -> None:
    now = utcnow()
    for name, fault in (("retention", ""), ("broken", "OperationalError")):
        job_runs.began(db.engine, name, now)
        job_runs.ended(db.engine, name, now, fault=fault)
    found = told(client)
    success = "callhome_job_last_success_timestamp_seconds"
    assert found[f'{success}{{name="retention"}}'] == pytest.approx(now.timestamp())
    assert f'{success}{{name="broken"}}' not in found
    assert found['callhome_job_failing{name="broken"}'] == 1
    assert found['callhome_job_failing{name="retention"}'] == 0


def test_a_database_that_fails_breaks_neither_metrics_nor_readiness(
    app: Flask, client: FlaskClient
) -> None:
    with db.engine.begin() as connection:
        connection.execute(text("DROP TABLE retention_state"))
        connection.execute(text("DROP TABLE job_run"))
    found = told(client)
    assert found['callhome_gauges_answered{of="jobs"}'] == 0
    assert found['callhome_gauges_answered{of="retention"}'] == 0
    assert "callhome_retention_overdue" not in found
    assert "callhome_requests_total" in client.get("/metrics").text
    answer = client.get("/health/ready")
    assert answer.json is not None
    assert (answer.status_code, answer.json["status"]) == (200, "ready")
    assert "retention: not known" in answer.json["warnings"]
    assert app.testing


def test_a_database_that_hangs_hangs_neither(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "GAUGE_SECONDS", 0.2)
    waiting = HangingFeature()
    app = assemble(settings, [waiting.feature])
    try:
        client = app.test_client()
        for _ in range(3):
            began = monotonic()
            assert (
                'callhome_gauges_answered{of="slow"} 0.0' in client.get("/metrics").text
            )
            answer = client.get("/health/ready")
            assert answer.status_code == 200
            assert answer.json is not None
            assert answer.json["warnings"] == ["slow: not known"]
            assert monotonic() - began < 2
        # While an answer is waited for, the same is not asked again.
        assert waiting.asked == ["gauges", "warnings"]
    finally:
        waiting.released.set()
        with app.app_context():
            db.engine.dispose()


class HangingFeature:
    """A feature that answers nothing until it is released."""

    def __init__(self) -> None:
        self.released = Event()
        self.asked: list[str] = []
        self.feature = Feature("slow", warnings=self._warnings, gauges=self._gauges)

    def _warnings(self) -> list[str]:
        self.asked.append("warnings")
        self.released.wait(10)
        return []

    def _gauges(self) -> list[Gauge]:
        self.asked.append("gauges")
        self.released.wait(10)
        return []


@pytest.fixture
def statements(app: Flask) -> Iterator[list[str]]:
    """What is asked of the database."""
    assert app.testing
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    engine: Engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    yield asked
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_no_number_costs_a_scan_of_what_grows(statements: list[str]) -> None:
    """Nothing is read of tables that grow, but by an index."""
    [*watching.gauges()]
    asked, statements[:] = [*statements], []
    assert asked
    grows = ("access_record", "guess_count", "redemption_refusal", "access_count")
    with db.engine.connect() as connection:
        for statement in asked:
            given = tuple("2027-01-01" for _ in range(statement.count("?")))
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)
            for step in plan:
                scans = re.match(r"SCAN (\w+)(?! USING (COVERING )?INDEX)", step[3])
                assert scans is None or scans[1] not in grows, statement


def test_every_number_that_an_alert_asks_for_is_told(client: FlaskClient) -> None:
    """And every alert that the promise needs is there."""
    succeeded(HOUR)
    now = utcnow()
    job_runs.began(db.engine, "retention", now)
    job_runs.ended(db.engine, "retention", now)
    rules = (ROOT / "deploy" / "alerts.yml").read_text("utf-8")
    asked = set(re.findall(r"\bcallhome_(?:retention|job|gauges)_\w+", rules))
    assert asked <= {name.partition("{")[0] for name in told(client)}
    assert "absent(callhome_retention_overdue)" in rules
    for name in ("OldestRecordTooOld", "Overdue", "NoSuccess", "SealMismatch"):
        assert f"alert: Retention{name}" in rules
    assert "alert: JobFailing" in rules


def findings(settings: Settings, environment: dict[str, str]) -> str:
    runner = CliRunner()
    variables = {
        "PBX_DATA_DIR": str(settings.data_dir),
        "PBX_DATABASE_URL": settings.database_url,
    }
    return runner.invoke(callhome, ["doctor"], env=variables | environment).output


def test_the_doctor_says_what_is_overdue(settings: Settings) -> None:
    with running(settings):
        keep_records([utcnow() - GREATEST_AGE - 2 * HOUR])
    said = findings(settings, {})
    assert "WARNING retention: access-records overdue by 2.0 hours" in said


def test_the_doctor_knows_what_postgresql_keeps(
    settings: Settings, database_kind: str
) -> None:
    said = findings(settings, {})
    for setting in ("wal_recycle = on", "log_parameter_max_length = -1"):
        assert (f"PostgreSQL: {setting}" in said) == (database_kind == "postgresql")
    assert "archive_mode" not in said


def test_the_doctor_names_a_value_that_would_do() -> None:
    wanted = {
        "wal_recycle": "off",
        "log_parameter_max_length": "0",
        "log_error_verbosity": "terse",
    }
    for name, value in wanted.items():
        unwanted, says = doctor.POSTGRES_KEEPS[name]
        assert value not in unwanted
        assert f"ALTER SYSTEM SET {name} = {value}" in says
