# SPDX-License-Identifier: Apache-2.0
"""Redeems as a service does, alone or many at once, and reads what is left of it."""

from collections.abc import Callable
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from flask import Flask
from fuzz.journeys import dump
from make import SERIAL
from making import BIRTH
from sqlalchemy import select

from fleet.database import reading
from fleet.devices.models import Device
from fleet.errors import Refusal
from fleet.web.models import GuessCount
from voucher.models import RedemptionRefusal
from voucher.service import redemptions
from voucher.service.redemptions import Redeemed, Way

OTHER = "CX1000000002"
STRANGER = "CX9999999999"
SECOND = timedelta(seconds=1)


def redeem(
    code: str,
    serial_number: str = SERIAL,
    *,
    way: Way = Way.PBX,
    after: timedelta = timedelta(0),
    address: str = "192.0.2.7",
) -> Redeemed:
    return redemptions.redeem(
        code,
        serial_number=serial_number,
        way=way,
        address=address,
        now=BIRTH + after,
    )


def refused(code: str, serial_number: str = SERIAL, **more: Any) -> str:
    """Redeem; return the code of the refusal, which has changed nothing."""
    before = dump() | {"redemption_refusal": []}
    with pytest.raises(Refusal) as refusal:
        redeem(code, serial_number, **more)
    assert dump() | {"redemption_refusal": []} == before
    return refusal.value.code


def noted() -> list[tuple[str, str, int | None, int | None]]:
    """Return what is noted of refusals, oldest first."""
    with reading() as session:
        rows = session.scalars(select(RedemptionRefusal).order_by(RedemptionRefusal.id))
        return [(r.problem, r.way, r.device_id, r.voucher_id) for r in rows]


def device_id(serial_number: str = SERIAL) -> int:
    with reading() as session:
        return session.scalars(
            select(Device.id).where(Device.serial_number == serial_number)
        ).one()


def guesses() -> list[int]:
    with reading() as session:
        return sorted(session.scalars(select(GuessCount.wrong)))


def together(works: list[Callable[[], Any]]) -> list[Any]:
    """Do all at the same time; return what each returned or raised."""
    gate = Barrier(len(works))
    answers: list[Any] = [None] * len(works)

    def run(number: int, work: Callable[[], Any]) -> None:
        gate.wait()
        try:
            answers[number] = work()
        except Refusal as refusal:
            answers[number] = refusal.code

    threads = [Thread(target=run, args=each) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def in_app(app: Flask, *given: Any, **more: Any) -> Callable[[], Redeemed]:
    def work() -> Redeemed:
        with app.app_context():
            return redeem(*given, **more)

    return work
