# SPDX-License-Identifier: Apache-2.0
"""What an operator types to sell: products, batches, codes, totals, books."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
import sqlalchemy as sa
from click.testing import Result
from flask import Flask
from fuzz.journeys import dump
from sqlalchemy.exc import OperationalError
from trading import IDENTITY, PASSPHRASE, RECIPIENT, opened, rows_of

from fleet.database import db
from fleet.errors import Refusal
from fleet.staff.audit import Wanted, entries
from fleet.staff.roles import cli_actor
from voucher.cli import voucher
from voucher.codes import canonical
from voucher.service.trade.filing import new_file
from voucher.service.trade.reconciling import reconcile

Typed = Callable[..., Result]
Told = Callable[..., Any]

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
NAMES = ("--name-de", "10 Benutzer", "--name-en", "10 users", "--name-fr", "10 usagers")
USERS = (*NAMES, "--function", "users", "--unit", "user", "--quantity", "10")


@pytest.fixture
def typed(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Type it, in a folder of one's own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, stdin: str | None = None) -> Result:
        return app.test_cli_runner().invoke(voucher, list(words), input=stdin)

    return run


@pytest.fixture
def told(typed: Typed) -> Told:
    """What is printed as JSON."""

    def run(*words: str, stdin: str | None = None) -> Any:
        result = typed(*words, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


@pytest.fixture
def sold(told: Told) -> list[str]:
    """Ten users for ever are sold: five vouchers of batch 1."""
    told("product", "add", "--number", "17", *USERS)
    plain = ("--count", "5", "--plain", "--activate")
    codes: list[str] = told("batch", "create", "--product", "17", *plain)["codes"]
    return codes


def test_a_product_is_made_changed_shown_and_retired(told: Told, typed: Typed) -> None:
    made = told("product", "add", "--number", "17", *USERS)
    assert (made["version"], made["quantity"], made["duration_days"]) == (1, 10, None)
    assert told("product", "add", "--number", "17", *USERS) == made
    year = told("product", "version", "17", *USERS, "--duration-days", "365")
    assert (year["version"], year["duration_days"]) == (2, 365)
    assert told("product", "list")["items"] == [year]
    assert [each["version"] for each in told("product", "show", "17")["versions"]] == [
        1,
        2,
    ]
    assert told("product", "retire", "17", "--reason", "old")["retired_at"] is not None
    assert "retired" in typed("product", "list").stdout
    special = ("--device-type", "A", "--device-type", "B", "--prerequisite", "users")
    feature = (*NAMES, "--function", "record", "--unit", "feature", *special)
    made = told("product", "add", "--number", "18", *feature)
    assert (made["stacking"], made["device_types"]) == ("renew", ["A", "B"])
    assert made["prerequisites"] == ["users"]
    found = entries(Wanted(action="product.retire"), limit=5).items
    assert [(each.actor, each.reason) for each in found] == [(cli_actor().owner, "old")]


def test_the_codes_of_a_batch_are_printed_one_a_line_once(
    sold: list[str], typed: Typed, told: Told
) -> None:
    assert len({canonical(each) for each in sold}) == 5
    shown = told("batch", "show", "1")
    assert shown["states"]["activated"] == 5
    again = typed("batch", "export", "1", "--recipient", RECIPIENT)
    assert isinstance(again.exception, Refusal)
    assert again.exception.code == "codes-already-exported"
    plain = typed("batch", "create", "--product", "17", "--count", "3", "--plain")
    assert plain.exit_code == 0
    codes = plain.stdout.splitlines()
    assert len({canonical(each) for each in codes}) == 3
    assert told("batch", "show", "2")["states"]["exported"] == 3
    assert [each["id"] for each in told("batch", "list")["items"]] == [2, 1]
    assert told("lookup", stdin=codes[0].lower())["voucher"]["batch_id"] == 2


def test_codes_that_nobody_could_read_were_never_good(
    sold: list[str], typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sold
    before = dump()

    def no_paper(_told: object, *, as_json: bool) -> None:
        raise BrokenPipeError(as_json)

    monkeypatch.setattr("voucher.batches_cli._print", no_paper)
    result = typed("batch", "create", "--product", "17", "--count", "3", "--plain")
    assert result.exit_code != 0
    assert dump() == before


def test_a_batch_is_exported_into_a_file_that_only_its_owner_reads(
    told: Told, tmp_path: Path
) -> None:
    told("product", "add", "--number", "17", *USERS)
    create = ("batch", "create", "--product", "17", "--count")
    made = told(*create, "4", "--recipient", RECIPIENT, "--activate")
    file = tmp_path / "vouchers-1.csv.age"
    assert made["file"] == file.name
    assert made["states"]["activated"] == 4
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(rows_of(opened(file.read_bytes()))) == 4
    told(*create, "6", "--dealer", "Funk", "--valid-until", "2037-12-31")
    (tmp_path / "secret").write_text(f"{PASSPHRASE}\n", encoding="ascii")
    part = told(
        *("batch", "export", "2", "--last", "2", "--passphrase-file", "secret"),
        *("--output", "two.age", "--language", "fr"),
    )
    assert part == {"batch_id": 2, "count": 2, "file": "two.age"}
    sealed = (tmp_path / "two.age").read_bytes()
    rows = rows_of(pyrage.passphrase.decrypt(sealed, PASSPHRASE))
    assert {row["product_name"] for row in rows} == {"10 usagers"}
    told("batch", "export", "2", "--first", "3", "--format", "pdf")
    paper = tmp_path / "vouchers-2-from-3.pdf"
    assert paper.read_bytes().startswith(b"%PDF-")
    left = {each.name for each in tmp_path.iterdir() if each.is_file()}
    assert not {each for each in left if each.endswith(".unfinished")}
    assert reconcile().differences == []
    assert str(IDENTITY) not in paper.read_text("latin-1")


def test_no_file_is_replaced_and_nothing_is_exported_then(
    sold: list[str], typed: Typed, told: Told, tmp_path: Path
) -> None:
    assert sold
    told("batch", "create", "--product", "17", "--count", "3")
    export = ("batch", "export", "2", "--recipient", RECIPIENT, "--output", "mine")
    for name, says in (("mine", "not replaced"), ("mine.unfinished", "broken off")):
        (tmp_path / name).write_text("mine", encoding="ascii")
        result = typed(*export)
        assert result.exit_code == 1
        assert says in str(result.exception)
        assert (tmp_path / name).read_text("ascii") == "mine"
        (tmp_path / name).unlink()
    assert told("batch", "show", "2")["states"]["created"] == 3
    assert told(*export)["count"] == 3


def test_an_export_that_breaks_off_leaves_no_file(
    sold: list[str], typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sold
    typed("batch", "create", "--product", "17", "--count", "3")
    before = dump()

    def full(_self: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("voucher.service.trade.filing.NewFile.keep", full)
        result = typed("batch", "export", "2", "--recipient", RECIPIENT)
    assert isinstance(result.exception, OSError)
    assert dump() == before
    assert list(tmp_path.glob("vouchers*")) == []


@ON_SQLITE
def test_a_database_that_fails_at_the_very_end_leaves_the_file_and_says_so(
    sold: list[str], typed: Typed, tmp_path: Path
) -> None:
    assert sold
    typed("batch", "create", "--product", "17", "--count", "3")

    def fail(_connection: object) -> None:
        raise OperationalError("COMMIT", {}, ConnectionResetError())

    sa.event.listen(db.engine, "commit", fail)
    try:
        result = typed("batch", "export", "2", "--recipient", RECIPIENT)
    finally:
        sa.event.remove(db.engine, "commit", fail)
    assert result.exit_code == 1
    assert "vouchers-2.csv.age.unfinished" in result.stderr
    kept = tmp_path / "vouchers-2.csv.age.unfinished"
    assert len(rows_of(opened(kept.read_bytes()))) == 3


def test_a_file_gets_its_name_only_when_all_is_done(tmp_path: Path) -> None:
    path = tmp_path / "codes"
    with new_file(path) as file:
        file.stream.write(b"codes")
        assert not path.exists()
        file.keep()
    assert [each.name for each in tmp_path.iterdir()] == ["codes"]
    late = new_file(tmp_path / "late")
    file = late.__enter__()
    file.stream.write(b"codes")
    file.keep()
    (tmp_path / "late").write_bytes(b"somebody's")
    with pytest.raises(FileExistsError):
        late.__exit__(None, None, None)
    assert (tmp_path / "late").read_bytes() == b"somebody's"
    assert (tmp_path / "late.unfinished").read_bytes() == b"codes"


def test_vouchers_are_sold_given_away_and_revoked(
    sold: list[str], told: Told, typed: Typed
) -> None:
    told("batch", "create", "--product", "17", "--count", "8")
    some = ("--batch", "2", "--first", "2", "--last", "5")
    given = told("allocate", *some, "--dealer", "Funk", "--dry-run")
    assert given == {"changed": 4, "unchanged": 0, "refused": {}}
    assert told("totals", "--dealer", "Funk")["vouchers"] == 0
    assert told("allocate", *some, "--dealer", "Funk") == given
    assert told("totals", "--dealer", "Funk")["vouchers"] == 4
    refused = typed("activate", "--batch", "2")
    assert refused.stdout.splitlines()[0] == "0 changed, 0 were so before"
    assert "4 left as they are: allocated" in refused.stdout
    stolen = told("revoke", "--code", "--reason", "stolen", stdin=f"{sold[0]}\n")
    assert stolen["changed"] == 1
    told("batch", "export", "2", "--recipient", RECIPIENT)
    ordered = told("activate", "--voucher", "6", "--order-reference", "SHOP-7")
    assert ordered["changed"] == 1
    counted = told("totals")
    assert counted["vouchers"] == 13
    assert counted["states"]["activated"] == 5
    assert "13 all: " in typed("totals").stdout


def test_a_code_is_never_typed_into_the_command_line(typed: Typed) -> None:
    for command in ("activate", "revoke", "lookup"):
        shown = typed(command, "--help").stdout
        assert "asked for" in shown
        assert "--code TEXT" not in shown


def test_the_books_are_compared_and_a_difference_is_a_failure(
    sold: list[str], told: Told, typed: Typed
) -> None:
    assert sold
    agree = {"batches": 1, "vouchers": 5, "releases": 0, "differences": []}
    assert told("reconcile") == agree
    assert typed("reconcile").stdout.endswith("releases: no differences\n")
    with db.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE voucher SET allocated_at = exported_at WHERE number = 3")
        )
    result = typed("reconcile")
    assert result.exit_code == 1
    assert "voucher 1/3 is not allocated by the ledger, and is" in result.stdout


def test_somebody_reads_what_became_of_a_code(sold: list[str], typed: Typed) -> None:
    lines = typed("lookup", stdin=sold[1]).stdout.splitlines()
    assert "voucher 2: number 2 of batch 1, product 17 v1, activated" in lines
    assert any("exported" in line for line in lines)


WRONG = {
    "no name in French": ("product", "add", "--number", "1", *USERS[:4], *USERS[6:]),
    "no such number": ("product", "add", "--number", "0", *USERS),
    "too many": ("batch", "create", "--product", "17", "--count", "100001"),
    "no such day": (
        *("batch", "create", "--product", "17", "--count", "1"),
        *("--valid-until", "2037-02-30"),
    ),
    "two ways out": (
        *("batch", "create", "--product", "17", "--count", "1", "--plain"),
        *("--recipient", RECIPIENT),
    ),
    "sold to nobody who could read it": (
        *("batch", "create", "--product", "17", "--count", "1", "--activate"),
    ),
    "a number that is none": ("activate", "--batch", "1", "--first", "x"),
    "a retirement without a reason": ("product", "retire", "17"),
}


@ON_SQLITE
def test_what_cannot_be_meant_is_a_usage_error_and_changes_nothing(
    sold: list[str], typed: Typed
) -> None:
    assert sold
    before = dump()
    for said, words in WRONG.items():
        result = typed(*words)
        assert result.exit_code == 2, (said, result.output)
        assert "Usage:" in result.stderr, said
    assert dump() == before


REFUSED = {
    "product-already-exists": (
        *("product", "add", "--number", "17", *USERS, "--duration-days", "5"),
    ),
    "unknown-product": ("batch", "create", "--product", "9", "--count", "1"),
    "unknown-batch": ("batch", "show", "9"),
    "invalid-request": ("activate",),
    "unknown-voucher": ("revoke", "--voucher", "99"),
}


@ON_SQLITE
def test_what_is_refused_is_refused_as_over_http(sold: list[str], typed: Typed) -> None:
    assert sold
    before = dump()
    for code, words in REFUSED.items():
        result = typed(*words)
        assert result.exit_code == 1, words
        assert isinstance(result.exception, Refusal), words
        assert result.exception.code == code
    assert dump() == before
