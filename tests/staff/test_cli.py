# SPDX-License-Identifier: Apache-2.0
"""What an operator types about staff."""

import json

import pytest
from click.testing import Result
from flask.testing import FlaskCliRunner
from sqlalchemy import text

from fleet.clock import utcnow
from fleet.database import transaction
from fleet.ground import ground
from fleet.staff import tokens
from fleet.staff.cli import staff
from fleet.staff.roles import Role


def run(runner: FlaskCliRunner, *words: str) -> Result:
    return runner.invoke(staff, words)


def issue(runner: FlaskCliRunner, *more: str) -> Result:
    return run(runner, "token", "--owner", "anna", "--role", "support", *more)


def test_a_token_stands_alone_on_standard_output(runner: FlaskCliRunner) -> None:
    result = issue(runner)
    token = result.stdout.strip()
    found = tokens.find(token, keyring=ground().keyring, now=utcnow())
    assert found is not None
    assert (found.owner, found.role) == ("anna", Role.SUPPORT)
    assert "not shown again" in result.stderr
    assert token not in result.stderr


def test_a_program_gets_the_token_as_json(runner: FlaskCliRunner) -> None:
    issued = json.loads(issue(runner, "--expires-in-days", "7", "--json").stdout)
    assert issued["token"].startswith("cht_")
    assert issued["role"] == "support"
    assert issued["expires_at"].endswith("Z")


def test_a_dealers_token_names_the_dealer(runner: FlaskCliRunner) -> None:
    words = ("--role", "dealer", "--dealer", "Funk & Söhne", "--json")
    issued = json.loads(issue(runner, *words).stdout)
    assert (issued["role"], issued["dealer"]) == ("dealer", "Funk & Söhne")
    assert "anna of Funk & Söhne" in run(runner, "tokens").stdout


@pytest.mark.parametrize("more", [("--role", "dealer"), ("--dealer", "Funk")])
def test_a_dealers_name_without_the_role_is_refused_and_the_other_way_round(
    runner: FlaskCliRunner, more: tuple[str]
) -> None:
    result = issue(runner, *more)
    assert result.exit_code != 0
    assert json.loads(run(runner, "tokens", "--json").stdout) == {"items": []}


@pytest.mark.parametrize("more", [("--role", "king"), ("--expires-in-days", "0")])
def test_a_wrong_option_is_refused(runner: FlaskCliRunner, more: tuple[str]) -> None:
    assert issue(runner, *more).exit_code == 2


def test_a_token_is_listed_and_revoked(runner: FlaskCliRunner) -> None:
    issued = json.loads(issue(runner, "--json").stdout)
    assert "anna" in run(runner, "tokens").stdout
    gone = run(runner, "revoke", str(issued["id"]), "--reason", "left us", "--json")
    assert json.loads(gone.stdout)["revoked_at"].endswith("Z")
    assert "revoked" in run(runner, "tokens").stdout
    (item,) = json.loads(run(runner, "tokens", "--json").stdout)["items"]
    assert "token" not in item


def test_all_tokens_are_listed_however_many(runner: FlaskCliRunner) -> None:
    with transaction():
        for _ in range(201):
            issue(runner)
    assert len(json.loads(run(runner, "tokens", "--json").stdout)["items"]) == 201


def test_who_came_by_the_command_line_is_in_the_audit_log(
    runner: FlaskCliRunner,
) -> None:
    issue(runner)
    (entry,) = json.loads(run(runner, "audit", "--json").stdout)["items"]
    assert entry["actor"].startswith("cli:")
    assert entry["subject"] == "staff-token:1"
    assert "staff-token.issue" in run(runner, "audit").stdout
    none = run(runner, "audit", "--actor", "somebody else", "--json")
    assert json.loads(none.stdout) == {"items": []}


def test_a_broken_chain_ends_the_command_with_an_error(
    runner: FlaskCliRunner, database_kind: str
) -> None:
    issue(runner)
    good = run(runner, "audit", "--verify")
    assert good.exit_code == 0
    assert "1 entries, all as written" in good.stdout
    drop = (
        "DROP TRIGGER audit_entry_refuse_update"
        if database_kind == "sqlite"
        else "ALTER TABLE audit_entry DISABLE TRIGGER ALL"
    )
    with transaction() as session:
        session.execute(text(drop))
        session.execute(text("UPDATE audit_entry SET reason = 'nothing'"))
    bad = run(runner, "audit", "--verify", "--json")
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["broken_at"] == 1
    assert "changed after it was written" in run(runner, "audit", "--verify").stdout
