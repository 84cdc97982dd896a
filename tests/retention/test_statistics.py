# SPDX-License-Identifier: Apache-2.0
"""Counters for people: what is told of them, to whom, and what never is."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make import make_token
from sqlalchemy import delete, insert

from fleet.database import db, writing
from fleet.staff.roles import Role
from fleet.web.models import AccessRecord
from retention.models import AccessCount
from retention.service import statistics as module
from retention.service.statistics import Group, Wanted, statistics
from retention.statistics_cli import statistics as command

URL = "/retention/v1/statistics"
DAY = timedelta(days=1)
MONDAY = date(2026, 11, 23)  # of 2026-W48, which ends on 29 November


def make_counts(*rows: Sequence[Any]) -> None:
    """Write counters: day or week, begin, count; service, type, version, country."""
    usual = ("cic", "COMtrexx VM", "2.0.1", "DE")
    names = ("service", "device_type", "software_version", "country")
    values = [
        {"period": period, "begins_on": begins_on, "requests": count}
        | dict(zip(names, [*more, *usual[len(more) :]], strict=True))
        for period, begins_on, count, *more in rows
    ]
    with writing(db.engine) as connection:
        connection.execute(insert(AccessCount), values)


@pytest.fixture
def staff(client: FlaskClient) -> dict[str, str]:  # noqa: ARG001 -- its application
    """Somebody of the support."""
    return make_token(Role.SUPPORT)


def told(client: FlaskClient, staff: dict[str, str], query: str = "") -> Any:
    """Ask as staff; return the body of a good answer."""
    answer = client.get(f"{URL}?{query}", headers=staff)
    assert answer.status_code == 200, answer.json
    return answer.json


def counts(client: FlaskClient, staff: dict[str, str], query: str = "") -> list[Any]:
    """Return the answer's rows as tuples."""
    return [tuple(each.values()) for each in told(client, staff, query)["items"]]


def test_requests_are_counted_by_day_unless_something_else_is_asked_for(
    client: FlaskClient, staff: dict[str, str]
) -> None:
    make_counts(
        ("day", MONDAY + DAY, 20),
        ("day", MONDAY, 30),
        ("day", MONDAY, 12, "voucher", "", ""),
    )
    assert told(client, staff) == {
        "items": [
            {"day": "2026-11-23", "count": 42},
            {"day": "2026-11-24", "count": 20},
        ],
        "weeks_cut": [],
    }


def make_a_fortnight() -> None:
    """Two weeks over the end of November, with quiet days, two services."""
    make_counts(
        ("day", MONDAY, 100),
        ("day", MONDAY, 10, "cic", "COMtrexx VM", "2.0.0", "AT"),
        ("day", MONDAY, 7, "voucher", "", "", "DE"),
        ("day", MONDAY + 7 * DAY, 50),
        ("day", MONDAY + 8 * DAY, 60, "cic", "other", "other", "ZZ"),
        ("week", MONDAY, 5, "voucher", "", "", ""),
        ("week", MONDAY + 7 * DAY, 3, "cic", "other", "other", ""),
    )


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("group_by=", [(235,)]),
        ("group_by=service", [("cic", 223), ("voucher", 12)]),
        ("group_by=country", [("", 8), ("AT", 10), ("DE", 157), ("ZZ", 60)]),
        (
            "group_by=device_type,software_version&service=cic",
            [
                ("COMtrexx VM", "2.0.0", 10),
                ("COMtrexx VM", "2.0.1", 150),
                ("other", "other", 63),
            ],
        ),
        ("group_by=week", [("2026-W48", 122), ("2026-W49", 113)]),
        (
            "group_by=month",
            # 2026-W49 is from 30 November to 6 December: in no month whole.
            [("2026-11", 172), ("2026-W49", 3), ("2026-12", 60)],
        ),
        (
            "group_by=day",
            [
                ("2026-11-23", 117),
                ("2026-W48", 5),
                ("2026-11-30", 50),
                ("2026-W49", 3),
                ("2026-12-01", 60),
            ],
        ),
        ("group_by=day&service=voucher", [("2026-11-23", 7), ("2026-W48", 5)]),
        (
            "group_by=service,week",
            [
                ("2026-W48", "cic", 110),
                ("2026-W48", "voucher", 12),
                ("2026-W49", "cic", 113),
            ],
        ),
        ("group_by=day&from=2026-11-30&to=2026-11-30", [("2026-11-30", 50)]),
        ("group_by=country&service=backup", []),
        ("group_by=&service=backup", []),
    ],
)
def test_what_is_told(
    client: FlaskClient, staff: dict[str, str], query: str, rows: list[Any]
) -> None:
    make_a_fortnight()
    assert counts(client, staff, query) == rows


