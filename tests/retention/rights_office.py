# SPDX-License-Identifier: Apache-2.0
"""A PBX with a past, its owner's canaries in it, and staff who answer for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import Flask
from freezegun import freeze_time
from make import SECRET, SERIAL, TestPbx, make_device, make_nonce, make_token
from making import make_product, make_voucher
from sqlalchemy import Table, func, select
from werkzeug.test import TestResponse

from fleet.database import Base, db, reading
from fleet.devices.models import Device
from fleet.staff.roles import Role
from fleet.web import access_log
from fleet.web.models import AccessRecord
from retention.policies import load
from retention.service.gathering import is_about

BIRTH = datetime(2027, 3, 1, 12, tzinfo=UTC)
LONG_AGO = date(2020, 1, 1)
CUSTOMER = "Canary-Customer Müller"
NOTES = "canary-note: rings at night, ask for Frau Weber"
WHY = "canary-reason: he was rude"
VERIFIED = "canary-proof: saw the invoice"


@dataclass
class Office:
    """Who asks and who answers, on one application behind a proxy."""

    app: Flask
    pbx: TestPbx
    operator: dict[str, str]
    support: dict[str, str]
    auditor: dict[str, str]
    at: datetime = BIRTH

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        by: dict[str, str] | None = None,
        **headers: str,
    ) -> TestResponse:
        """Ask as staff, as the operator if nobody else is named."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with freeze_time(self.at):
            return self.app.test_client().open(
                f"/retention/v1/{path}",
                method=method,
                json=body,
                headers=(self.operator if by is None else by) | named,
            )

    def own(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, **more: str
    ) -> TestResponse:
        """Ask as the PBX, by its certificate."""
        named = {name.replace("_", "-"): value for name, value in more.items()}
        with freeze_time(self.at):
            return self.app.test_client().open(
                f"/retention/v1/{path}",
                method=method,
                json=body,
                headers=self.pbx.headers | named,
            )

    def take(self, kind: str, **more: Any) -> int:
        """Take a request down; return its number."""
        said = {
            "serial_number": SERIAL,
            "kind": kind,
            "verified_by": VERIFIED,
            "reason": WHY,
        }
        answer = self.send("POST", "requests", said | more)
        assert answer.status_code == 201, answer.json
        number: int = answer.json["id"]
        return number

    def fulfil(self, kind: str, **wishes: Any) -> dict[str, Any]:
        """Take a request down and do it; return the answer."""
        answer = self.send("POST", f"requests/{self.take(kind)}/fulfilment", wishes)
        assert answer.status_code == 200, answer.json
        done: dict[str, Any] = answer.json
        return done

    def entitlements(self) -> TestResponse:
        """Sync the PBX's functions."""
        with freeze_time(self.at):
            return self.pbx.client.get(
                f"/voucher/v1/entitlements?nonce={make_nonce()}",
                headers=self.pbx.headers,
            )


def opened(app: Flask, *, support_ends_on: date | None = None) -> Office:
    """Let a PBX live a little: redeemed, refused, blocked, unblocked, checked."""
    with freeze_time(BIRTH):
        make_device(customer=CUSTOMER, notes=NOTES, support_ends_on=support_ends_on)
        pbx = TestPbx(app.test_client())
        assert pbx.initialise().status_code == 201
        office = Office(
            app,
            pbx,
            make_token(Role.OPERATOR, "Olga Operator"),
            make_token(Role.SUPPORT, "Anna Agent"),
            make_token(Role.AUDITOR, "Albert Auditor"),
        )
        code, _ = make_voucher(make_product())
        assert redeem(office, code).status_code == 201
        stale, _ = make_voucher(activated=False)
        assert redeem(office, stale).status_code == 409
        for verb in ("block", "unblock"):
            path = f"/cic/v1/devices/{SERIAL}/{verb}"
            body = {"reason": WHY}
            answer = app.test_client().post(path, json=body, headers=office.support)
            assert answer.status_code == 200
    with freeze_time(BIRTH + timedelta(hours=1)):
        assert pbx.check(failed_attempts=2).status_code == 200
    office.at = BIRTH + timedelta(hours=2)
    return office


def redeem(office: Office, code: str) -> TestResponse:
    """Redeem a voucher for the PBX."""
    return office.pbx.client.post(
        "/voucher/v1/redemptions",
        json={"code": code, "nonce": make_nonce()},
        headers=office.pbx.headers,
    )


def access_records() -> int:
    """Return how many access records there are, also those that still wait."""
    access_log.flush()
    with db.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(AccessRecord)) or 0


def rows_about(serial_number: str = SERIAL) -> dict[str, int]:
    """Return how many rows of each table are about a PBX, by the registry."""
    found = {}
    with reading() as session:
        device = session.scalar(
            select(Device).where(Device.serial_number == serial_number)
        )
        if device is None:
            return {}
        for name in {each for category in load() for each in category.tables}:
            subject = load().subject_of(name)
            if subject:
                table: Table = Base.metadata.tables[name]
                about = is_about(table, subject, device)
                count = select(func.count()).select_from(table).where(about)
                found[name] = session.scalar(count) or 0
    return found


__all__ = ["SECRET", "SERIAL"]
