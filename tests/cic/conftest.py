# SPDX-License-Identifier: Apache-2.0
"""PBXs that are registered and live, staff, and what the database says of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from freezegun import freeze_time
from make import SERIAL, TestPbx, make_device, make_token
from sqlalchemy import select
from werkzeug.test import TestResponse

from cic.models import Activation, LifeEvent
from fleet.database import db, reading
from fleet.devices.models import Device
from fleet.settings import Networks, Settings
from fleet.staff.audit import AuditFacts, Wanted, entries
from fleet.web import access_log
from wsgi import create_app

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)

MakeApp = Callable[..., Flask]
Ask = Callable[..., TestResponse]


@pytest.fixture
def make_app(settings: Settings) -> Iterator[MakeApp]:
    """Build the application behind a proxy, with settings that can be chosen."""
    contexts = []

    def make(**changed: object) -> Flask:
        behind = replace(settings, tls=False, trusted_proxies=Networks.of("127.0.0.1"))
        app = create_app(replace(behind, **changed))  # type: ignore[arg-type] # any field
        app.testing = True
        app.config["PROPAGATE_EXCEPTIONS"] = False
        contexts.append(app.app_context())
        contexts[-1].push()
        return app

    yield make
    while contexts:
        access_log.flush()
        db.session.remove()
        db.engine.dispose()
        contexts.pop().pop()


@pytest.fixture
def house(make_app: MakeApp) -> Flask:
    """The whole application behind a proxy."""
    return make_app()


@pytest.fixture
def new_pbx(house: Flask) -> TestPbx:
    """A PBX as it leaves the factory."""
    with freeze_time(BIRTH):
        make_device()
    return TestPbx(house.test_client())


@pytest.fixture
def pbx(new_pbx: TestPbx) -> TestPbx:
    """A PBX that was initialised at ``BIRTH``."""
    with freeze_time(BIRTH):
        assert new_pbx.initialise().status_code == 201
    return new_pbx


@pytest.fixture
def staff(house: Flask) -> dict[str, str]:
    """The header of a support agent."""
    with freeze_time(BIRTH), house.app_context():
        return make_token()


@pytest.fixture
def ask(pbx: TestPbx, staff: dict[str, str]) -> Ask:
    """Ask as support, an hour after ``BIRTH``, unless told otherwise."""

    def send(
        method: str,
        url: str,
        body: dict[str, Any] | None = None,
        *,
        after: timedelta = timedelta(hours=1),
        **headers: str,
    ) -> TestResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with freeze_time(BIRTH + after):
            return pbx.client.open(url, method=method, json=body, headers=staff | named)

    return send


@pytest.fixture
def held() -> Callable[..., Activation]:
    """What is stored of a PBX."""

    def read(serial_number: str = SERIAL) -> Activation:
        with reading() as session:
            return session.scalars(
                select(Activation)
                .join(Device, Device.id == Activation.device_id)
                .where(Device.serial_number == serial_number)
            ).one()

    return read


@pytest.fixture
def history() -> Callable[..., list[str]]:
    """The kinds of what happened to a PBX, oldest first."""

    def read(serial_number: str = SERIAL) -> list[str]:
        with reading() as session:
            return list(
                session.scalars(
                    select(LifeEvent.kind)
                    .join(Device, Device.id == LifeEvent.device_id)
                    .where(Device.serial_number == serial_number)
                    .order_by(LifeEvent.id)
                )
            )

    return read


@pytest.fixture
def audited() -> Callable[..., list[AuditFacts]]:
    """The entries of the audit log about something, oldest first."""

    def read(subject: str | None = None) -> list[AuditFacts]:
        found = entries(Wanted(subject=subject), limit=200).items
        return [
            each
            for each in reversed(found)
            if not each.action.startswith("staff-token.")
        ]

    return read
