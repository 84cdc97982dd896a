# SPDX-License-Identifier: Apache-2.0
"""The one export of codes: encrypted, complete, once, and nowhere else."""

import os
import pty
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pyrage
import pytest
from flask import Flask
from freezegun import freeze_time
from fuzz.journeys import dump
from make import NOBODY, SERIAL
from making import make_pbx
from programs import path_of
from trading import (
    PASSPHRASE,
    RECIPIENT,
    Desk,
    faults,
    manager,
    opened,
    plain_traces,
    problem,
    rows_of,
)

from fleet.clock import utcnow
from fleet.settings import Settings
from fleet.staff.audit import Wanted as Sought
from fleet.staff.audit import entries
from fleet.web.languages import Language
from voucher.codes import canonical
from voucher.errors import AlreadyExported
from voucher.service import redemptions
from voucher.service.redemptions import Way
from voucher.service.trade import exporting
from voucher.service.trade.exporting import Exported, Form, Wanted
from voucher.service.trade.sealing import Seal

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
CSV = {"format": "csv", "recipient": RECIPIENT}


@pytest.fixture
def desk(app: Flask) -> Desk:
    desk = manager(app)
    desk.product()
    return desk


def export(batch_id: int, wanted: Wanted, **more: Any) -> tuple[Exported, bytes]:
    """Export as the service does; return the file, too."""
    file = BytesIO()
    done = exporting.export(
        batch_id, wanted, stream=file, reason="", by=NOBODY, now=utcnow(), **more
    )
    return done, file.getvalue()


def test_the_file_holds_every_code_with_all_that_a_dealer_needs(desk: Desk) -> None:
    batch = desk.batch(3, valid_until="2037-12-31")
    answer = desk.export(batch, **CSV, language="de")
    assert answer.status_code == 200
    assert answer.mimetype == "application/octet-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    named = answer.headers["Content-Disposition"]
    assert named == f'attachment; filename="vouchers-{batch}.csv.age"'
    rows = rows_of(opened(answer.data))
    assert list(rows[0]) == list(exporting.COLUMNS)
    assert [row["number"] for row in rows] == ["1", "2", "3"]
    for row in rows:
        bare = canonical(row["code"])
        assert row["code"] == "-".join(bare[at : at + 5] for at in range(0, 20, 5))
        assert row["link"] == f"https://localhost:8443/voucher/#{bare}"
        assert (row["product_number"], row["product_name"]) == ("17", "10 Benutzer")
        assert row["valid_until"] == "2038-01-01T12:00:00Z"
    assert len({row["code"] for row in rows}) == 3
    assert desk.states(batch) == {"exported": 3}


def test_what_is_in_the_file_is_redeemed(proxied_app: Flask) -> None:
    desk = manager(proxied_app)
    desk.product()
    batch = desk.batch(2)
    codes = desk.codes(batch)
    sold = desk.post("activations", {"code": codes[1].lower()})
    assert sold.get_json() == {"changed": 1, "unchanged": 0, "refused": {}}
    make_pbx(proxied_app)
    redeemed = redemptions.redeem(
        codes[1], serial_number=SERIAL, way=Way.PBX, address="", now=utcnow()
    )
    assert (redeemed.product_number, redeemed.quantity) == (17, 10)
    assert desk.states(batch) == {"exported": 1, "redeemed": 1}


# Opened by another program.


@pytest.mark.foreign("age")
@ON_SQLITE
def test_debians_age_opens_it_with_the_key_of_the_recipient(
    desk: Desk, tmp_path: Path
) -> None:
    key = tmp_path / "key.txt"
    made = subprocess.run(
        [Path(path_of("age")).with_name("age-keygen"), "-o", key],
        check=True,
        capture_output=True,
        text=True,
    )
    recipient = made.stderr.split()[-1]
    answer = desk.export(desk.batch(4), format="csv", recipient=recipient)
    told = subprocess.run(
        [path_of("age"), "-d", "-i", key],
        input=answer.data,
        check=True,
        capture_output=True,
    )
    assert len(rows_of(told.stdout)) == 4


