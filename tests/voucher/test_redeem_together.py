# SPDX-License-Identifier: Apache-2.0
"""Redemptions that arrive together: one winner, and nobody suffers for another."""

from threading import Thread
from time import sleep
from typing import Any

import pytest
from flask import Flask
from make import NOBODY, SERIAL
from making import (
    BIRTH,
    days,
    ledger_rows,
    make_product,
    make_voucher,
    release_rows,
    voucher_row,
)
from redeeming import OTHER, guesses, in_app, redeem, together
from sqlalchemy import text, update

from cic.service import holds
from fleet.database import db, transaction, writing
from fleet.devices.registry import locked
from voucher import codes
from voucher.functions import Source
from voucher.models import Voucher
from voucher.service.digests import digests_of
from voucher.service.held import Claim, Released, Shelf, keep
from voucher.service.redemptions import Redeemed, Way

pytestmark = pytest.mark.usefixtures("two_pbxs", "at_birth")


def test_of_many_who_want_one_voucher_one_pbx_gets_it(app: Flask) -> None:
    code, _ = make_voucher()
    works = [
        in_app(app, code, (SERIAL, OTHER)[number % 2], way=list(Way)[number % 2])
        for number in range(20)
    ]

    answers = together(works)

    winners = [each for each in answers if isinstance(each, Redeemed)]
    assert len(winners) == 10
    assert sum(each.is_new for each in winners) == 1
    assert len({each.release_code for each in winners}) == 1
    assert len({each.serial_number for each in winners}) == 1
    losers = [each for each in answers if isinstance(each, str)]
    assert losers == ["voucher-already-redeemed"] * 10
    assert len(release_rows()) == len(ledger_rows()) == 1
    assert guesses() == []


def test_many_vouchers_at_once_for_one_pbx_follow_one_another(app: Flask) -> None:
    product = make_product(duration_days=30, stacking="renew")
    made = [make_voucher(product)[0] for _ in range(12)]

    answers = together([in_app(app, code) for code in made])

    last_days = sorted(each.expires_on for each in answers)
    assert last_days == [BIRTH.date() + number * days(30) for number in range(1, 13)]
    assert [row.sequence for row in release_rows()] == [*range(1, 13)]
    assert {each.is_new for each in answers} == {True}


def test_a_refusal_in_a_batch_is_its_askers_alone(app: Flask) -> None:
    good = [make_voucher()[0] for _ in range(6)]
    sold_out, _ = make_voucher(activated=False)
    works = [in_app(app, code) for code in good]
    works += [in_app(app, sold_out, way=Way.BROWSER) for _ in range(4)]
    works += [in_app(app, codes.draw(), OTHER) for _ in range(4)]

    answers = together(works)

    assert all(isinstance(each, Redeemed) for each in answers[:6])
    assert answers[6:10] == ["voucher-not-activated"] * 4
    assert answers[10:] == ["voucher-not-valid"] * 4


def test_a_trial_by_voucher_is_had_once_however_many_race(app: Flask) -> None:
    product = make_product(trial=True, duration_days=14)
    made = [make_voucher(product)[0] for _ in range(6)]

    answers = together([in_app(app, code) for code in made])

    assert sum(isinstance(each, Redeemed) for each in answers) == 1
    assert answers.count("trial-already-used") == 5
    assert [row.source for row in release_rows()] == ["trial"]


def test_a_redemption_that_waited_for_a_replacement_is_refused(
    app: Flask, database_kind: str
) -> None:
    code, voucher_id = make_voucher()
    answers: list[Any] = []
    asks = in_app(app, code)
    waiting = Thread(target=lambda: answers.extend(together([asks])))
    with transaction() as session:
        locked(session, SERIAL)
        waiting.start()
        wait_for_a_lock(database_kind)
        holds.replace(SERIAL, replaced_by=OTHER, reason="dead", by=NOBODY, now=BIRTH)
    waiting.join()
    assert answers == ["device-not-permitted"]
    assert voucher_row(voucher_id).redeemed_by_id is None
    assert redeem(code, OTHER).is_new


def test_a_replacement_that_waited_for_a_redemption_moves_it_or_leaves_it_whole(
    app: Flask,
) -> None:
    product = make_product()
    made = [make_voucher(product)[0] for _ in range(8)]

    def replace() -> None:
        with app.app_context():
            holds.replace(
                SERIAL, replaced_by=OTHER, reason="dead", by=NOBODY, now=BIRTH
            )

    answers = together([*(in_app(app, code) for code in made), replace])

    won = sum(isinstance(each, Redeemed) for each in answers)
    assert answers.count("device-not-permitted") == len(made) - won
    assert len([row for row in ledger_rows() if row.kind == "redeemed"]) == won


def wait_for_a_lock(database_kind: str) -> None:
    """Until somebody waits for what we hold."""
    if database_kind == "sqlite":
        sleep(0.3)
        return
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with db.engine.connect() as connection:
        while not connection.scalar(waits):
            sleep(0.02)


def test_a_voucher_that_was_taken_in_spite_of_all_locks_is_not_taken_again() -> None:
    """The write itself has a condition, whatever was read before it."""
    code, voucher_id = make_voucher()
    with pytest.raises(RuntimeError):
        take_what_another_took(code, voucher_id)
    assert release_rows() == ledger_rows() == []
    assert voucher_row(voucher_id).redeemed_by_id is None


def take_what_another_took(code: str, voucher_id: int) -> None:
    shelf = Shelf()
    with writing(db.engine) as connection:
        pbx = shelf.lock_pbxs(connection, [SERIAL], now=BIRTH)[SERIAL]
        [card] = shelf.lock_cards(connection, digests_of(code)).values()
        connection.execute(
            update(Voucher)
            .where(Voucher.id == voucher_id)
            .values(redeemed_by_id=pbx.id, redeemed_at=BIRTH)
        )
        released = Released(1, Source.VOUCHER, 10, None, "0" * 25)
        keep(connection, [Claim(card, pbx, released, True, "pbx", BIRTH)])
