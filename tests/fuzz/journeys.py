# SPDX-License-Identifier: Apache-2.0
"""Every route that takes a JSON body, with a request to it that is in order.

The table is checked against the application, so a new route cannot be left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from make import SECRET, SERIAL, TestPbx, make_csr, make_device, make_nonce, make_token
from werkzeug.test import TestResponse

from fleet.clock import rfc3339, utcnow
from fleet.database import Base, db
from fleet.staff.roles import Role
from fleet.web.contract import contract_of
from fleet.web.models import GuessCount

OTHER_SERIAL = "CX1000000002"
DEVICE = f"/cic/v1/devices/{SERIAL}"


@dataclass(frozen=True)
class Way:
    """How one route is called: by whom, and with which body."""

    endpoint: str
    method: str
    path: str
    body: Mapping[str, Any]
    role: Role | None = None
    as_device: bool = False
    needs: Sequence[str] = field(default=())


def ways() -> list[Way]:
    """Return a good request for each JSON route; nonces and keys are fresh."""
    pbx = {
        "serial_number": SERIAL,
        "nonce": make_nonce(),
        "device_type": "COMtrexx VM",
        "software_version": "2.0.1",
    }
    initialisation = pbx | {
        "device_secret": SECRET,
        "csr": make_csr(ec.generate_private_key(ec.SECP256R1()), SERIAL),
    }
    check = pbx | {
        "continuation": None,
        "device_time": "2026-11-22T16:40:00Z",
        "failed_attempts": 3,
    }
    registration = {
        "serial_number": "CX1000000003",
        "device_secret": SECRET,
        "device_type": "COMtrexx VM",
        "mac_address": "58:9e:c6:0d:8c:73",
        "part_number": "P",
        "hardware_revision": "1",
        "support_ends_on": "2030-01-01",
        "customer": "Müller",
        "notes": "none",
    }
    change = {
        "customer": "Müller",
        "notes": "none",
        "grace_days": 5,
        "support_ends_on": "2030-01-01",
        "reason": "asked for",
    }
    why = {"reason": "asked for"}
    heir = why | {"by": OTHER_SERIAL}
    token = why | {"owner": "Bo", "role": "support", "expires_in": 3600}
    amnesty = why | {"until": rfc3339(utcnow() + timedelta(days=7))}
    grace = why | {"grace_days": 5}
    support, operator = Role.SUPPORT, Role.OPERATOR
    return [
        Way(
            "cic.initialise",
            "POST",
            "/cic/v1/initialise",
            initialisation,
            needs=[*initialisation],
        ),
        Way("cic.check", "POST", "/cic/v1/check", check, as_device=True, needs=[*pbx]),
        Way(
            "cic-staff.register_device",
            "POST",
            "/cic/v1/devices",
            registration,
            support,
            needs=["serial_number", "device_secret", "device_type"],
        ),
        Way("cic-staff.change_device", "PATCH", DEVICE, change, support),
        Way("cic-staff.block_device", "POST", f"{DEVICE}/block", why, support),
        Way("cic-staff.unblock_device", "POST", f"{DEVICE}/unblock", why, support),
        Way(
            "cic-staff.open_reinitialisation",
            "POST",
            f"{DEVICE}/reinitialisation",
            why,
            support,
        ),
        Way(
            "cic-staff.replace_device",
            "POST",
            f"{DEVICE}/replacement",
            heir,
            support,
            needs=["by", "reason"],
        ),
        Way(
            "cic-staff.grant_amnesty",
            "POST",
            "/cic/v1/amnesties",
            amnesty,
            support,
            needs=["until", "reason"],
        ),
        Way(
            "cic-staff.set_grace",
            "PUT",
            "/cic/v1/graces/COMtrexx",
            grace,
            support,
            needs=["grace_days", "reason"],
        ),
        Way(
            "staff.issue_token",
            "POST",
            "/staff/v1/tokens",
            token,
            operator,
            needs=["owner", "role", "reason"],
        ),
    ]


def json_routes(app: Flask) -> set[str]:
    """Return the endpoints of ``app`` that take a JSON body."""
    return {
        name
        for name, view in app.view_functions.items()
        if contract_of(view).body is not None
    }


class Place:
    """An application with a PBX and staff, and somebody who sends anything to it."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.client = app.test_client()
        make_device(SERIAL)
        make_device(OTHER_SERIAL)
        self.pbx = TestPbx(self.client)
        assert self.pbx.initialise().status_code == 201
        assert self.pbx.check().status_code == 200
        self.staff = {role: make_token(role) for role in Role}

    def send(
        self, way: Way, raw: bytes, content_type: str | None = "application/json"
    ) -> TestResponse:
        """Send ``raw`` as the body of a request that is in order but for that."""
        headers = dict(self.staff[way.role]) if way.role else {}
        if way.as_device:
            headers |= self.pbx.headers
        if content_type is not None:
            headers["Content-Type"] = content_type
        return self.client.open(way.path, method=way.method, data=raw, headers=headers)


# What a refused request may leave behind: who came, and who guessed.
NOT_STATE = {"access_record", GuessCount.__tablename__, "pulse", "job_lease"}


def dump() -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table that a refused request must not touch."""
    with db.engine.connect() as connection:
        return {
            table.name: sorted(
                (
                    tuple(
                        value
                        for column, value in zip(table.columns, row, strict=True)
                        if column.name != "last_used_at"
                    )
                    for row in connection.execute(sa.select(table))
                ),
                key=repr,
            )
            for table in Base.metadata.sorted_tables
            if table.name not in NOT_STATE
        }


def problem_of(answer: TestResponse) -> dict[str, Any]:
    """Return the problem document of a refusal, which shows nothing of our inside."""
    assert answer.mimetype == "application/problem+json", answer.data[:200]
    document: dict[str, Any] = answer.get_json()
    assert document["status"] == answer.status_code
    assert document["type"].startswith("/problems/")
    assert document["detail"]
    for inside in ("Traceback", "File ", "sqlalchemy", "psycopg", "sqlite"):
        assert inside not in answer.text
    return document


def check_problem_page(place: Place, code: str) -> None:
    """Fail where a code has no page for people."""
    assert place.client.get(f"/problems/{code}").status_code == 200
