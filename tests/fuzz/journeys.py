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
from voucher.codes import RANDOM_SYMBOLS, with_checks

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
    redemption = {"code": with_checks([7] * RANDOM_SYMBOLS), "nonce": make_nonce()}
    trial = {"product_number": 17, "nonce": make_nonce()}
    why = {"reason": "asked for"}
    heir = why | {"by": OTHER_SERIAL}
    token = why | {"owner": "Bo", "role": "support", "expires_in": 3600}
    amnesty = why | {"until": rfc3339(utcnow() + timedelta(days=7))}
    grace = why | {"grace_days": 5}
    time = {"from": "2026-11-20T16:40:00+01:00", "to": "2026-11-22"}
    search = why | time | {"address": "83.1.12.77", "limit": 10}
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
            "voucher.redeem",
            "POST",
            "/voucher/v1/redemptions",
            redemption,
            as_device=True,
            needs=[*redemption],
        ),
        Way(
            "voucher.start_trial",
            "POST",
            "/voucher/v1/trials",
            trial,
            as_device=True,
            needs=[*trial],
        ),
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
        *_at_the_desk(why),
        *_in_trade(why),
        *_of_rights(why),
        Way(
            "retention-runs.begin_run",
            "POST",
            "/retention/v1/runs",
            why | {"dry_run": True},
            operator,
        ),
        Way(
            "retention-statistics.search_access_records",
            "POST",
            "/retention/v1/access-record-searches",
            search,
            operator,
            needs=["address", "from", "to", "reason"],
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


def _at_the_desk(why: Mapping[str, Any]) -> list[Way]:
    """Return what support asks and decides about single vouchers and PBXs."""
    code = {"code": with_checks([7] * RANDOM_SYMBOLS)}
    grant = why | {"serial_number": SERIAL, "product_number": 17}
    move = why | {"to_serial_number": OTHER_SERIAL}
    return [
        Way(f"voucher-{name}", "POST", f"/voucher/v1/{path}", body, role, needs=[*body])
        for name, path, body, role in (
            ("vouchers.look_up", "lookups", code, Role.DEALER),
            ("vouchers.replace_voucher", "vouchers/1/replacement", why, Role.SUPPORT),
            ("devices.grant", "grants", grant, Role.SUPPORT),
            ("devices.move", "releases/1/move", move, Role.SUPPORT),
            ("devices.request_reversal", "releases/1/reversal", why, Role.SUPPORT),
            (
                "devices.confirm_reversal",
                "releases/1/reversal/confirmation",
                why,
                Role.SUPPORT,
            ),
        )
    ]


def _in_trade(why: Mapping[str, Any]) -> list[Way]:
    """Return what a product manager sets up and sells."""
    version = why | {
        "names": {"de": "Teilnehmer", "en": "Users", "fr": "Usagers"},
        "function": "users",
        "unit": "user",
        "quantity": 10,
        "duration_days": 365,
        "device_types": ["COMtrexx VM"],
        "prerequisites": [],
        "stacking": "add",
        "trial": False,
    }
    batch = why | {
        "product": 17,
        "count": 5,
        "dealer": "A dealer",
        "valid_until": "2030-12-31",
        "order_reference": "4711",
    }
    export = why | {"format": "csv", "language": "de", "first": 1, "last": 2}
    some = why | {"batch_id": 1, "first": 1, "last": 2}
    needed = ["names", "function", "unit", "quantity"]
    return [
        Way(
            f"voucher-{name}",
            "POST",
            f"/voucher/v1/{path}",
            body,
            Role.PRODUCT_MANAGER,
            needs=needs,
        )
        for name, path, body, needs in (
            (
                "products.add_product",
                "products",
                version | {"product_number": 17},
                ["product_number", *needed],
            ),
            ("products.add_version", "products/17/versions", version, needed),
            ("batches.create_batch", "batches", batch, ["product", "count"]),
            ("batches.export_batch", "batches/1/export", export, ["format"]),
            ("batches.activate", "activations", some, []),
            ("batches.revoke", "revocations", some, []),
            ("batches.allocate", "allocations", some | {"dealer": "A dealer"}, []),
        )
    ]


def _of_rights(why: Mapping[str, Any]) -> list[Way]:
    """Return what PBXs and people ask about what is stored of them."""
    share: dict[str, Any] = {"recipient": "A workshop", "expires_in_days": 30}
    taken = why | {
        "serial_number": SERIAL,
        "kind": "access",
        "verified_by": "saw the invoice",
        "received_at": "2026-11-20T16:40:00Z",
    }
    wishes = share | {
        "answer": "as asked",
        "customer": "Müller",
        "notes": "none",
        "ends_service": True,
    }
    because, told = {"because": "it is much"}, {"told": "by letter"}
    device, operator = None, Role.OPERATOR
    return [
        Way(
            f"retention{name}",
            "POST",
            f"/retention/v1/{path}",
            body,
            role,
            as_device=role is None,
            needs=needs,
        )
        for name, path, body, role, needs in (
            (
                ".object_to_statistics",
                "device/objection",
                {"withdraw": False},
                device,
                [],
            ),
            (".share_own_data", "device/shares", share, device, ["recipient"]),
            (
                "-rights.take_request_down",
                "requests",
                taken,
                operator,
                ["serial_number", "kind", "verified_by", "reason"],
            ),
            (
                "-rights.extend_request",
                "requests/1/extension",
                because,
                operator,
                ["because"],
            ),
            (
                "-rights.refuse_request",
                "requests/1/refusal",
                because,
                operator,
                ["because"],
            ),
            ("-rights.fulfil_request", "requests/1/fulfilment", wishes, operator, []),
            (
                "-rights.lift_restriction",
                "requests/1/lifting",
                told,
                operator,
                ["told"],
            ),
        )
    ]


def json_routes(app: Flask) -> set[str]:
    """Return the endpoints of ``app`` that take a JSON body."""
    return {
        name
        for name, view in app.view_functions.items()
        if contract_of(view).body is not None
        and contract_of(view).body_media_type == "application/json"
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
        self.staff = {
            role: make_token(role, dealer="A dealer" if role is Role.DEALER else "")
            for role in Role
        }

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
