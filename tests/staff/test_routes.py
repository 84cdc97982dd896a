# SPDX-License-Identifier: Apache-2.0
"""Staff tokens and the audit log over HTTP."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from fleet.staff.roles import Role

StaffClient = Callable[[Role], FlaskClient]

# What is refused before the database is asked needs only one of them.
ANY_DATABASE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

WISH = {"owner": "berta", "role": "support", "reason": "new colleague"}


def test_a_token_made_over_http_works_until_it_is_revoked(
    client: FlaskClient, staff_client: StaffClient
) -> None:
    operator = staff_client(Role.OPERATOR)
    answer = operator.post("/staff/v1/tokens", json=WISH | {"expires_in": 3600})
    assert answer.status_code == 201
    issued = answer.get_json()
    headers = {"Authorization": f"Bearer {issued['token']}"}
    assert client.get("/staff/v1/audit", headers=headers).status_code == 200

    path = f"/staff/v1/tokens/{issued['id']}"
    for _ in range(2):
        gone = operator.delete(path, query_string={"reason": "left us"})
        assert (gone.status_code, gone.data) == (204, b"")
    assert client.get("/staff/v1/audit", headers=headers).status_code == 401

    listed = operator.get("/staff/v1/tokens").get_json()
    assert [each["owner"] for each in listed["items"]] == ["the operator", "berta"]
    assert listed["items"][1]["revoked_at"].endswith("Z")
    assert all("token" not in each for each in listed["items"])


def test_a_dealers_token_names_the_dealer(staff_client: StaffClient) -> None:
    operator = staff_client(Role.OPERATOR)
    wish = WISH | {"role": "dealer", "dealer": "Funk & Söhne"}
    issued = operator.post("/staff/v1/tokens", json=wish).get_json()
    assert (issued["role"], issued["dealer"]) == ("dealer", "Funk & Söhne")
    listed = operator.get("/staff/v1/tokens").get_json()["items"]
    assert [each["dealer"] for each in listed] == ["", "Funk & Söhne"]


def test_who_made_a_token_is_in_the_audit_log(staff_client: StaffClient) -> None:
    staff_client(Role.OPERATOR).post("/staff/v1/tokens", json=WISH)
    auditor = staff_client(Role.AUDITOR)
    page = auditor.get(
        "/staff/v1/audit", query_string={"actor": "the operator"}
    ).get_json()
    (entry,) = page["items"]
    assert entry["action"] == "staff-token.issue"
    assert entry["reason"] == "new colleague"
    assert entry["after"]["owner"] == "berta"
    assert page["next_cursor"] is None


@ANY_DATABASE
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"owner": ""}, "owner"),
        ({"owner": "cli:root"}, "owner"),
        ({"owner": "a\nb"}, "owner"),
        ({"role": "king"}, "role"),
        ({"role": "dealer"}, "dealer"),
        ({"dealer": "Funk"}, "dealer"),
        ({"role": "dealer", "dealer": "x" * 121}, "dealer"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": 10**12}, "expires_in"),
        ({"expires_in": "3600"}, "expires_in"),
        ({"reason": ""}, "reason"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_wish_is_refused_by_field(
    staff_client: StaffClient, change: dict[str, object], field: str
) -> None:
    answer = staff_client(Role.OPERATOR).post("/staff/v1/tokens", json=WISH | change)
    assert answer.status_code == 400
    assert set(answer.get_json()["fields"]) == {field}


@pytest.mark.parametrize("number", ["0", "999", str(2**63 - 1), str(2**63), "x"])
def test_a_token_that_never_was_is_not_found(
    staff_client: StaffClient, number: str
) -> None:
    operator = staff_client(Role.OPERATOR)
    path = f"/staff/v1/tokens/{number}"
    answer = operator.delete(path, query_string={"reason": "left us"})
    assert answer.status_code == 404


def test_a_token_is_revoked_for_a_reason(staff_client: StaffClient) -> None:
    assert staff_client(Role.OPERATOR).delete("/staff/v1/tokens/1").status_code == 400


@ANY_DATABASE
@pytest.mark.parametrize(
    ("role", "status"),
    [
        (Role.OPERATOR, 200),
        (Role.AUDITOR, 200),
        (Role.SUPPORT, 403),
        (Role.RELEASE_MANAGER, 403),
    ],
)
def test_who_may_list_tokens(
    staff_client: StaffClient, role: Role, status: int
) -> None:
    assert staff_client(role).get("/staff/v1/tokens").status_code == status


@ANY_DATABASE
@pytest.mark.parametrize(
    ("role", "status"),
    [(Role.OPERATOR, 200), (Role.SUPPORT, 200), (Role.PRODUCT_MANAGER, 403)],
)
def test_who_may_read_the_audit_log(
    staff_client: StaffClient, role: Role, status: int
) -> None:
    assert staff_client(role).get("/staff/v1/audit").status_code == status


def test_the_audit_log_comes_page_by_page(staff_client: StaffClient) -> None:
    operator = staff_client(Role.OPERATOR)
    for number in range(4):
        operator.post("/staff/v1/tokens", json=WISH | {"owner": f"person {number}"})
    seen: list[int] = []
    query = {"limit": "2"}
    while True:
        page = operator.get("/staff/v1/audit", query_string=query).get_json()
        seen.extend(each["id"] for each in page["items"])
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == [5, 4, 3, 2, 1]


@ANY_DATABASE
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "x" * 600}, "cursor"),
        ({"since": "2026-11-22"}, "since"),
        ({"since": "0001-01-01T00:00:00+23:59"}, "since"),
        ({"until": "9999-12-31T23:59:59-23:59"}, "until"),
        ({"since": "2026-W47-7T00:00:00Z"}, "since"),
        ({"subject": "a\0b"}, "subject"),
        ({"actor": "x" * 121}, "actor"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_question_is_refused_by_field(
    staff_client: StaffClient, query: dict[str, str], field: str
) -> None:
    answer = staff_client(Role.SUPPORT).get("/staff/v1/audit", query_string=query)
    assert answer.status_code == 400
    assert set(answer.get_json()["fields"]) == {field}


def test_a_new_token_can_be_asked_for_again_but_is_not_kept(
    staff_client: StaffClient,
) -> None:
    operator = staff_client(Role.OPERATOR)
    headers = {"Idempotency-Key": "one"}
    answers = [
        operator.post("/staff/v1/tokens", json=WISH, headers=headers) for _ in range(2)
    ]
    assert answers[0].data == answers[1].data
    assert len(operator.get("/staff/v1/tokens").get_json()["items"]) == 2
