# SPDX-License-Identifier: Apache-2.0
"""A body that cannot be understood is refused with a reason and changes nothing.

Each fault is sent to every JSON route, as a caller who may call it: what is
refused is the body and nothing else.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from fuzz.journeys import (
    Place,
    Way,
    check_problem_page,
    dump,
    json_routes,
    problem_of,
    ways,
)

# One JSON text with a hole for the first field's value.
Body = Callable[[Mapping[str, Any]], bytes]


def _with(value: str) -> Body:
    """Put ``value``, as it is, in place of the first field's."""

    def made(good: Mapping[str, Any]) -> bytes:
        first, *rest = good
        parts = [f"{json.dumps(first)}: {value}"]
        parts += [f"{json.dumps(each)}: {json.dumps(good[each])}" for each in rest]
        return ("{" + ", ".join(parts) + "}").encode()

    return made


def _good(good: Mapping[str, Any]) -> bytes:
    return json.dumps(good).encode()


def _twice(good: Mapping[str, Any]) -> bytes:
    first = json.dumps(next(iter(good)))
    return f'{{{first}: "", '.encode() + _good(good)[1:]


# Deeper than any parser's stack, yet within the 64 KiB that are read at all.
NESTED = 30_000

MALFORMED: dict[str, Body] = {
    "truncated": lambda good: _good(good)[:-5],
    "cut within a character": lambda _: '{"reason": "ü'.encode()[:-1],
    "nested arrays": lambda _: b"[" * NESTED,
    "nested objects": lambda _: b'{"a":' * 10_000,
    "nested in a field": _with("[" * NESTED + "]" * NESTED),
    "lone surrogate": _with('"\\ud800"'),
    "lone surrogate as a name": lambda _: b'{"\\udfff": 1}',
    "lone surrogate deep inside": _with('[{"a": ["\\ud800"]}]'),
    "NUL": _with('"a\\u0000b"'),
    "raw NUL": _with('"a\0b"'),
    "raw line break": _with('"a\nb"'),
    "duplicate names": _twice,
    "duplicate names in a field": _with('{"a": 1, "a": 2}'),
    "NaN": _with("NaN"),
    "minus Infinity": _with("-Infinity"),
    "huge integer": _with("9" * 5000),
    "byte order mark": lambda good: b"\xef\xbb\xbf" + _good(good),
    "UTF-16": lambda good: _good(good).decode().encode("utf-16"),
    "invalid UTF-8": lambda _: b'{"reason": "\xff\xfe"}',
    "surrogate in UTF-8": lambda _: b'{"reason": "\xed\xa0\x80"}',
    "an array": lambda good: b"[" + _good(good) + b"]",
    "a text": lambda _: b'"serial_number"',
    "a number": lambda _: b"1",
    "null": lambda _: b"null",
    "white space": lambda _: b" \n\t ",
    "two documents": lambda good: _good(good) * 2,
    "a comment": lambda good: b"/* hello */" + _good(good),
    "single quotes": lambda _: b"{'reason': 'none'}",
    "a form": lambda _: b"reason=none",
}


@pytest.fixture(autouse=True)
def _nothing_changes(place: Place) -> Iterator[None]:
    before = dump()
    yield
    assert dump() == before
    assert place.pbx.check().status_code == 200  # and all goes on


def _refused(place: Place, way: Way, raw: bytes, **options: Any) -> dict[str, Any]:
    answer = place.send(way, raw, **options)
    assert 400 <= answer.status_code < 500, (way.endpoint, raw[:200], answer.text)
    return problem_of(answer)


def test_every_json_route_is_in_the_table(place: Place) -> None:
    assert {way.endpoint for way in ways()} == json_routes(place.app)


def test_a_malformed_body_is_an_invalid_request(place: Place) -> None:
    for way in ways():
        for fault, made in MALFORMED.items():
            said = _refused(place, way, made(way.body))
            assert said["type"] == "/problems/invalid-request", (way.endpoint, fault)
            assert said["status"] == 400
    check_problem_page(place, "invalid-request")


