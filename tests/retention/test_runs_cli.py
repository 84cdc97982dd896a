# SPDX-License-Identifier: Apache-2.0
"""What an operator types about runs, and what the exit code says to a script."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from recording import keep_records
from sqlalchemy import func, insert, select, text

from fleet.clock import rfc3339, utcnow
from fleet.database import db, reading, transaction
from fleet.server.lease import Lease
from fleet.settings import Settings
from fleet.web.access_rooms import GREATEST_AGE
from fleet.web.models import AccessRecord
from retention.cli import retention
from retention.models import RetentionState
from retention.service import working
from retention.service.runs import LEASE_NAME

HOUR = timedelta(hours=1)
REFUSE_COUNTS = text("ALTER TABLE access_count RENAME COLUMN country TO elsewhere")
DAY = timedelta(days=1)

Typed = Callable[..., Result]


@pytest.fixture
def typed(app: Flask) -> Typed:
    """Type ``callhome retention ...``."""

    def type_in(*words: str) -> Result:
        return app.test_cli_runner().invoke(retention, list(words))

    return type_in


@pytest.fixture
def records(app: Flask) -> None:
    """Some to be sealed, of which some are too old."""
    assert app.testing
    now = utcnow()
    keep_records([now - 5 * DAY] * 11)
    keep_records([now - GREATEST_AGE - 2 * DAY] * 4, service="voucher")


def kept() -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(AccessRecord)) or 0


def told(result: Result) -> Any:
    return json.loads(result.stdout)


def test_status_of_a_new_service_is_well(typed: Typed) -> None:
    result = typed("status")
    assert result.exit_code == 0
    assert "ok      access-records: oldest nothing stored" in result.output
    assert told(typed("status", "--json"))["healthy"] is True


@pytest.mark.usefixtures("records")
def test_status_is_2_while_something_is_overdue_and_0_after_a_run(typed: Typed) -> None:
    before = typed("status")
    assert before.exit_code == 2
    assert re.search(r"OVERDUE access-records: .*, 4 too old", before.output)
    assert "SILENT" in before.output
    found = told(typed("status", "--json"))
    assert (found["overdue"], found["healthy"]) == (True, False)
    assert found["silent_since"] == found["categories"][0]["oldest"]
    assert typed("run").exit_code == 0
    after = typed("status", "--json")
    assert after.exit_code == 0
    assert told(after)["healthy"] is True


def test_status_is_2_where_no_run_succeeds(typed: Typed) -> None:
    with transaction() as session:
        at = utcnow() - 2 * HOUR
        session.execute(insert(RetentionState).values(id=1, succeeded_at=at))
    result = typed("status")
    assert result.exit_code == 2
    assert f"SILENT  last run that did all: {rfc3339(at)}" in result.output


@pytest.mark.usefixtures("records")
@pytest.mark.parametrize("words", [["plan"], ["run", "--dry-run"]])
def test_a_plan_counts_and_changes_nothing(typed: Typed, words: list[str]) -> None:
    said = typed(*words).output.splitlines()
    old = (utcnow() - GREATEST_AGE - 2 * DAY).date()
    assert said[0] == f"seal    {old}: 4 of voucher"
    assert said[1] == f"seal    {(utcnow() - 5 * DAY).date()}: 11 of cic"
    assert re.fullmatch(r"delete  until \S+: 4 of voucher", said[2])
    found = told(typed(*words, "--json"))
    assert [each["records"] for each in found["to_seal"]] == [
        {"voucher": 4},
        {"cic": 11},
    ]
    assert found["too_old"] == {"voucher": 4}
    assert kept() == 15
    assert told(typed("ledger", "--json"))["items"] == []


@pytest.mark.usefixtures("records")
def test_a_run_says_what_it_did_and_the_next_has_nothing_to_do(typed: Typed) -> None:
    result = typed("run")
    assert result.exit_code == 0
    assert result.output == "run 1: ok, sealed 15 records of 2 days, deleted 4\n"
    assert kept() == 11
    assert typed("run").output == "nothing to do\n"
    assert typed("plan").output == "nothing to do\n"
    assert told(typed("run", "--json"))["state"] == "idle"


@pytest.mark.usefixtures("records")
def test_a_run_that_leaves_something_is_no_success(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.engine.begin() as connection:
        connection.execute(REFUSE_COUNTS)
    monkeypatch.setattr(working, "TRIES_TO_SEAL", 1)
    result = typed("run")
    assert result.exit_code == 1
    assert result.output.startswith("run 1: partial, ")
    assert ", 4 lost" in result.output


@pytest.mark.usefixtures("records")
def test_the_ledger_lists_what_runs_did(typed: Typed) -> None:
    typed("run")
    keep_records([utcnow() - GREATEST_AGE - HOUR] * 2)
    typed("run")
    said = typed("ledger", "--limit", "1")
    assert re.match(r" +2  \S+Z  ok ", said.output)
    assert "by=cli" in said.output
    assert "deleted=2" in said.output
    cursor = re.search(r"--cursor (\S+)", said.stderr)
    assert cursor
    rest = told(typed("ledger", "--cursor", cursor[1], "--json"))
    assert [each["number"] for each in rest["items"]] == [1]
    assert rest["next_cursor"] is None


@pytest.mark.usefixtures("records")
def test_a_run_waits_for_one_that_is_under_way(app: Flask, typed: Typed) -> None:
    other = Lease(db.engine, LEASE_NAME)
    assert other.claim(utcnow())

    def end_soon() -> None:
        time.sleep(1.5)
        with app.app_context():
            other.give_up()

    ending = threading.Thread(target=end_soon)
    ending.start()
    began = time.monotonic()
    result = typed("run")
    ending.join()
    assert time.monotonic() - began >= 1.4
    assert result.exit_code == 0
    assert result.stderr == "Another run is under way; waiting for it.\n"
    assert kept() == 11


@pytest.mark.usefixtures("records")
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_whoever_looks_sees_how_far_it_is(settings: Settings) -> None:
    """On a terminal; a script's standard error stays empty."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    environment = os.environ | {
        "PBX_DATA_DIR": str(settings.data_dir),
        "PBX_DATABASE_URL": settings.database_url,
    }
    words = ["-c", "from wsgi import callhome; callhome()", "retention", "run"]
    process = subprocess.run(
        [sys.executable, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        check=False,
    )
    shown = os.read(ours, 65536).decode()
    os.close(theirs)
    os.close(ours)
    assert (process.returncode, process.stdout[:6]) == (0, "run 1:")
    assert "sealing" in shown
    assert "0/2" in shown
    again = subprocess.run(
        [sys.executable, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (again.stdout, again.stderr) == ("nothing to do\n", "")
