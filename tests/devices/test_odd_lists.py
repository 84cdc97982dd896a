# SPDX-License-Identifier: Apache-2.0
"""Factory lists as they come: by a pipe, from a spreadsheet, with slips in them."""

import json

import pytest
from click.testing import Result
from flask.testing import FlaskCliRunner

from fleet.devices import registry
from fleet.devices.cli import devices
from fleet.devices.factory_lines import COLUMNS
from fleet.staff import audit

HEADER = ",".join(COLUMNS) + "\n"
ROW = "AB12CD34,58:9e:c6:0d:8c:73,P1,T1,A1,correct-horse-battery,2036-12-31\n"


def piped(runner: FlaskCliRunner, content: str | bytes, *words: str) -> Result:
    return runner.invoke(devices, ["import", "-", *words], input=content)


def test_a_list_comes_by_a_pipe(runner: FlaskCliRunner) -> None:
    told = json.loads(piped(runner, HEADER + ROW, "--json").stdout)
    assert (told["accepted"], told["added"]) == (True, 1)
    assert registry.find("AB12CD34") is not None
    (entry,) = audit.entries(audit.Wanted(), limit=5).items
    assert entry.reason == "factory list standard input"


def test_a_slip_is_told_in_a_sentence(runner: FlaskCliRunner) -> None:
    slips = ROW.replace("AB12CD34", "AB?").replace("58:9e", "58:9")
    result = piped(runner, HEADER + slips)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "line 2: mac_address is not a MAC address: twelve hexadecimal digits",
        "line 2: serial_number is not a serial number: 6 to 32 letters A-Z and digits",
        "Nothing was imported.",
    ]
    missing = piped(runner, HEADER + ROW.replace("AB12CD34", " "))
    assert "line 2: serial_number is missing" in missing.stderr


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_says_how_to_save_it(
    runner: FlaskCliRunner, encoding: str
) -> None:
    result = piped(runner, (HEADER + ROW).encode(encoding))
    assert result.exit_code == 1
    assert (
        "line 1: header is not in UTF-8 but in UTF-16; save as UTF-8" in result.stderr
    )
