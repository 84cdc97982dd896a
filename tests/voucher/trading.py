# SPDX-License-Identifier: Apache-2.0
"""What a product manager asks for over HTTP, and how codes are read afterwards."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
from flask import Flask
from flask.testing import FlaskClient
from make import make_token
from werkzeug.test import TestResponse

from fleet.database import Base, db
from fleet.settings import Settings
from fleet.staff.roles import Role
from voucher.codes import ALPHABET

USERS: dict[str, Any] = {
    "product_number": 17,
    "names": {"de": "10 Benutzer", "en": "10 users", "fr": "10 utilisateurs"},
    "function": "users",
    "unit": "user",
    "quantity": 10,
}
PASSPHRASE = "correct horse battery staple"


@dataclass
class Desk:
    """Somebody of the staff at work."""

    client: FlaskClient
    headers: Mapping[str, str]

    def get(self, what: str) -> TestResponse:
        return self.client.get(f"/voucher/v1/{what}", headers=self.headers)

    def post(
        self, what: str, body: Mapping[str, Any], *, key: str | None = None
    ) -> TestResponse:
        headers = dict(self.headers) | ({"Idempotency-Key": f'"{key}"'} if key else {})
        return self.client.post(f"/voucher/v1/{what}", json=body, headers=headers)

    def delete(self, what: str) -> TestResponse:
        return self.client.delete(f"/voucher/v1/{what}", headers=self.headers)

    def product(self, **changed: Any) -> dict[str, Any]:
        """Make a product."""
        return made(self.post("products", USERS | changed))

    def batch(self, count: int = 5, **more: Any) -> int:
        """Make a batch of ``USERS``; return its id."""
        body = {"product": USERS["product_number"], "count": count, **more}
        answer = made(self.post("batches", body))
        return int(answer["id"])

    def export(self, batch_id: int, *, key: str = "once", **how: Any) -> TestResponse:
        return self.post(f"batches/{batch_id}/export", how, key=key)

    def codes(self, batch_id: int, **part: int) -> list[str]:
        """Export; return the codes as a reader of the file finds them."""
        answer = self.export(
            batch_id,
            key=f"codes-{batch_id}-{part}",
            format="csv",
            recipient=RECIPIENT,
            **part,
        )
        assert answer.status_code == 200, answer.json
        return [row["code"] for row in rows_of(opened(answer.data))]

    def states(self, batch_id: int) -> dict[str, int]:
        """Return how many vouchers of a batch are in which state, but for none."""
        answer = self.get(f"batches/{batch_id}").get_json()
        assert answer["vouchers"] == sum(answer["states"].values())
        return {state: count for state, count in answer["states"].items() if count}


IDENTITY = pyrage.x25519.Identity.generate()
RECIPIENT = str(IDENTITY.to_public())


def manager(app: Flask) -> Desk:
    """A product manager."""
    return Desk(app.test_client(), make_token(Role.PRODUCT_MANAGER, "Paula Products"))


def dealer(app: Flask, name: str) -> Desk:
    """Somebody at a dealer's."""
    return Desk(app.test_client(), make_token(Role.DEALER, "Dora Dealer", name))


def made(answer: TestResponse) -> dict[str, Any]:
    """Return what was made."""
    assert answer.status_code == 201, answer.get_json()
    told: dict[str, Any] = answer.get_json()
    return told


def problem(answer: TestResponse) -> tuple[int, str]:
    """Return status and code of a refusal."""
    said = answer.get_json()
    assert said["status"] == answer.status_code
    return answer.status_code, said["type"].removeprefix("/problems/")


def faults(answer: TestResponse) -> list[str]:
    """Return which fields of a request are at fault."""
    assert problem(answer) == (400, "invalid-request")
    return sorted(answer.get_json()["fields"])


def opened(sealed: bytes) -> bytes:
    """Open a file that was encrypted to ``RECIPIENT``."""
    plain: bytes = pyrage.decrypt(sealed, [IDENTITY])
    return plain


def rows_of(file: bytes) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    return list(csv.DictReader(io.StringIO(file.decode(), newline="")))


def plain_traces(codes: list[str], settings: Settings) -> list[str]:
    """Return where any of ``codes`` can be read in the database or beside it.

    In the files of SQLite, in every column of every table of either, and in the
    data directory.
    """
    spelled = [each.encode() for each in codes]
    spelled += [each.replace("-", "").encode() for each in codes]
    assert all(set(each.replace("-", "")) <= set(ALPHABET) for each in codes)
    found = []
    files = [each for each in settings.data_dir.rglob("*") if each.is_file()]
    url = db.engine.url
    if url.get_backend_name() == "sqlite" and url.database:
        beside = Path(url.database)
        files += beside.parent.glob(f"{beside.name}*")
    for file in files:
        content = file.read_bytes()
        found += [file.name for each in spelled if each in content]
    with db.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            for row in connection.execute(table.select()):
                text = b"\0".join(_bytes(value) for value in row)
                found += [table.name for each in spelled if each in text]
    return found


def _bytes(value: object) -> bytes:
    return (
        bytes(value) if isinstance(value, bytes | memoryview) else repr(value).encode()
    )
