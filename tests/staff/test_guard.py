# SPDX-License-Identifier: Apache-2.0
"""Who on the staff may do what."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient

from fleet.clock import utcnow
from fleet.staff import tokens
from fleet.staff.guard import STAFF_TOKEN, current_staff, permitted_roles, staff_only
from fleet.staff.roles import Role, StaffMember
from fleet.staff.tokens import IssuedToken
from fleet.web.callers import Kind, callers_of

MakeToken = Callable[..., IssuedToken]
StaffClient = Callable[[Role], FlaskClient]

# What is refused before the database is asked needs only one of them.
ANY_DATABASE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

BOSS = StaffMember(None, "cli:boss", Role.OPERATOR)


@pytest.fixture(autouse=True)
def door(app: Flask) -> None:
    """A route that support may read and change."""
    blueprint = Blueprint("door", __name__, url_prefix="/door")

    @blueprint.route("/", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    @staff_only(Role.SUPPORT)
    def enter() -> dict[str, str]:
        return {"owner": current_staff().owner, "role": current_staff().role}

    app.register_blueprint(blueprint)


def code(response: object) -> str:
    return str(response.get_json()["type"]).removeprefix("/problems/")  # type: ignore[attr-defined] # of any test response


def test_the_route_learns_who_calls(staff_client: StaffClient) -> None:
    answer = staff_client(Role.SUPPORT).get("/door/")
    assert answer.get_json() == {"owner": "the support", "role": "support"}


@ANY_DATABASE
@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="nothing"),
        pytest.param("", id="an empty header"),
        pytest.param("Bearer", id="no token"),
        pytest.param("Bearer ", id="an empty token"),
        pytest.param("Bearer cht_1_" + "A" * 43, id="an unknown token"),
        pytest.param("Bearer two words", id="two words"),
        pytest.param("Basic {token}", id="another scheme"),
        pytest.param("{token}", id="no scheme"),
        pytest.param("Bearer {token}, Bearer {token}", id="twice"),
        pytest.param("Bearer " + "x" * 5000, id="a very long token"),
    ],
)
def test_without_a_good_token_nobody_enters(
    client: FlaskClient, make_token: MakeToken, header: str | None
) -> None:
    token = make_token(Role.SUPPORT).token
    headers = {} if header is None else {"Authorization": header.format(token=token)}
    answer = client.get("/door/", headers=headers)
    assert (answer.status_code, code(answer)) == (401, "staff-token-required")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert token not in answer.get_data(as_text=True)


@ANY_DATABASE
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_the_scheme_may_be_spelled_in_any_case(
    client: FlaskClient, make_token: MakeToken, scheme: str
) -> None:
    token = make_token(Role.SUPPORT).token
    headers = {"Authorization": f"{scheme} {token}"}
    assert client.get("/door/", headers=headers).status_code == 200


def test_an_expired_or_revoked_token_is_as_none(
    client: FlaskClient, make_token: MakeToken
) -> None:
    expired = make_token(Role.SUPPORT, life=timedelta(microseconds=1))
    revoked = make_token(Role.SUPPORT)
    tokens.revoke(revoked.id, reason="left", actor=BOSS, now=utcnow())
    for each in (expired, revoked):
        headers = {"Authorization": f"Bearer {each.token}"}
        answer = client.get("/door/", headers=headers)
        assert code(answer) == "staff-token-required"


@ANY_DATABASE
@pytest.mark.parametrize(
    ("role", "method", "status"),
    [
        (Role.SUPPORT, "GET", 200),
        (Role.SUPPORT, "POST", 200),
        (Role.SUPPORT, "DELETE", 200),
        (Role.AUDITOR, "GET", 200),
        (Role.AUDITOR, "HEAD", 200),
        (Role.AUDITOR, "POST", 403),
        (Role.AUDITOR, "PUT", 403),
        (Role.AUDITOR, "PATCH", 403),
        (Role.AUDITOR, "DELETE", 403),
        (Role.OPERATOR, "GET", 403),
        (Role.OPERATOR, "POST", 403),
    ],
)
def test_a_role_may_what_the_route_names(
    staff_client: StaffClient, role: Role, method: str, status: int
) -> None:
    answer = staff_client(role).open("/door/", method=method)
    assert answer.status_code == status
    if status == 403:
        assert code(answer) == "not-permitted"
        said = answer.get_json()["detail"]
        assert str(role) in said
        assert "support" in said


def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(
    client: FlaskClient, staff_client: StaffClient
) -> None:
    right = staff_client(Role.SUPPORT)
    if utcnow().minute % 10 == 9:  # not over the turn of a window
        time.sleep(60 - utcnow().second)
    wrong = {"Authorization": "Bearer cht_1_" + "A" * 43}
    for _ in range(STAFF_TOKEN.per_address):
        assert client.get("/door/", headers=wrong).status_code == 401
    answer = client.get("/door/", headers=wrong)
    assert (answer.status_code, code(answer)) == (429, "too-many-requests")
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/door/").status_code == 401
    assert right.get("/door/").status_code == 200


def test_the_route_says_who_may_call_it(app: Flask) -> None:
    callers = callers_of(app.view_functions["door.enter"])
    assert callers is not None
    assert (callers.kind, callers.roles) == (Kind.STAFF, ("support",))
    assert permitted_roles(callers.roles, "GET") == ("support", "auditor")
    assert permitted_roles(callers.roles, "POST") == ("support",)


def test_a_route_for_staff_names_a_role() -> None:
    with pytest.raises(TypeError):
        staff_only()
