# SPDX-License-Identifier: Apache-2.0
"""``callhome device-ca``: what an operator types to change the CA."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fleet.identity.cli import device_ca
from fleet.settings import Settings


def run(folder: Path, *words: str) -> Result:
    settings = Settings(data_dir=folder.parent)
    return CliRunner().invoke(device_ca, words, obj=settings)


def test_a_roll_over_leaves_two_trusted_of_which_the_new_one_issues(
    folder: Path,
) -> None:
    (before,) = json.loads(run(folder, "list", "--json").stdout)
    rolled = json.loads(run(folder, "roll-over", "--json").stdout)
    assert {entry["issues"] for entry in rolled} == {True, False}
    (old,) = [entry for entry in rolled if not entry["issues"]]
    assert old["subject"] == before["subject"]
    shown = run(folder, "list").stdout
    assert shown.count("\n") == 2
    assert "issues" in shown
    assert "trusted" in shown


@pytest.mark.parametrize("command", ["list", "roll-over"])
@pytest.mark.parametrize(
    ("gone", "advice"),
    [
        (["issuing.key", "issuing.pem"], "callhome init makes it"),
        (["issuing.key"], "restore it from a backup"),
    ],
)
def test_without_a_ca_it_says_what_to_do(
    folder: Path, command: str, gone: list[str], advice: str
) -> None:
    for name in gone:
        (folder / name).unlink()
    result = run(folder, command)
    assert result.exit_code == 1
    assert advice in result.output
    assert "Traceback" not in result.output