@pytest.mark.foreign("age")
@ON_SQLITE
def test_debians_age_opens_it_with_the_passphrase(desk: Desk, tmp_path: Path) -> None:
    answer = desk.export(desk.batch(4), format="csv", passphrase=PASSPHRASE)
    sealed, opened_to = tmp_path / "codes.age", tmp_path / "codes.csv"
    sealed.write_bytes(answer.data)
    # It asks for the passphrase at a terminal, and nowhere else.
    child, terminal = pty.fork()
    if child == 0:
        os.execv(path_of("age"), ["age", "-d", "-o", str(opened_to), str(sealed)])
    os.write(terminal, f"{PASSPHRASE}\n".encode())
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert len(rows_of(opened_to.read_bytes())) == 4


# Once.


def test_a_second_export_is_refused_and_so_is_one_that_overlaps(desk: Desk) -> None:
    batch = desk.batch(10)
    first = desk.codes(batch, first=1, last=4)
    for part in ({}, {"first": 4}, {"last": 1}, {"first": 2, "last": 3}):
        answer = desk.export(batch, key=f"again {part}", **CSV, **part)
        assert problem(answer) == (409, "codes-already-exported")
        assert "-" not in answer.get_json()["detail"]
    rest = desk.codes(batch, first=5)
    assert (len(first), len(rest), len({*first, *rest})) == (4, 6, 10)
    assert desk.states(batch) == {"exported": 10}


def test_a_lost_answer_is_had_again_by_the_same_request_and_by_no_other(
    app: Flask, desk: Desk
) -> None:
    batch = desk.batch(500)
    assert faults(desk.post(f"batches/{batch}/export", CSV)) == ["Idempotency-Key"]
    assert desk.states(batch) == {"created": 500}
    answer = desk.export(batch, key="the one", **CSV)
    assert desk.export(batch, key="the one", **CSV).data == answer.data
    other = desk.export(batch, key="another", **CSV)
    assert problem(other) == (409, "codes-already-exported")
    somebody = manager(app).export(batch, key="the one", **CSV)
    assert problem(somebody) == (409, "codes-already-exported")


def test_of_two_exports_at_once_one_wins_and_only_its_codes_are_good(
    app: Flask, desk: Desk
) -> None:
    batch = desk.batch(3_000)
    starts = Barrier(2)
    files: list[bytes] = []
    refused: list[int] = []

    def race() -> None:
        with app.app_context():
            starts.wait()
            try:
                files.append(export(batch, Wanted(Form.CSV, Seal(RECIPIENT)))[1])
            except AlreadyExported:
                refused.append(1)

    threads = [Thread(target=race) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (len(files), len(refused)) == (1, 1)
    for row in rows_of(opened(files[0]))[::500]:
        sold = desk.post("activations", {"code": row["code"]})
        assert sold.get_json()["changed"] == 1


def stopped_after(number: int) -> Callable[[int], None]:
    """Return a progress that breaks the work off."""
    seen: list[int] = []

    def progress(done: int) -> None:
        seen.append(done)
        if len(seen) == number:
            raise ConnectionAbortedError("pulled the plug")

    return progress


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(Wanted(Form.CSV, Seal(RECIPIENT)), id="to a recipient"),
        pytest.param(Wanted(Form.CSV, Seal(None, PASSPHRASE)), id="by passphrase"),
        pytest.param(Wanted(Form.PDF, Seal()), id="on paper"),
    ],
)
def test_an_export_that_breaks_off_leaves_everything_as_it_was(
    desk: Desk, wanted: Wanted
) -> None:
    batch = desk.batch(1_500)
    before = dump()
    for number in (1, 1_200):
        with pytest.raises(ConnectionAbortedError):
            export(batch, wanted, progress=stopped_after(number))
        assert dump() == before
    done, _ = export(batch, Wanted(Form.CSV, Seal(RECIPIENT)))
    assert done.count == 1_500


# What is left out, and what is refused.


def test_revoked_vouchers_get_no_code_and_an_ended_batch_none_at_all(
    app: Flask, desk: Desk
) -> None:
    batch = desk.batch(6)
    desk.post("revocations", {"batch_id": batch, "first": 2, "last": 3})
    desk.post("revocations", {"batch_id": batch, "first": 6})
    rows = rows_of(opened(desk.export(batch, **CSV).data))
    assert [row["number"] for row in rows] == ["1", "4", "5"]
    assert exported_runs(batch) == [(1, 1), (4, 5)]
    gone = desk.batch(2)
    desk.post("revocations", {"batch_id": gone})
    answer = desk.export(gone, key="gone", **CSV)
    assert problem(answer) == (409, "voucher-state-conflict")
    until = utcnow() + timedelta(hours=1)
    ending = desk.batch(2, valid_until=until.isoformat())
    with freeze_time(until):
        answer = manager(app).export(ending, **CSV)
    assert problem(answer) == (409, "voucher-state-conflict")


