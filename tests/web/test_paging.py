# SPDX-License-Identifier: Apache-2.0
"""Lists page by page: complete, without repeats, and safe against any cursor."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from fleet.database import reading, transaction
from fleet.errors import Invalid
from fleet.server.models import Outage
from fleet.web.paging import Order, Page

pytestmark = pytest.mark.usefixtures("app")

NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)

BY_TIME = Order("outages", {Outage.began_at: datetime, Outage.id: int})
NEWEST = Order("outages", {Outage.id: int}, descending=True)


def make_outages(count: int) -> None:
    with transaction() as session:
        for number in range(count):
            began_at = NOON + timedelta(minutes=number // 3)
            session.add(Outage(began_at=began_at, ended_at=NOON))


def page_of(order: Order, cursor: str | None, limit: int = 2) -> Page[int]:
    with reading() as session:
        rows = session.scalars(
            select(Outage)
            .where(order.after(cursor))
            .order_by(*order.by)
            .limit(limit + 1)
        ).all()
    return order.page(
        rows,
        limit=limit,
        position=lambda row: (row.began_at, row.id) if order is BY_TIME else (row.id,),
        view=lambda row: row.id,
    )


@pytest.mark.parametrize("order", [BY_TIME, NEWEST], ids=["rising", "falling"])
def test_the_pages_together_are_the_list(order: Order) -> None:
    make_outages(7)
    seen: list[int] = []
    cursor = None
    while True:
        page = page_of(order, cursor)
        seen.extend(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sorted(range(1, 8), reverse=order.descending)


def test_the_last_page_says_so_even_when_it_is_full() -> None:
    make_outages(2)
    assert page_of(NEWEST, None).next_cursor is None


def spelled(value: object) -> str:
    raw = json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("", id="empty"),
        pytest.param("!", id="no base64url"),
        pytest.param("A", id="an impossible length"),
        pytest.param("AAAA", id="no JSON"),
        pytest.param("_" * 5000, id="far too long"),
        pytest.param(spelled({"outages": 1}), id="no list"),
        pytest.param(spelled([]), id="an empty list"),
        pytest.param(spelled(["audit", 0, 1]), id="of another list"),
        pytest.param(spelled(["outages", 1]), id="too short"),
        pytest.param(spelled(["outages", 1, 1, 1]), id="too long"),
        pytest.param(spelled(["outages", 1, True]), id="a truth for a number"),
        pytest.param(spelled(["outages", 1, 1.5]), id="a fraction"),
        pytest.param(spelled(["outages", 1, 2**63]), id="beyond the database"),
        pytest.param(spelled(["outages", 2**62, 1]), id="beyond the calendar"),
        pytest.param(spelled(["outages", "x", 1]), id="a text for an instant"),
        pytest.param(spelled([["outages"], 1, 1]), id="a nested name"),
    ],
)
def test_a_cursor_that_was_never_given_out_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        BY_TIME.after(cursor)
    assert refused.value.fields is not None
    assert "cursor" in refused.value.fields


@pytest.mark.parametrize("text", ["a\0b", "\ud800"], ids=["NUL", "half a character"])
def test_a_text_in_a_cursor_is_one_that_a_database_can_take(text: str) -> None:
    with pytest.raises(Invalid):
        Order("names", {Outage.id: str}).after(spelled(["names", text]))
