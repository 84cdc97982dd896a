# SPDX-License-Identifier: Apache-2.0
"""What an operator types when somebody asks what is stored of them."""

import csv
import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from freezegun import freeze_time
from make import SERIAL
from rights_office import CUSTOMER, LONG_AGO, VERIFIED, WHY, Office, opened, rows_about

from fleet.devices import registry
from fleet.staff.audit import Wanted, entries
from fleet.staff.roles import cli_actor
from retention.cli import retention

Typed = Callable[..., Result]
README = Path(__file__).parents[2].joinpath("README.md").read_text()
ASKED = ("--verified-by", VERIFIED, "--reason", WHY)


@pytest.fixture
def office(proxied_app: Flask) -> Office:
    return opened(proxied_app)


@pytest.fixture
def typed(office: Office) -> Typed:
    return typing_at(office)


def typing_at(office: Office) -> Typed:
    def run(*words: str) -> Result:
        with freeze_time(office.at):
            return office.app.test_cli_runner().invoke(retention, list(words))

    return run


def told(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_all_that_is_stored_is_printed_as_json_or_csv(typed: Typed) -> None:
    export = told(typed("export", SERIAL.lower(), *ASKED, "--json"))
    assert export["serial_number"] == SERIAL
    table = typed("export", SERIAL, *ASKED, "--csv")
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert [r["value"] for r in rows if r["field"] == "customer"] == [CUSTOMER]
    kinds = [r["kind"] for r in told(typed("requests", "--json"))["items"]]
    assert sorted(kinds) == ["access", "portability"]


def test_erasing_is_tried_first_and_then_done(typed: Typed) -> None:
    before = rows_about()
    planned = told(typed("erase", SERIAL, *ASKED, "--dry-run", "--json"))
    assert rows_about() == before
    assert told(typed("requests", "--json"))["items"] == []

    receipt = told(typed("erase", SERIAL, *ASKED, "--json"))
    assert {name: receipt[name] for name in planned} == planned
    known = registry.find(SERIAL)
    assert known is not None
    assert known.customer == ""
    [entry] = entries(Wanted(action="device.erase"), limit=10).items
    assert entry.actor == cli_actor().owner


def test_the_end_of_a_licence_must_be_wanted(proxied_app: Flask) -> None:
    typed = typing_at(opened(proxied_app, support_ends_on=LONG_AGO))
    refused = typed("erase", SERIAL, *ASKED)
    assert refused.exit_code != 0
    assert told(typed("requests", "--json"))["items"] == []  # both or neither
    done = typed("erase", SERIAL, *ASKED, "--ends-service")
    assert done.exit_code == 0
    assert "no licence any more" in done.stdout
    assert registry.find(SERIAL) is None


def test_restricting_objecting_and_lifting(typed: Typed) -> None:
    for command, column in (("restrict", "restricted_at"), ("object", "objected_at")):
        done = told(typed(command, SERIAL, *ASKED, "--json"))
        assert getattr(registry.find(SERIAL), column) is not None
        number = str(done["request"]["id"])
        told(typed("requests", "lift", number, "--told", "by letter", "--json"))
        assert getattr(registry.find(SERIAL), column) is None


def test_a_request_is_taken_extended_refused_and_listed(typed: Typed) -> None:
    taken = told(
        typed("requests", "take", SERIAL, "--kind", "access", *ASKED, "--json")
    )
    number = str(taken["id"])
    longer = told(
        typed("requests", "extend", number, "--because", "it is much", "--json")
    )
    assert longer["due_at"] > taken["due_at"]
    other = told(
        typed("requests", "take", SERIAL, "--kind", "erasure", *ASKED, "--json")
    )
    typed("requests", "refuse", str(other["id"]), "--because", "not theirs")
    done = told(typed("requests", "fulfil", number, "--answer", "sent", "--json"))
    assert done["request"]["answer"] == "sent"
    lines = typed("requests", "--state", "refused").stdout.splitlines()
    assert len(lines) == 1
    assert SERIAL in lines[0]


def test_sharing_and_its_end(typed: Typed, office: Office) -> None:
    result = typed("share", SERIAL, *ASKED, "--recipient", "Workshop", "--days", "7")
    token = result.stdout.strip()
    by = {"Authorization": f"Bearer {token}"}
    assert office.send("GET", "shared/data", by=by).status_code == 200
    [row] = told(typed("shares", SERIAL, "--json"))["items"]
    ended = typed("shares", SERIAL, "--revoke", str(row["id"]))
    assert "revoked" in ended.stdout
    assert office.send("GET", "shared/data", by=by).status_code == 401


def test_rectifying(typed: Typed) -> None:
    done = told(typed("rectify", SERIAL, *ASKED, "--customer", "Weber", "--json"))
    assert done["request"]["receipt"] == {"rewritten": ["customer"]}


def test_a_dry_run_needs_only_the_serial_number(typed: Typed) -> None:
    before = rows_about()
    alone = typed("erase", SERIAL, "--dry-run")
    assert alone.exit_code == 0, alone.output
    assert alone.stdout == typed("erase", "--dry-run", SERIAL, *ASKED).stdout
    assert "gone: " in alone.stdout
    assert rows_about() == before


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (("erase", SERIAL), "--verified-by"),
        (("erase", SERIAL, "--verified-by", VERIFIED), "--reason"),
        (("export", SERIAL, "--reason", WHY), "--verified-by"),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_whatever_is_really_done_needs_both_and_says_when_not(
    typed: Typed, words: tuple[str, ...], missing: str
) -> None:
    refused = typed(*words)
    assert refused.exit_code == 2
    assert f"Missing option '{missing}'" in refused.stderr
    assert ("not needed with --dry-run" in refused.stderr) == (words[0] == "erase")
    assert told(typed("requests", "--json"))["items"] == []


@pytest.mark.parametrize("command", ["erase --dry-run", "export", "restrict"])
def test_what_the_readme_says_to_type_works(typed: Typed, command: str) -> None:
    begin = f"$ callhome retention {command.replace(' ', ' SERIAL ')}"
    [line] = [each for each in README.splitlines() if each.startswith(begin)]
    _, _, _, *words = shlex.split(line.replace("SERIAL", SERIAL), comments=True)
    done = typed(*words)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "words",
    [
        ("erase", SERIAL),
        ("erase", SERIAL, "--verified-by", "", "--reason", WHY),
        ("share", SERIAL, *ASKED, "--recipient", "x", "--days", "366"),
        ("export", SERIAL, *ASKED, "--csv", "--json"),
        ("requests", "take", SERIAL, "--kind", "oblivion", *ASKED),
        ("requests", "extend", "1", "--because", ""),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_what_is_typed_wrong_changes_nothing(
    typed: Typed, words: tuple[str, ...]
) -> None:
    result = typed(*words)

    assert result.exit_code == 2, result.output
    assert told(typed("requests", "--json"))["items"] == []