@pytest.mark.parametrize(
    ("query", "total", "cut"),
    [
        ("from=2026-11-23&to=2026-11-29", 122, []),
        ("from=2026-11-22&to=2026-11-30", 172, ["2026-W49"]),
        ("from=2026-11-24&to=2026-11-29", 0, ["2026-W48"]),
        ("from=2026-11-23&to=2026-11-28", 117, ["2026-W48"]),
        ("from=2026-11-29", 113, ["2026-W48"]),
        ("from=2026-11-30", 113, []),
        ("to=2026-12-05", 232, ["2026-W49"]),
        ("to=2026-12-06", 235, []),
        ("from=2026-11-25&to=2026-12-02", 110, ["2026-W48", "2026-W49"]),
        ("from=2026-11-25&to=2026-11-26", 0, ["2026-W48"]),
        ("from=2026-11-25&to=2026-11-26&service=cic", 0, []),
        ("to=2026-11-22", 0, []),
        ("from=2026-12-07", 0, []),
    ],
)
def test_a_week_counts_only_as_a_whole_and_is_named_where_it_is_cut(
    client: FlaskClient,
    staff: dict[str, str],
    query: str,
    total: int,
    cut: list[str],
) -> None:
    make_a_fortnight()
    for group_by in ("", "day", "week", "month", "service,month"):
        answer = told(client, staff, f"{query}&group_by={group_by}")
        assert sum(each["count"] for each in answer["items"]) == total
        assert answer["weeks_cut"] == cut


def test_years_and_their_weeks_do_not_begin_together(
    client: FlaskClient, staff: dict[str, str]
) -> None:
    make_counts(
        ("day", date(2027, 1, 1), 20),
        ("day", date(2026, 1, 1), 10),
        ("week", date(2026, 12, 28), 5),
    )
    assert counts(client, staff, "group_by=week") == [
        ("2026-W01", 10),
        ("2026-W53", 25),
    ]
    assert counts(client, staff, "group_by=month") == [
        ("2026-01", 10),
        ("2026-W53", 5),
        ("2027-01", 20),
    ]


DAYS = st.integers(0, 40).map(lambda offset: MONDAY + offset * DAY)


@given(
    rows=st.dictionaries(
        st.tuples(
            st.sampled_from(["day", "week"]),
            DAYS,
            st.sampled_from(["cic", "voucher"]),
            st.sampled_from(["DE", "AT", "ZZ"]),
        ),
        st.integers(1, 10**12),
        max_size=20,
    ),
    edges=st.tuples(st.none() | DAYS, st.none() | DAYS),
    group_by=st.lists(
        st.sampled_from([Group.SERVICE, Group.COUNTRY, Group.SOFTWARE_VERSION]),
        unique=True,
    ),
    period=st.sampled_from([None, Group.DAY, Group.WEEK, Group.MONTH]),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_count_is_told_once_or_its_week_is_named(
    app: Flask,  # noqa: ARG001 -- its database
    rows: dict[Any, int],
    edges: tuple[date | None, date | None],
    group_by: list[Group],
    period: Group | None,
) -> None:
    since, until = edges
    if since and until and since > until:
        since, until = until, since
    with writing(db.engine) as connection:
        connection.execute(delete(AccessCount))
    begun: dict[Any, int] = {}
    for (kind, day, *more), count in rows.items():
        first = day if kind == "day" else day - day.weekday() * DAY
        begun[kind, first, *more] = count
    if begun:
        make_counts(
            *(
                (kind, first, count, service, "T", "1", country)
                for (kind, first, service, country), count in begun.items()
            )
        )
    expected, cut = 0, set()
    for (kind, first, *_), count in begun.items():
        days = {first + offset * DAY for offset in range(7 if kind == "week" else 1)}
        inside = {
            each
            for each in days
            if (since is None or since <= each) and (until is None or each <= until)
        }
        expected += count if inside == days else 0
        if inside and inside != days:
            cut.add(module.week_of(first))
    groups = tuple(group_by) if period is None else (period, *group_by)

    found = statistics(Wanted(groups, since=since, until=until))

    assert sum(each.count for each in found.items) == expected
    assert set(found.weeks_cut) == cut
    named = [each.named for each in found.items]
    assert len(named) == len(set(named))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("group_by=hour", "group_by"),
        ("group_by=address", "group_by"),
        ("group_by=day,,service", "group_by"),
        ("group_by=day,week", "group_by"),
        ("group_by=service,service", "group_by"),
        ("from=2026-11-22&to=2026-11-21", "to"),
        ("from=yesterday", "from"),
        ("from=2026-11-22T00:00:00Z", "from"),
        ("to=2026-02-30", "to"),
        ("to=0001-01-01", "to"),
        ("to=9999-12-31", "to"),
        ("service=nobody", "service"),
        ("format=pdf", "format"),
        ("limit=5", "limit"),
        ("service=cic&service=voucher", "service"),
        ("group_by=service,country&format=svg", "group_by"),
        ("group_by=&format=svg", "group_by"),
    ],
)
def test_what_cannot_be_told_is_refused_by_name(
    client: FlaskClient, staff: dict[str, str], query: str, field: str
) -> None:
    answer = client.get(f"{URL}?{query}", headers=staff)
    assert (answer.status_code, [*answer.json["fields"]]) == (400, [field])


