# SPDX-License-Identifier: Apache-2.0
"""Paths, query strings, methods and headers that nobody should send.

Whatever is sent to whatever route, with and without a right to call it: an
answer below 500, a problem document where it is a refusal, and no change.
"""

import base64
import json
from collections.abc import Iterator

import pytest
from fuzz.journeys import Place, dump, problem_of, ways
from make import SERIAL

from fleet.staff.roles import Role
from fleet.web.callers import Kind, callers_of
from fleet.web.contract import contract_of

# Pieces of a path, percent-encoded as they would cross the wire.
PIECES = [
    "%00",
    f"{SERIAL}%00",
    "%2f",
    "%2F..%2Fetc",
    "..",
    "%2e%2e",
    ".%00.",
    "%ff%fe",
    "%ed%a0%80",
    "%F0%9F%98%80",
    "%0d%0aX-Evil:%201",
    "%25",
    "a%20b",
    "%E2%80%AE",
    "*",
    "'%20OR%20'1'='1",
    "-1",
    "0",
    "1e3",
    "9223372036854775807",
    "9223372036854775808",
    "9" * 400,
    "x" * 65,
    "x" * 8000,
]

QUERIES = [
    "limit=0",
    "limit=201",
    "limit=-1",
    "limit=1e2",
    "limit=",
    "limit=5&limit=6",
    "limit=" + "9" * 5000,
    "cursor=%00",
    "cursor=",
    "cursor=!",
    "cursor=" + "A" * 513,
    "cursor=" + "A" * 100_000,
    "unknown=1",
    "%00=1",
    "%ff=%fe",
    "=",
    "limit",
]

# As QUERIES, for the filters of one list each.
FILTERS = {
    "/cic/v1/devices": [
        "q=%00",
        "q=" + "x" * 129,
        "state=%00",
        "state=asleep",
        "device_type=",
        "device_type=%00",
        "device_type=" + "x" * 65,
        "locks_before=",
        "locks_before=never",
        "locks_before=%00",
        "locks_before=2026-11-32",
        "locks_before=2026-11-22T16:40:00+01:00",
        "clone_suspected=perhaps",
        "locks_before=0001-01-01T00:00:00%2B23:59",
    ],
    "/staff/v1/audit": [
        "subject=%00",
        "subject=" + "x" * 121,
        "actor=",
        "action=" + "x" * 65,
        "since=x",
        "until=%00",
    ],
    "/retention/v1/statistics": [
        "service=%00",
        "service=x",
        "from=%00",
        "from=2026-11-31",
        "to=9999-12-31",
        "to=" + "9" * 5000,
        "group_by=%00",
        "group_by=day,day",
        "group_by=day,week",
        "group_by=" + "country," * 5000,
        "format=pdf",
        "format=svg&group_by=",
    ],
}

# Odd, and yet they have an answer.
ODD = {
    "/cic/v1/devices": [
        "q=%25",
        "q=_",
        "q=%5C",
        "q=%ff",
        "q=%ed%a0%80",
        "q='",
        "q=%F0%9F%98%80",
        "locks_before=0001-01-01T00:00:00Z",
        "locks_before=9999-12-31T23:59:59.999999999Z",
        "locks_before=2026-11-22T16:40:00-12:00",
        "locks_before=2026-11-22",
        "clone_suspected=true",
        "device_type=%E2%80%AE",
    ],
    "/staff/v1/audit": [
        "since=0001-01-01T00:00:00Z",
        "until=9999-12-31T23:59:59Z",
        "subject=%25",
    ],
    "/retention/v1/statistics": [
        "from=2000-01-01&to=9000-12-31",
        "group_by=",
        "group_by=month,country,service,device_type,software_version",
        "format=svg",
        "format=csv&group_by=%20day%20,service",
    ],
}


@pytest.fixture(autouse=True)
def _nothing_changes(place: Place) -> Iterator[None]:  # noqa: ARG001 -- it must be there
    before = dump()
    yield
    assert dump() == before


