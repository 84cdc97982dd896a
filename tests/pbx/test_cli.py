# SPDX-License-Identifier: Apache-2.0
"""What a newcomer types, and what comes back."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pbx.simulated import SERIAL, SimulatedVendor, problem, silence
from pbx.simulated_center import USERS

from fleet.pbx import stage
from fleet.pbx.cli import commands

Run = Callable[..., Result]


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> SimulatedVendor:
    """The vendor at the other end of every HTTPS connection of this test."""
    vendor = SimulatedVendor(
        lambda: datetime.now(UTC), keys_from=datetime.now(UTC) - timedelta(days=1)
    )
    monkeypatch.setattr(stage, "HttpsTransport", lambda _url, **_: vendor)
    return vendor


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(*arguments: str, typed: str | None = None) -> Result:
        command, *rest = arguments
        folder = ["--folder", str(tmp_path / "pbx")]
        return CliRunner().invoke(commands, [command, *folder, *rest], input=typed)

    return call


@pytest.fixture
def plate(vendor: SimulatedVendor, tmp_path: Path) -> list[str]:
    root = tmp_path / "root.pub.pem"
    root.write_bytes(
        vendor.root.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
    )
    return [
        f"--serial-number={SERIAL}",
        "--device-secret=factory-written-secret",
        "--url=https://localhost:8443",
        f"--ca-file={tmp_path / 'ca.pem'}",
        f"--root-key={root}",
    ]


def test_the_plate_is_engraved_once(run: Run, plate: list[str]) -> None:
    first = run("initialise", *plate)
    again = run("initialise")

    assert first.exit_code == again.exit_code == 0
    assert "Initialised" in first.output
    assert "generation  2" in again.output
    assert "\x1b" not in first.output
    assert "secret" not in first.output


def test_a_check_and_a_renewal_go_on_from_what_is_remembered(
    run: Run, plate: list[str]
) -> None:
    run("initialise", *plate)

    checked = run("check")
    renewed = run("renew")

    assert "signed: active" in checked.output
    assert "renewed" in renewed.output
    assert checked.exit_code == renewed.exit_code == 0


def test_every_line_of_json_is_json(run: Run, plate: list[str]) -> None:
    answer = run("initialise", "--json", *plate)

    lines = [json.loads(line) for line in answer.output.splitlines()]
    assert [line["event"] for line in lines[:-1]] == [
        "booted",
        "initialised",
        "entitled",
    ]
    assert lines[-1]["standing"] == "running"


def test_instants_are_told_as_the_wire_spells_them(run: Run, plate: list[str]) -> None:
    run("initialise", *plate)

    told = json.loads(run("status", "--json").output)
    for name in ("answered_at", "locks_at", "certificate_until"):
        assert datetime.strptime(told[name], "%Y-%m-%dT%H:%M:%S%z").tzinfo == UTC
        assert told[name].endswith("Z"), name


def test_nothing_and_a_signed_no_are_failures(
    run: Run, plate: list[str], vendor: SimulatedVendor
) -> None:
    run("initialise", *plate)
    vendor.meddler = silence
    nothing = run("check")
    vendor.meddler = lambda _, __: problem(503, "busy")
    unrenewed = run("renew")
    vendor.meddler = None
    vendor.verdict = "blocked"
    blocked = run("check")
    status = run("status")

    codes = [each.exit_code for each in (nothing, unrenewed, blocked, status)]
    assert codes == [1, 1, 1, 1]
    assert "No signed answer. Why: no route." in nothing.output
    assert "blocked" in blocked.output
    assert "standing  blocked" in status.output


@pytest.mark.parametrize(
    "command",
    ["check", "renew", "live", "status", "sync", "redeem", "enter-code", "functions"],
)
def test_without_a_pbx_it_says_how_to_make_one(run: Run, command: str) -> None:
    answer = run(command)

    assert answer.exit_code == 1
    assert "callhome pbx initialise" in answer.output


def test_what_is_missing_on_the_plate_is_named(run: Run) -> None:
    answer = run("initialise", "--serial-number=A1B2C3D4E5")

    assert answer.exit_code == 2
    assert "--ca-file, --device-secret, --root-key, --url" in answer.output


def test_a_life_of_two_days_tells_its_story(run: Run, plate: list[str]) -> None:
    run("initialise", *plate)

    answer = run("live", "--json", "--speed", "1e9")

    assert answer.exit_code == 0
    events = [json.loads(line).get("event") for line in answer.output.splitlines()]
    story = [event for event in dict.fromkeys(events) if event]
    assert story == [
        "booted",
        "active",
        "entitled",
        "power-cut",
        "nothing",
        "network-back",
    ]
    assert 3 <= events.count("nothing") <= 5
    assert events.count("active") == 3


def test_a_new_pbx_can_live_at_once(run: Run, plate: list[str]) -> None:
    run("initialise", *plate)

    answer = run("live", "--days", "0.2", "--speed", "1e9", "--outage-for", "0")

    assert "day 1 00:00  Power is on." in answer.output
    assert answer.exit_code == 0


def test_a_voucher_is_redeemed_from_a_prompt_and_its_functions_are_listed(
    run: Run, plate: list[str], vendor: SimulatedVendor
) -> None:
    run("initialise", *plate)
    code = vendor.center.sell(USERS)

    redeemed = run("redeem", typed=f"{code}\n")
    listed = run("functions", "--json")
    status = run("status")

    assert redeemed.exit_code == listed.exit_code == 0
    assert vendor.center.redeemed[code.replace("-", "")] in redeemed.output
    assert json.loads(listed.output) == {
        "function": "users",
        "quantity": 10,
        "expires_on": None,
        "source": "voucher",
    }
    assert "functions  10 users" in status.output


def test_a_voucher_without_network_waits_and_a_sync_redeems_it(
    run: Run, plate: list[str], vendor: SimulatedVendor
) -> None:
    run("initialise", *plate)
    code = vendor.center.sell(USERS)
    vendor.meddler = silence
    failed = run("redeem", typed=f"{code}\n")
    vendor.meddler = None

    synced = run("sync", "--json")

    assert failed.exit_code == 1
    assert code not in failed.output.replace(f"Voucher code: {code}", "")
    told = [json.loads(line) for line in synced.output.splitlines()][-1]
    assert [each["quantity"] for each in told["functions"]] == [10]


def test_a_release_code_is_typed_in_without_network_and_once(
    run: Run, plate: list[str], vendor: SimulatedVendor, tmp_path: Path
) -> None:
    catalogue = tmp_path / "catalogue.json"
    catalogue.write_text('{"17": {"function": "users", "stacking": "add"}}')
    run("initialise", *plate, f"--catalogue={catalogue}")
    code = vendor.center.release(USERS)
    vendor.meddler = silence

    entered = run("enter-code", typed=f"{code.lower()}\n")
    again = run("enter-code", typed=f"{code}\n")
    mistyped = run("enter-code", typed="40404\n")

    assert [each.exit_code for each in (entered, again, mistyped)] == [0, 1, 1]
    assert "functions  10 users" in entered.output
    assert "already entered" in again.output
    assert "has 25 symbols, and 5 were typed" in mistyped.output


def test_a_trial_is_had_once(
    run: Run, plate: list[str], vendor: SimulatedVendor
) -> None:
    run("initialise", *plate)
    vendor.center.trials[19] = USERS

    assert "functions  10 users" in run("try", "--product=19").output
    again = run("try", "--product=19")

    assert again.exit_code == 1
    assert "trial-already-used" in again.output


@pytest.mark.parametrize("written", ["[]", '{"17": {}}', '{"x": {}}', "{"])
def test_a_catalogue_that_is_none_is_named(
    run: Run, plate: list[str], tmp_path: Path, written: str
) -> None:
    catalogue = tmp_path / "catalogue.json"
    catalogue.write_text(written)

    answer = run("initialise", *plate, f"--catalogue={catalogue}")

    assert answer.exit_code == 1
    assert "Traceback" not in answer.output
