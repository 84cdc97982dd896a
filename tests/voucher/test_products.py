# SPDX-License-Identifier: Apache-2.0
"""What is sold: made once, changed by versions, retired and never lost."""

from threading import Barrier, Thread
from typing import Any

import pytest
from flask import Flask
from make import make_token
from trading import USERS, Desk, faults, made, manager, problem

from fleet.staff.audit import Wanted, entries
from fleet.staff.roles import Role

FEATURE = USERS | {"product_number": 18, "unit": "feature", "quantity": 1}
CHANGED = {name: value for name, value in USERS.items() if name != "product_number"}


@pytest.fixture
def desk(app: Flask) -> Desk:
    return manager(app)


def test_a_product_is_made_once_and_the_very_same_again_changes_nothing(
    desk: Desk,
) -> None:
    first = desk.post("products", USERS)
    again = desk.post("products", USERS)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.get_json() == again.get_json()
    assert first.headers["Location"] == "/voucher/v1/products/17"
    told = first.get_json()
    assert {name: told[name] for name in USERS} == USERS
    assert (told["version"], told["stacking"], told["trial"]) == (1, "add", False)
    assert (told["duration_days"], told["device_types"]) == (None, [])
    another = desk.post("products", USERS | {"quantity": 11})
    assert problem(another) == (409, "product-already-exists")
    assert len(desk.get("products").get_json()["items"]) == 1


def test_a_change_makes_a_version_and_what_was_sold_keeps_its_own(desk: Desk) -> None:
    desk.product()
    before = desk.batch()
    changed = CHANGED | {"quantity": 12, "duration_days": 365}
    second = made(desk.post("products/17/versions", changed))
    assert (second["version"], second["quantity"]) == (2, 12)
    again = desk.post("products/17/versions", changed)
    assert (again.status_code, again.get_json()) == (200, second)
    after = desk.batch()
    versions = [
        desk.get(f"batches/{each}").get_json()["product_version"]
        for each in (before, after)
    ]
    assert versions == [1, 2]
    shown = desk.get("products/17").get_json()
    assert [each["version"] for each in shown["versions"]] == [1, 2]
    assert (shown["version"], shown["quantity"]) == (2, 12)
    [listed] = desk.get("products").get_json()["items"]
    assert listed == second
    # The first request, sent again, still means the first version.
    assert desk.post("products", USERS).get_json()["version"] == 1


def test_a_retired_product_stays_and_nothing_new_is_made_of_it(desk: Desk) -> None:
    desk.product()
    batch = desk.batch()
    retired = desk.delete("products/17?reason=too%20old")
    assert retired.get_json()["retired_at"] is not None
    assert desk.delete("products/17").get_json() == retired.get_json()
    body = {"product": 17, "count": 1}
    assert problem(desk.post("batches", body)) == (409, "product-retired")
    answer = desk.post("products/17/versions", CHANGED | {"quantity": 3})
    assert problem(answer) == (409, "product-retired")
    assert desk.get(f"batches/{batch}").status_code == 200
    assert desk.get("products").get_json()["items"] == [retired.get_json()]


def test_what_there_is_not_is_not_found(desk: Desk) -> None:
    for answer in (
        desk.get("products/9"),
        desk.delete("products/9"),
        desk.post("products/9/versions", CHANGED),
        desk.post("batches", {"product": 9, "count": 1}),
    ):
        assert problem(answer) == (404, "unknown-product")


def test_a_feature_is_had_or_not_and_renews(desk: Desk) -> None:
    assert made(desk.post("products", FEATURE))["stacking"] == "renew"
    added = FEATURE | {"product_number": 19, "stacking": "add"}
    assert made(desk.post("products", added))["stacking"] == "add"
    assert faults(desk.post("products", FEATURE | {"quantity": 2})) == ["quantity"]


FAULTY: list[tuple[str, dict[str, Any]]] = [
    ("product_number", {"product_number": 0}),
    ("product_number", {"product_number": 16384}),
    ("product_number", {"product_number": "17"}),
    ("names", {"names": {"de": "nur", "en": "only"}}),
    ("names", {"names": {"de": "a", "en": " ", "fr": "c"}}),
    ("names", {"names": {"de": "a", "en": "two\nlines", "fr": "c"}}),
    ("quantity", {"quantity": 0}),
    ("quantity", {"quantity": 1024}),
    ("quantity", {"quantity": 1.5}),
    ("duration_days", {"duration_days": 0}),
    ("duration_days", {"duration_days": 16384}),
    ("duration_days", {"trial": True}),
    ("function", {"function": ""}),
    ("unit", {"unit": ""}),
    ("device_types", {"device_types": ["COMtrexx", ""]}),
    ("stacking", {"stacking": "double"}),
    ("trial", {"trial": "yes"}),
    ("price", {"price": 9}),
]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_each_fault_of_a_product_is_named(desk: Desk) -> None:
    for field, changed in FAULTY:
        assert faults(desk.post("products", USERS | changed)) == [field], changed
    assert desk.get("products").get_json()["items"] == []


@pytest.mark.parametrize(
    ("role", "reads", "changes"),
    [
        pytest.param(Role.PRODUCT_MANAGER, 200, 201, id="a product manager decides"),
        pytest.param(Role.SUPPORT, 200, 403, id="support reads"),
        pytest.param(Role.OPERATOR, 200, 403, id="an operator reads"),
        pytest.param(Role.AUDITOR, 200, 403, id="an auditor reads"),
        pytest.param(Role.RELEASE_MANAGER, 403, 403, id="firmware is something else"),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_who_may(app: Flask, role: Role, reads: int, changes: int) -> None:
    desk = Desk(app.test_client(), make_token(role))
    assert desk.get("products").status_code == reads
    assert desk.post("products", USERS).status_code == changes


def test_every_change_says_who_why_before_and_after(desk: Desk) -> None:
    desk.post("products", USERS | {"reason": "autumn"})
    desk.post("products/17/versions", CHANGED | {"quantity": 12, "reason": "more"})
    desk.delete("products/17?reason=old")
    desk.delete("products/17?reason=again")
    found = entries(Wanted(subject="product:17"), limit=10).items[::-1]
    assert [(each.action, each.actor, each.reason) for each in found] == [
        ("product.add", "Paula Products", "autumn"),
        ("product.version", "Paula Products", "more"),
        ("product.retire", "Paula Products", "old"),
    ]
    assert found[0].before == {}
    assert (found[1].before["quantity"], found[1].after["quantity"]) == (10, 12)
    assert (found[1].before["version"], found[1].after["version"]) == (1, 2)
    assert found[2].before == {"retired_at": None}


def test_products_that_are_made_at_the_same_time_are_one(app: Flask) -> None:
    together = 6
    starts = Barrier(together)
    desks = [manager(app) for _ in range(together)]
    statuses = []

    def make(desk: Desk) -> None:
        starts.wait()
        statuses.append(desk.post("products", USERS).status_code)

    threads = [Thread(target=make, args=(each,)) for each in desks]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(statuses) == [200] * (together - 1) + [201]
