# SPDX-License-Identifier: Apache-2.0
"""Members of the staff, as callers."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from fleet.clock import utcnow
from fleet.ground import ground
from fleet.staff import tokens
from fleet.staff.roles import Role, StaffMember

MakeToken = Callable[..., tokens.IssuedToken]
StaffClient = Callable[[Role], FlaskClient]

BOSS = StaffMember(None, "cli:boss", Role.OPERATOR)


@pytest.fixture
def make_token(app: Flask) -> MakeToken:  # noqa: ARG001 -- in its context
    """Make a token, valid from now on."""

    def make(
        role: Role = Role.OPERATOR,
        owner: str = "anna",
        life: timedelta = timedelta(days=1),
        dealer: str = "",
    ) -> tokens.IssuedToken:
        return tokens.issue(
            owner,
            role=role,
            dealer=dealer,
            life=life,
            reason="a test",
            actor=BOSS,
            keyring=ground().keyring,
            now=utcnow(),
        )

    return make


@pytest.fixture
def staff_client(app: Flask, make_token: MakeToken) -> StaffClient:
    """Somebody with a token of the given role."""

    def make(role: Role) -> FlaskClient:
        client = app.test_client()
        token = make_token(role, owner=f"the {role}").token
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        return client

    return make