def test_a_huge_body_is_too_large(place: Place) -> None:
    ten_megabytes = b"[" * (10 << 20)
    for way in ways():
        nonce = json.dumps({**way.body, "nonce": "A" * (10 << 20)}).encode()
        for raw in (ten_megabytes, nonce, b"[" * 100_000, b" " * (65 << 10)):
            said = _refused(place, way, raw)
            assert (said["status"], said["type"]) == (
                413,
                "/problems/request-too-large",
            ), way.endpoint
    check_problem_page(place, "request-too-large")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json-patch+json",
        "application/xml",
        "\xff",
    ],
)
def test_another_content_type_is_unsupported(place: Place, content_type: str) -> None:
    for way in ways():
        raw = json.dumps(way.body).encode()
        said = _refused(place, way, raw, content_type=content_type)
        assert (said["status"], said["type"]) == (
            415,
            "/problems/unsupported-media-type",
        ), way.endpoint
    check_problem_page(place, "unsupported-media-type")


def test_an_empty_body_lacks_what_is_required(place: Place) -> None:
    for way in ways():
        if not way.needs:
            continue
        for raw in (b"", b"{}"):
            said = _refused(place, way, raw)
            assert said["status"] == 400
            assert set(said["fields"]) == set(way.needs), way.endpoint


def test_each_missing_field_is_named(place: Place) -> None:
    for way in ways():
        for name in way.needs:
            rest = {key: value for key, value in way.body.items() if key != name}
            said = _refused(place, way, json.dumps(rest).encode())
            assert set(said["fields"]) == {name}, way.endpoint


# By the kind of a field's good value: what is not of that kind.
NOT_TEXT: list[Any] = [7, 1.5, True, [], ["a"], {}, {"a": 1}, 10**40]
WRONG: dict[type, list[Any]] = {
    str: NOT_TEXT,
    int: ["5", 1.5, True, [], {}, 10**40, -1],
    type(None): NOT_TEXT,
    bool: ["true", 1.5, 7, [], {}],
    list: ["text", 7, True, {}, [7], [[]], [None]],
    dict: ["text", 7, True, [], {"de": 7, "en": "x", "fr": "x"}],
}


def test_a_value_of_another_type_is_named(place: Place) -> None:
    for way in ways():
        for name, good in way.body.items():
            for wrong in WRONG[type(good)]:
                raw = json.dumps({**way.body, name: wrong}).encode()
                said = _refused(place, way, raw)
                assert said["status"] == 400, (way.endpoint, name, wrong)
                assert set(said["fields"]) == {name}, (way.endpoint, name, wrong)


MAY_BE_NULL = {
    "batch_id",
    "continuation",
    "device_time",
    "duration_days",
    "failed_attempts",
    "first",
    "grace_days",
    "last",
    "mac_address",
    "stacking",
    "support_ends_on",
    "valid_until",
}


def test_null_is_a_value_only_where_it_means_something(place: Place) -> None:
    for way in ways():
        for name in set(way.body) - MAY_BE_NULL:
            said = _refused(place, way, json.dumps({**way.body, name: None}).encode())
            assert set(said["fields"]) == {name}, way.endpoint