def exported_runs(batch_id: int) -> list[tuple[Any, Any]]:
    return [
        (row[6], row[7])
        for row in dump()["ledger_entry"]
        if row[2] == "exported" and row[5] == batch_id
    ]


FAULTY: list[tuple[list[str], dict[str, Any]]] = [
    (["format"], {"recipient": RECIPIENT}),
    (["format"], {"format": "xlsx", "recipient": RECIPIENT}),
    (["recipient"], {"format": "csv"}),
    (["recipient"], {"format": "csv", "recipient": "age1notone"}),
    (["recipient"], {"format": "csv", "recipient": "AGE-SECRET-KEY-1QQ"}),
    (["passphrase"], {"format": "csv", "passphrase": "too short"}),
    (["passphrase", "recipient"], CSV | {"passphrase": PASSPHRASE}),
    (["first", "last"], CSV | {"first": 4, "last": 3}),
    (["first", "last"], CSV | {"last": 6}),
    (["first"], CSV | {"first": 0}),
    (["language"], CSV | {"language": "it"}),
]


@ON_SQLITE
def test_each_fault_of_an_export_is_named_and_nothing_is_exported(desk: Desk) -> None:
    batch = desk.batch(5)
    for number, (fields, body) in enumerate(FAULTY):
        answer = desk.export(batch, key=f"faulty {number}", **body)
        assert faults(answer) == fields, body
    assert problem(desk.export(9, key="none", **CSV)) == (404, "unknown-batch")
    assert desk.states(batch) == {"created": 5}


# Where a code must not be.


def test_no_plain_code_is_in_the_database_or_beside_it(
    desk: Desk, settings: Settings
) -> None:
    codes = desk.codes(desk.batch(40))
    paper = desk.batch(10)
    sealed = desk.export(paper, key="sealed paper", format="pdf", recipient=RECIPIENT)
    assert opened(sealed.data).startswith(b"%PDF-")
    desk.post("activations", {"code": codes[0]}, key="sold")
    desk.post("revocations", {"code": codes[1]}, key="stolen")
    assert plain_traces(codes, settings) == []


def test_the_search_for_plain_codes_finds_one(desk: Desk, settings: Settings) -> None:
    batch = desk.batch(1, order_reference="0123456789ABCDEFGHJK")
    assert desk.states(batch) == {"created": 1}
    assert "voucher_batch" in plain_traces(["01234-56789-ABCDE-FGHJK"], settings)


@ON_SQLITE
def test_the_audit_log_says_who_how_many_and_to_whom(desk: Desk) -> None:
    batch = desk.batch(8)
    desk.export(batch, key="1", **CSV, first=1, last=3, reason="autumn")
    desk.export(batch, key="2", format="csv", passphrase=PASSPHRASE, first=4, last=5)
    desk.export(batch, key="3", format="pdf", first=6)
    found = entries(Sought(subject=f"batch:{batch}"), limit=10).items[-2::-1]
    said = [
        (each.after["format"], each.after["exported"], each.after["readable_by"])
        for each in found
    ]
    assert said == [
        ("csv", 3, RECIPIENT),
        ("csv", 2, "whoever knows the passphrase"),
        ("pdf", 3, "everybody"),
    ]
    assert {each.actor for each in found} == {"Paula Products"}
    assert found[0].reason == "autumn"


def test_a_passphrase_is_in_no_word_about_it() -> None:
    seal = Seal(None, PASSPHRASE)
    assert PASSPHRASE not in repr(seal) + repr(Wanted(Form.CSV, seal)) + seal.reader


@ON_SQLITE
def test_a_file_under_a_passphrase_opens_with_nothing_else(desk: Desk) -> None:
    wanted = Wanted(Form.CSV, Seal(None, PASSPHRASE), Language.FRENCH)
    _, sealed = export(desk.batch(2), wanted)
    rows = rows_of(pyrage.passphrase.decrypt(sealed, PASSPHRASE))
    assert {row["product_name"] for row in rows} == {"10 utilisateurs"}
    with pytest.raises(pyrage.DecryptError):
        pyrage.passphrase.decrypt(sealed, PASSPHRASE + "r")