def _paths(place: Place) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield method, path and headers of every route that has a part to fill in."""
    for rule in place.app.url_map.iter_rules():
        callers = callers_of(place.app.view_functions[rule.endpoint])
        assert callers is not None
        headers: dict[str, str] = {}
        if callers.kind is Kind.STAFF:
            role = Role(callers.roles[0])
            headers = place.staff[role]
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            for piece in PIECES if rule.arguments else ():
                path = "".join(
                    piece if is_argument else text
                    for is_argument, text in rule._trace  # noqa: SLF001 -- there is no other way to read a rule
                ).split("|", 1)[1]
                yield method, path, headers


def test_no_path_is_a_fault_of_ours(place: Place) -> None:
    tried = 0
    for method, path, headers in _paths(place):
        if path.startswith("/cic/v1/graces/") and method == "PUT":
            continue  # has a table of its own below
        body = {"reason": "because"} if method != "GET" else None
        answer = place.client.open(
            path,
            method=method,
            headers=headers,
            query_string="reason=because",
            json=body,
        )
        assert answer.status_code < 500, (method, path[:60], answer.text)
        if answer.status_code >= 400 and answer.mimetype != "text/html":
            problem_of(answer)
        assert "X-Evil" not in answer.headers
        tried += 1
    assert tried > 10 * len(PIECES)


@pytest.mark.parametrize(
    "piece", ["%00", "a%00", "x" * 65, "x" * 8000, "%0a", "%1b", "%C3%A9"]
)
def test_a_grace_is_for_a_device_type_that_a_pbx_could_have(
    place: Place, piece: str
) -> None:
    answer = place.client.put(
        f"/cic/v1/graces/{piece}",
        json={"grace_days": 5, "reason": "because"},
        headers=place.staff[Role.SUPPORT],
    )
    assert answer.status_code == 400, answer.text
    assert set(problem_of(answer)["fields"]) == {"device_type"}


def _lists(place: Place) -> Iterator[tuple[str, dict[str, str]]]:
    for rule in place.app.url_map.iter_rules():
        view = place.app.view_functions[rule.endpoint]
        query = contract_of(view).query
        if query is not None and "cursor" in query.fields:
            callers = callers_of(view)
            assert callers is not None
            path = rule.rule.replace("<serial>", SERIAL)
            if callers.kind is Kind.DEVICE:
                yield path, place.pbx.headers
            else:
                yield path, place.staff[Role(callers.roles[0])]


def test_a_bad_query_names_the_parameter(place: Place) -> None:
    for path, headers in _lists(place):
        for query in [*QUERIES, *FILTERS.get(path, ())]:
            if query == "=":
                continue
            answer = place.client.get(f"{path}?{query}", headers=headers)
            assert answer.status_code == 400, (path, query[:60], answer.text)
            said = problem_of(answer)
            name = query.partition("=")[0]
            assert len(said["fields"]) == 1
            if name.isalpha():
                assert set(said["fields"]) == {name}, query


def test_an_odd_query_has_an_answer(place: Place) -> None:
    for path, headers in _lists(place):
        for query in ODD.get(path, ()):
            answer = place.client.get(f"{path}?{query}", headers=headers)
            assert answer.status_code == 200, (path, query, answer.text)


def _cursor(*position: object) -> str:
    text = json.dumps(position)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


FORGED: list[tuple[object, ...]] = [
    (),
    ("devices",),
    ("devices", 1),
    ("devices", None),
    ("devices", "\0"),
    ("devices", "\ud800"),
    ("devices", "x", "y"),
    ("locks", 1, 2),
    ("locks", 10**17, 10**17, 1),
    ("locks", -(2**63), 2**63 - 1, 0),
    ("locks", 253402300799 * 10**6, 253402300799 * 10**6, 2**63 - 1),
    ("locks", -62135596800 * 10**6, -62135596800 * 10**6, -1),
    ("locks", 253402300799 * 10**6, -62135596800 * 10**6, 2**63),
    ("found", 0, "x"),
    ("found", 2**63 - 1, ""),
    ("amnesties", 2**63 - 1),
    ("amnesties", 2**64),
    ("amnesties", True),
    ("amnesties", 1.5),
    ("staff-tokens", -1),
    ("audit", 0),
    (["devices"], {}),
]


def test_a_forged_cursor_reads_nothing_more_and_breaks_nothing(place: Place) -> None:
    for path, headers in _lists(place):
        for forged in FORGED:
            for more in ("", "&q=CX", "&locks_before=2099-01-01T00:00:00Z"):
                if more and path != "/cic/v1/devices":
                    continue
                answer = place.client.get(
                    f"{path}?cursor={_cursor(*forged)}{more}", headers=headers
                )
                assert answer.status_code in {200, 400}, (path, forged, more)
                if answer.status_code == 400:
                    assert set(problem_of(answer)["fields"]) == {"cursor"}


@pytest.mark.parametrize(
    "method", ["GET", "PUT", "PATCH", "DELETE", "POST", "TRACE", "QUERY", "BREW"]
)
def test_a_wrong_method_says_which_are_right(place: Place, method: str) -> None:
    right: dict[str, set[str]] = {}
    for way in ways():
        right.setdefault(way.path, set()).add(way.method)
    right["/cic/v1/devices"].add("GET")
    right["/cic/v1/amnesties"].add("GET")
    right["/staff/v1/tokens"].add("GET")
    right[f"/cic/v1/devices/{SERIAL}"].add("GET")
    right["/voucher/v1/products"].add("GET")
    right["/voucher/v1/batches"].add("GET")
    right["/retention/v1/runs"].add("GET")
    right["/retention/v1/requests"].add("GET")
    right["/retention/v1/device/shares"].add("GET")
    for path, methods in right.items():
        if method in methods:
            continue
        answer = place.client.open(path, method=method)
        assert answer.status_code == 405, (path, method)
        assert problem_of(answer)["type"] == "/problems/method-not-allowed"
        allowed = {each.strip() for each in answer.headers["Allow"].split(",")}
        assert methods <= allowed


TOKENS = [
    "",
    "Bearer",
    "Bearer ",
    "Bearer \xff",
    "Bearer x" + "x" * 600,
    "Basic YTpi",
    "Bearer cht_1_" + "A" * 43,
    "Bearer cht_999999999_" + "A" * 43,
    "Bearer a b",
    "bearer\tcht_1_" + "A" * 43,
]


@pytest.mark.parametrize("token", TOKENS)
def test_a_bad_token_is_nobodys(place: Place, token: str) -> None:
    answer = place.client.get("/cic/v1/devices", headers={"Authorization": token})
    assert answer.status_code == 401
    assert problem_of(answer)["type"] == "/problems/staff-token-required"
    assert answer.headers["WWW-Authenticate"]


def test_a_role_that_may_not_is_told_so_before_its_body_is_read(place: Place) -> None:
    for way in ways():
        if way.role is None:
            continue
        # Whoever audits may ask what a code is, or who came, though that is a POST.
        asks = way.endpoint in {
            "voucher-vouchers.look_up",
            "retention-statistics.search_access_records",
        }
        headers = place.staff[Role.RELEASE_MANAGER if asks else Role.AUDITOR]
        answer = place.client.open(
            way.path, method=way.method, data=b"{" * 99, headers=headers
        )
        assert answer.status_code == 403, way.endpoint
        assert problem_of(answer)["type"] == "/problems/not-permitted"