# Of the right type, and still not acceptable: by field.
UNACCEPTABLE: dict[str, list[Any]] = {
    "serial_number": [
        "",
        "SHORT",
        "A" * 33,
        "CX10000000é1",
        "A" * 10_000,
        "\u0131ABCDEF",
    ],
    "by": ["", "SHORT", "A" * 10_000],
    "to_serial_number": ["", "SHORT", "A" * 10_000],
    "nonce": [
        "",
        "A" * 21,
        "A" * 87,
        "A" * 60_000,
        "A" * 21 + "=",
        "A" * 22 + "+",
        "A" * 22 + "\n",
        "A" * 25,
    ],
    "device_secret": ["", "s" * 201],
    "csr": [
        "",
        "A" * 16_385,
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END",
        "not a request",
    ],
    "device_type": ["", "x" * 65, "tab\there", "é", "a\n", "\u2028"],
    "software_version": ["", "x" * 65, "2.0\n", "\x7f"],
    "code": ["", "U" * 20, "7" * 20, "7" * 19, "7" * 65],
    "names": [{}, {"de": "x", "en": "x"}, {"de": "", "en": "x", "fr": "x"}],
    "function": ["", "x" * 65, "tab\there"],
    "unit": ["", "x" * 33, "a\nb"],
    "quantity": [0, 1024, -1],
    "duration_days": [0, 2**14, -1],
    "device_types": [[""], ["x"] * 51],
    "prerequisites": [[""], ["x"] * 51],
    "stacking": ["", "sum"],
    "trial": [],
    "dry_run": ["perhaps", 2],
    "product": [0, 2**14],
    "count": [0, 100_001],
    "dealer": ["x" * 121, "bell\x07", " x"],
    "valid_until": ["", "2030-02-30", "9999-12-31", "soon"],
    "order_reference": ["x" * 65, "a\nb"],
    "format": ["", "xlsx", "CSV"],
    "language": ["", "it", "DE"],
    "batch_id": [0, 2**63],
    "first": [0, 2**31],
    "last": [0, 2**31],
    "product_number": [-1, 2**14, 10**400],
    # Neither may cost a PBX its lease, however odd it is.
    "continuation": [],
    "device_time": [],
    "failed_attempts": [-1, 2**31, 10**400],
    "address": ["", "83.1.12.0/24", "83.1.12.77, 10.0.0.1", "1" * 65, "::g"],
    "from": ["", "soon", "2026-11-31", "2026-11-22T16:40:00"],
    "to": ["", "soon", "2026-11-20", "0001-01-01T00:00:00+23:59"],
    "limit": [0, 201, -1],
    "mac_address": ["zz", "58:9e:c6:0d:8c", "x" * 65, "58:9e-c6:0d:8c:73"],
    "part_number": ["x" * 65],
    "hardware_revision": ["x" * 65],
    "support_ends_on": [
        "",
        "2030",
        "2030-02-30",
        "10000-01-01",
        "2030-01-01T00:00:00Z",
    ],
    "customer": ["x" * 201, "bell\x07"],
    "notes": ["x" * 4001, "escape\x1b[0m"],
    "grace_days": [0, 3651, -1, 10**18],
    "reason": ["x" * 501, "bell\x07"],
    "until": ["2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "soon"],
    "owner": ["", "x" * 121],
    "kind": ["", "oblivion", "ACCESS"],
    "verified_by": ["", "x", "x" * 2001, "bell\x07"],
    "received_at": ["", "soon", "2026-11-20", "9999-12-31T23:59:59Z"],
    "because": ["", "x", "x" * 2001, "bell\x07"],
    "told": ["", "x", "x" * 2001, "bell\x07"],
    "answer": ["x" * 2001, "bell\x07"],
    "recipient": ["x" * 201, "bell\x07"],
    "expires_in_days": [0, 366, -1, 10**18],
    "ends_service": ["perhaps", 2],
    "withdraw": ["perhaps", 2],
    "role": ["root", "", "SUPPORT"],
    "expires_in": [0, 59, -1, 10**12],
}


def test_an_unacceptable_value_is_named(place: Place) -> None:
    for way in ways():
        for name in way.body:
            for wrong in UNACCEPTABLE[name]:
                raw = json.dumps({**way.body, name: wrong}).encode()
                said = _refused(place, way, raw)
                assert said["status"] == 400, (way.endpoint, name, wrong, said)
                assert set(said["fields"]) == {name}, (way.endpoint, name, wrong)


def test_what_was_sent_is_not_repeated_to_the_sender(place: Place) -> None:
    marker = "Geheimnis-4711"
    for way in ways():
        for name in way.body:
            raw = json.dumps({**way.body, name: [marker], marker: 1}).encode()
            answer = place.send(way, raw)
            values = json.dumps(list(answer.get_json()["fields"].values()))
            assert marker not in values + answer.get_json()["detail"], way.endpoint


def test_unknown_fields_are_refused_from_staff_and_only_from_staff(
    place: Place,
) -> None:
    for way in ways():
        if way.role is None:
            continue
        said = _refused(place, way, json.dumps({**way.body, "surprise": 1}).encode())
        assert set(said["fields"]) == {"surprise"}, way.endpoint
    newer = {"serial_number": [], "surprise": {"deep": [1, None]}}
    said = _refused(place, ways()[0], json.dumps(newer).encode())
    assert "surprise" not in said["fields"]


def test_an_idempotency_key_does_not_save_a_bad_body(place: Place) -> None:
    headers = place.staff[ways()[-1].role or next(iter(place.staff))]
    for key in ("x" * 256, '"', "ä", "", '"a', "a b"):
        answer = place.client.post(
            "/staff/v1/tokens",
            json=ways()[-1].body,
            headers=headers | {"Idempotency-Key": key.encode().decode("latin-1")},
        )
        assert answer.status_code == 400, key
        assert set(problem_of(answer)["fields"]) == {"Idempotency-Key"}
    for raw in (b"", b"{", b"[" * 30_000, b"\xff"):
        answer = place.client.post(
            "/staff/v1/tokens",
            data=raw,
            headers=headers
            | {"Idempotency-Key": "again", "Content-Type": "application/json"},
        )
        assert answer.status_code == 400
        problem_of(answer)
