# SPDX-License-Identifier: Apache-2.0
"""Calls the Voucher Center as a PBX does, and reads what is signed."""

from collections.abc import Mapping
from typing import Any

from make import TestPbx, make_nonce, verified
from werkzeug.test import TestResponse


def post(pbx: TestPbx, what: str, body: Mapping[str, Any]) -> TestResponse:
    """Post to ``/voucher/v1/<what>``, with a nonce of its own."""
    sent = {"nonce": make_nonce(), **body}
    return pbx.client.post(f"/voucher/v1/{what}", json=sent, headers=pbx.headers)


def redeem(pbx: TestPbx, code: str, **more: Any) -> TestResponse:
    """Redeem a voucher."""
    return post(pbx, "redemptions", {"code": code, **more})


def start_trial(pbx: TestPbx, product_number: int, **more: Any) -> TestResponse:
    """Start a trial."""
    return post(pbx, "trials", {"product_number": product_number, **more})


def sync(pbx: TestPbx, **query: str) -> TestResponse:
    """Ask what may be used."""
    asked = {"nonce": make_nonce(), **query}
    return pbx.client.get(
        "/voucher/v1/entitlements", query_string=asked, headers=pbx.headers
    )


def functions(answer: TestResponse) -> list[dict[str, Any]]:
    """Return the functions that an answer entitles to, verified."""
    assert answer.status_code in {200, 201}, answer.json
    found: list[dict[str, Any]] = verified(answer.get_json()["entitlements"])[
        "functions"
    ]
    return found


def entitled(pbx: TestPbx) -> list[tuple[str, int, str | None]]:
    """Return what a PBX may use: function, quantity, last day."""
    return [
        (each["function"], each["quantity"], each["expires_on"])
        for each in functions(sync(pbx))
    ]


def problem(answer: TestResponse) -> tuple[int, str]:
    """Return status and code of a refusal."""
    said = answer.get_json()
    assert said["status"] == answer.status_code
    return answer.status_code, said["type"].removeprefix("/problems/")