def test_an_answer_has_an_end(
    client: FlaskClient, staff: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_counts(*(("day", MONDAY + offset * DAY, 1) for offset in range(4)))
    monkeypatch.setattr(module, "MOST_ITEMS", 4)
    monkeypatch.setattr(module, "MOST_ROWS", 4)
    assert len(counts(client, staff)) == 4
    monkeypatch.setattr(module, "MOST_ITEMS", 3)
    assert client.get(URL, headers=staff).status_code == 400
    monkeypatch.setattr(module, "MOST_ITEMS", 4)
    monkeypatch.setattr(module, "MOST_ROWS", 3)
    assert client.get(f"{URL}?group_by=month", headers=staff).status_code == 400


@pytest.mark.parametrize(
    ("accept", "query", "media_type"),
    [
        (None, "", "application/json"),
        ("*/*", "", "application/json"),
        ("text/html,*/*;q=0.8", "", "application/json"),
        ("text/plain", "", "application/json"),
        ("application/json", "", "application/json"),
        ("text/csv", "", "text/csv"),
        ("application/json;q=0.2, text/csv", "", "text/csv"),
        ("image/svg+xml", "", "image/svg+xml"),
        ("image/svg+xml", "format=csv", "text/csv"),
        ("text/csv", "format=json", "application/json"),
        (None, "format=svg", "image/svg+xml"),
    ],
)
def test_the_form_is_chosen_by_the_header_or_by_name(
    client: FlaskClient,
    staff: dict[str, str],
    accept: str | None,
    query: str,
    media_type: str,
) -> None:
    make_a_fortnight()
    header = staff | ({} if accept is None else {"Accept": accept})
    answer = client.get(f"{URL}?{query}", headers=header)
    assert (answer.status_code, answer.mimetype) == (200, media_type)


def test_a_table_has_the_same_counts_and_no_formulas(
    client: FlaskClient, staff: dict[str, str]
) -> None:
    make_counts(
        ("day", MONDAY, 10, "cic", "=1+1", 'two, "three"'),
        ("day", MONDAY, 12, "cic", "Ä", "2.0"),
    )
    answer = client.get(
        f"{URL}?group_by=device_type,software_version&format=csv", headers=staff
    )
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert list(csv.reader(io.StringIO(answer.text))) == [
        ["device_type", "software_version", "count"],
        ["'=1+1", 'two, "three"', "10"],
        ["Ä", "2.0", "12"],
    ]


@pytest.mark.parametrize("role", list(Role))
def test_who_may_see_them(client: FlaskClient, role: Role) -> None:
    is_dealer = role is Role.DEALER
    token = make_token(role, dealer="Dealer" if is_dealer else "")
    answer = client.get(URL, headers=token)
    assert answer.status_code == (403 if is_dealer else 200)
    assert client.get(URL).status_code == 401


def test_raw_records_are_never_counted(
    client: FlaskClient, staff: dict[str, str], app: Flask
) -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    app.extensions["access_log"].rooms.prepare([now])
    with writing(db.engine) as connection:
        row = {"service": "cic", "accessed_at": now, "address": "83.1.12.77"}
        connection.execute(insert(AccessRecord), [row] * 50)
    for group_by in ("", "day", "country"):
        assert counts(client, staff, f"group_by={group_by}") == []


def test_the_same_is_typed_at_the_command_line(
    runner: FlaskCliRunner, tmp_path: Path
) -> None:
    make_a_fortnight()
    by_week = ["--by", "week,service", "--to", "2026-12-05"]

    shown = runner.invoke(command, by_week)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        "week      service  count",
        "2026-W48  cic        110",
        "2026-W48  voucher     12",
        "2026-W49  cic        110",
    ]
    assert "2026-W49" in shown.stderr
    assert json.loads(runner.invoke(command, [*by_week, "--json"]).stdout) == {
        "items": [
            {"week": "2026-W48", "service": "cic", "count": 110},
            {"week": "2026-W48", "service": "voucher", "count": 12},
            {"week": "2026-W49", "service": "cic", "count": 110},
        ],
        "weeks_cut": ["2026-W49"],
    }
    assert runner.invoke(command, [*by_week, "--csv"]).stdout.splitlines() == [
        "week,service,count",
        "2026-W48,cic,110",
        "2026-W48,voucher,12",
        "2026-W49,cic,110",
    ]
    file = tmp_path / "picture.svg"
    assert runner.invoke(command, [*by_week, "--svg", str(file)]).exit_code == 0
    assert file.read_text("utf-8").startswith("<svg")


@pytest.mark.parametrize(
    "said",
    [
        ["--by", "hour"],
        ["--from", "yesterday"],
        ["--service", "nobody"],
        ["--json", "--csv"],
        ["--from", "2026-11-02", "--to", "2026-11-01"],
        ["--by", "service,country", "--svg", "never.svg"],
    ],
)
def test_what_is_mistyped_is_refused(runner: FlaskCliRunner, said: list[str]) -> None:
    assert runner.invoke(command, said).exit_code != 0
    assert not Path("never.svg").exists()
