# SPDX-License-Identifier: Apache-2.0
"""How long something may be kept: every figure that the documents promise."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.ages import (
    MOMENT,
    AfterUse,
    AgeFault,
    ForEver,
    Never,
    Rotation,
    Rule,
    Span,
    Story,
    Support,
    UntilEnded,
    YearsAfterYear,
    end_of,
    later,
    latest_before,
    rule_of,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "hours"),
    [
        pytest.param({"hours": 336}, 336, id="14 days, the original logs"),
        pytest.param({"hours": 672}, 28 * 24, id="4 weeks, real names while debugging"),
        pytest.param({"hours": 168}, 7 * 24, id="7 days, push notifications"),
        pytest.param({"hours": 24}, 24, id="1 day, the provisioning log"),
        pytest.param({"rotated_hours": 336}, 336, id="log rotation, our figure"),
    ],
)
def test_a_span_ends_at_its_last_moment_and_not_one_later(
    said: object, hours: int
) -> None:
    rule = rule_of(said)
    end = NOON + timedelta(hours=hours)

    assert rule.ends_at(Story(began=NOON)) == end
    assert rule.cutoff(end) == NOON
    assert rule.cutoff(end - MOMENT) == NOON - MOMENT
    assert rule.ends_at(Story()) is None


@pytest.mark.parametrize("zone", [-12, -5, 0, 1, 2, 13])
def test_no_time_zone_makes_a_span_longer(zone: int) -> None:
    began = NOON.astimezone(timezone(timedelta(hours=zone)))

    assert Span(336).ends_at(Story(began=began)) == NOON + timedelta(hours=336)


@pytest.mark.parametrize(
    ("used", "end"),
    [
        ("2026-03-15T10:00", "2027-03-15T10:00"),
        ("2024-02-28T10:00", "2025-02-28T10:00"),
        # No 29 February in 2025: with the end of the 28th (section 188 (3) BGB).
        ("2024-02-29T00:00", "2025-03-01T00:00"),
        ("2024-02-29T23:59", "2025-03-01T00:00"),
        ("2023-02-28T10:00", "2024-02-28T10:00"),
        ("2026-12-31T23:59", "2027-12-31T23:59"),
    ],
)
def test_twelve_months_after_the_last_use(used: str, end: str) -> None:
    assert AfterUse(12).ends_at(Story(began=at(used))) == at(end)


@pytest.mark.parametrize(
    ("instant", "months", "end"),
    [
        ("2026-01-31T08:00", 1, "2026-03-01T00:00"),
        ("2024-01-31T08:00", 1, "2024-03-01T00:00"),
        ("2026-08-31T08:00", 6, "2027-03-01T00:00"),
        ("2026-03-31T08:00", 1, "2026-05-01T00:00"),
        ("2026-11-30T08:00", 3, "2027-03-01T00:00"),
        ("2026-12-31T08:00", 1, "2027-01-31T08:00"),
        ("2026-10-31T08:00", 24, "2028-10-31T08:00"),
    ],
)
def test_a_month_without_such_a_day_ends_with_its_last(
    instant: str, months: int, end: str
) -> None:
    assert later(at(instant), months=months) == at(end)


def test_each_use_begins_the_months_anew_in_any_order() -> None:
    rule = AfterUse(12)
    story = Story(
        began=at("2025-01-01T00:00"),
        used=[at("2026-06-01T12:00"), at("2025-03-01T00:00")],
    )

    assert rule.ends_at(story) == at("2027-06-01T12:00")
    assert rule.ends_at(Story()) is None


def test_eleven_months_and_thirty_days_do_not_end_it() -> None:
    rule = AfterUse(12)
    last = at("2025-12-23T12:00")

    assert rule.ends_at(Story(began=last)) == at("2026-12-23T12:00")
    assert (rule.cutoff(NOON) or NOON) < last


@pytest.mark.parametrize(
    ("closed", "end"),
    [
        ("2026-01-01T00:00", "2030-01-01T00:00"),
        ("2026-12-31T23:59", "2030-01-01T00:00"),
        ("2027-01-01T00:00", "2031-01-01T00:00"),
    ],
)
def test_three_years_after_the_year(closed: str, end: str) -> None:
    assert YearsAfterYear(3).ends_at(Story(began=at(closed))) == at(end)


def test_support_ends_with_its_last_day_everywhere_on_earth() -> None:
    story = Story(support_ends_on=date(2026, 11, 22))

    assert Support(3).may_end_at(story) == at("2026-11-23T12:00")
    assert end_of(date(2024, 2, 29)) == at("2024-03-01T12:00")
    assert Support(3).may_end_at(Story()) is None


@pytest.mark.parametrize(
    ("ends_on", "used", "end"),
    [
        pytest.param(None, ["2001-01-01T00:00"], None, id="no end of support"),
        pytest.param(date(2026, 6, 30), [], "2030-01-01T00:00", id="never heard of"),
        pytest.param(
            date(2026, 12, 30), [], "2030-01-01T00:00", id="the last day but one"
        ),
        pytest.param(
            date(2026, 12, 31), [], "2031-01-01T00:00", id="it ends in the next year"
        ),
        pytest.param(
            date(2026, 6, 30),
            ["2029-12-31T23:59", "2027-01-01T00:00"],
            "2033-01-01T00:00",
            id="it goes on being used",
        ),
        pytest.param(
            date(2026, 6, 30), ["2020-01-01T00:00"], "2030-01-01T00:00", id="silent"
        ),
    ],
)
def test_what_was_sold_goes_unasked_years_after_support_and_use(
    ends_on: date | None, used: list[str], end: str | None
) -> None:
    story = Story(support_ends_on=ends_on, used=[at(each) for each in used])

    assert Support(3).ends_at(story) == (at(end) if end else None)


@pytest.mark.parametrize(
    "word",
    [
        "on-change",
        "at-once",
        "session",
        "until-withdrawn",
        "with-pbx",
        "as-contents",
        "with-service",
    ],
)
def test_an_event_ends_it_that_instant_and_no_age_does(word: str) -> None:
    rule = rule_of(word)

    assert rule == UntilEnded(word)
    assert rule.ends_at(Story(began=NOON, used=[NOON])) is None
    assert rule.ends_at(Story(began=NOON, ended=NOON + MOMENT)) == NOON + MOMENT
    assert rule.cutoff(NOON) is None
    assert rule.numbers == {}


def test_what_is_never_stored_is_too_old_at_once() -> None:
    assert rule_of("never") == Never()
    assert Never().ends_at(Story(began=NOON)) == NOON
    assert Never().cutoff(NOON) == NOON


def test_nothing_ends_what_is_about_nobody() -> None:
    assert rule_of("for-ever") == ForEver()
    assert ForEver().ends_at(Story(began=NOON, ended=NOON)) is None
    assert ForEver().cutoff(NOON) is None


@pytest.mark.parametrize(
    ("hours", "every", "kept"),
    [
        (336, timedelta(days=1), 13),
        (336, timedelta(hours=1), 335),
        (168, timedelta(days=1), 6),
        (48, timedelta(days=1), 1),
        (335, timedelta(days=1), 12),
    ],
)
def test_so_many_rotated_files_may_be_left(
    hours: int, every: timedelta, kept: int
) -> None:
    rule = Rotation(hours)

    assert rule.files_kept(every) == kept
    # The oldest line of the oldest file, just before that file goes.
    assert every * (kept + 1) <= timedelta(hours=hours)
    assert every * (kept + 2) > timedelta(hours=hours)


def test_a_rotation_that_keeps_nothing_is_none() -> None:
    with pytest.raises(AgeFault):
        Rotation(24).files_kept()


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        "soon",
        "support",
        {},
        {"hours": 0},
        {"hours": -1},
        {"hours": True},
        {"hours": 1.5},
        {"hours": "336"},
        {"days": 14},
        {"hours": 24, "months_after_use": 1},
        336,
    ],
)
def test_an_age_that_means_nothing_is_refused(said: object) -> None:
    with pytest.raises(AgeFault):
        rule_of(said)


INSTANTS = st.datetimes(
    min_value=datetime(1990, 1, 1),  # noqa: DTZ001 -- hypothesis adds the zone itself
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001 -- likewise
).map(lambda each: each.replace(tzinfo=UTC))
RULES = st.one_of(
    st.integers(1, 20_000).map(Span),
    st.integers(1, 60).map(AfterUse),
    st.integers(1, 10).map(YearsAfterYear),
)


@given(RULES, INSTANTS, INSTANTS)
def test_both_answers_of_a_rule_agree(
    rule: Rule, began: datetime, now: datetime
) -> None:
    end, cutoff = rule.ends_at(Story(began=began)), rule.cutoff(now)

    assert end is not None
    assert cutoff is not None
    assert (end <= now) == (began <= cutoff)


@given(RULES, INSTANTS)
def test_they_agree_at_the_very_edge(rule: Rule, now: datetime) -> None:
    cutoff = rule.cutoff(now)

    assert cutoff is not None
    for began in (cutoff, cutoff + MOMENT):
        end = rule.ends_at(Story(began=began))
        assert end is not None
        assert (end <= now) == (began == cutoff)


@given(INSTANTS, INSTANTS, st.integers(1, 60))
def test_a_later_use_never_ends_earlier(
    one: datetime, other: datetime, months: int
) -> None:
    first, second = sorted([one, other])

    assert later(first, months=months) <= later(second, months=months)
    assert latest_before(first, months=months) <= latest_before(second, months=months)
