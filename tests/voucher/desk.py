# SPDX-License-Identifier: Apache-2.0
"""Members of the staff at work, and dealers: who asks for what, and what is said."""

from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from make import make_token
from werkzeug.test import TestResponse

from fleet.staff.audit import AuditFacts, Wanted, entries
from fleet.staff.roles import Role

Said = dict[str, Any]


@dataclass
class Person:
    """Somebody with a token, who says why where that is asked."""

    client: FlaskClient
    headers: dict[str, str]
    reason: str = "as agreed"

    def get(self, path: str, **query: Any) -> TestResponse:
        """Ask for something of the Voucher Center."""
        return self.client.get(
            f"/voucher/v1{path}", query_string=query, headers=self.headers
        )

    def post(self, path: str, /, **body: Any) -> TestResponse:
        """Change something; a reason is given unless there is no place for it."""
        said = {"reason": self.reason} | body
        return self.client.post(
            f"/voucher/v1{path}",
            json={name: value for name, value in said.items() if value is not None},
            headers=self.headers,
        )

    def look_up(self, code: str) -> TestResponse:
        """Read a code out."""
        return self.post("/lookups", code=code, reason=None)

    def device(self, serial_number: str) -> Said:
        """Return what is known of a PBX."""
        return said(self.get(f"/devices/{serial_number}"))

    def voucher(self, voucher_id: int) -> Said:
        """Return what is known of a voucher."""
        return said(self.get(f"/vouchers/{voucher_id}"))


@dataclass
class Desk:
    """Where everybody's token is made."""

    app: Flask
    people: dict[tuple[str, Role, str], Person] = field(default_factory=dict)

    def person(
        self, owner: str = "Anna Agent", role: Role = Role.SUPPORT, dealer: str = ""
    ) -> Person:
        """Return somebody, who keeps one token."""
        who = (owner, role, dealer)
        if who not in self.people:
            headers = make_token(role, owner, dealer)
            self.people[who] = Person(self.app.test_client(), headers)
        return self.people[who]

    def dealer(self, name: str) -> Person:
        """Return somebody at a dealer's."""
        return self.person(f"tool of {name}", Role.DEALER, name)


def said(answer: TestResponse) -> Said:
    """Return an answer that is one."""
    assert answer.status_code in {200, 201}, answer.json
    found: Said = answer.get_json()
    return found


def audited(action: str) -> list[AuditFacts]:
    """Return what the audit log says of an action, oldest first."""
    found = entries(Wanted(action=action), limit=200).items
    return list(reversed(found))
