# SPDX-License-Identifier: Apache-2.0
"""What an operator types about the registry."""

import io
import json
import sys
from pathlib import Path

import pytest
from click.testing import Result
from flask.testing import FlaskCliRunner

from fleet.devices import registry
from fleet.devices.cli import devices, progress_bar
from fleet.devices.factory_lines import COLUMNS
from fleet.staff import audit

HEADER = ",".join(COLUMNS) + "\n"
SECRET = "correct-horse-battery"
GOOD = f"AB12CD34,58:9e:c6:0d:8c:73,P1,T1,A1,{SECRET},2036-12-31\n"
BAD = "XYZ,,P1,T1,A1,short,2036-12-31\n"


class Screen(io.StringIO):
    """Standard error that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """A folder with a list that is good, and one that is not."""
    (tmp_path / "good.csv").write_text(HEADER + GOOD)
    (tmp_path / "bad.csv").write_text(HEADER + GOOD + BAD)
    return tmp_path


def run(runner: FlaskCliRunner, *words: str | Path) -> Result:
    return runner.invoke(devices, [str(each) for each in words])


def test_a_list_is_imported(runner: FlaskCliRunner, lists: Path) -> None:
    result = run(runner, "import", lists / "good.csv")
    assert result.exit_code == 0
    assert "1 added" in result.stdout
    assert result.stderr == ""
    (entry,) = audit.entries(audit.Wanted(), limit=5).items
    assert entry.actor.startswith("cli:")
    assert entry.reason == "factory list good.csv"


def test_every_faulty_line_is_told_and_nothing_imported(
    runner: FlaskCliRunner, lists: Path
) -> None:
    result = run(runner, "import", lists / "bad.csv")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "line 3: device_secret is shorter than 16 characters",
        "line 3: serial_number is not a serial number: 6 to 32 letters A-Z and digits",
        "Nothing was imported.",
    ]
    assert registry.find("AB12CD34") is None


def test_a_program_reads_the_same_as_json(runner: FlaskCliRunner, lists: Path) -> None:
    good = run(runner, "import", lists / "good.csv", "--json", "--dry-run")
    assert json.loads(good.stdout) == {
        "accepted": True,
        "dry_run": True,
        "rows": 1,
        "added": 1,
        "updated": 0,
        "unchanged": 0,
        "secrets_replaced": 0,
        "faults": [],
    }
    bad = run(runner, "import", lists / "bad.csv", "--json")
    assert bad.exit_code == 1
    report = json.loads(bad.stdout)
    assert report["accepted"] is False
    assert report["faults"][0] == {
        "line": 3,
        "field": "device_secret",
        "fault": "is shorter than 16 characters",
    }


def test_a_dry_run_changes_nothing(runner: FlaskCliRunner, lists: Path) -> None:
    result = run(runner, "import", lists / "good.csv", "--dry-run")
    assert "1 would be added" in result.stdout
    assert registry.find("AB12CD34") is None


def test_a_bar_is_shown_to_somebody_who_looks(
    lists: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Screen()
    monkeypatch.setattr(sys, "stderr", shown)
    with (lists / "good.csv").open("rb") as stream, progress_bar(stream) as bar:
        bar.update(10)
    assert "factory list" in shown.getvalue()


def test_a_missing_file_is_a_sentence(runner: FlaskCliRunner, lists: Path) -> None:
    result = run(runner, "import", lists / "none.csv")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_a_pbx_is_found_and_its_secret_is_not_shown(
    runner: FlaskCliRunner, lists: Path
) -> None:
    run(runner, "import", lists / "good.csv")
    registry.change("AB12CD34", customer="Müller")
    shown = run(runner, "find", "müller")
    assert shown.stdout.split() == [
        "AB12CD34",
        "58:9e:c6:0d:8c:73",
        "T1",
        "2036-12-31",
        "Müller",
    ]
    (item,) = json.loads(run(runner, "find", "8c73", "--json").stdout)["items"]
    assert item["serial_number"] == "AB12CD34"
    assert not {each for each in item if "secret" in each or "digest" in each}
    assert json.loads(run(runner, "find", "nobody", "--json").stdout) == {"items": []}
