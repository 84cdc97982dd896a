# SPDX-License-Identifier: Apache-2.0
"""When a PBX locks: the rule as tables, and what holds for any policy."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cic.standing import (
    EARLIEST,
    Downtime,
    Hold,
    Policy,
    Reason,
    Verdict,
    first_silence_to_lock_at,
    lock_at,
    merged,
    standing,
)

HEARD = datetime(2027, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
GRACE = 30 * DAY
# 24 hours, and then the grace.
LIMIT = HEARD + DAY + GRACE


def policy(
    *,
    amnesty_until: datetime | None = None,
    outages: Sequence[tuple[timedelta, timedelta]] = (),
) -> Policy:
    """A grace of 30 days, of 7 for one type; outages count from ``HEARD``."""
    downtimes = [Downtime(HEARD + began, HEARD + ended) for began, ended in outages]
    return Policy(
        default_grace=GRACE,
        grace_by_type={"COMpact": 7 * DAY},
        amnesty_until=amnesty_until,
        downtimes=merged(downtimes),
    )


def verdict_at(
    now: datetime,
    *,
    by: Policy,
    hold: Hold = Hold.NONE,
    silent_since: datetime | None = HEARD,
) -> tuple[str, str]:
    found = standing(
        silent_since=silent_since,
        hold=hold,
        device_type="COMtrexx",
        own_grace_days=0,
        policy=by,
        now=now,
    )
    return found.verdict.value, found.reason.value


@pytest.mark.parametrize(
    ("device_type", "own_days", "days"),
    [
        pytest.param("COMtrexx", 0, 30, id="the default where nothing else is said"),
        pytest.param("COMpact", 0, 7, id="that of its type"),
        pytest.param("COMtrexx", 90, 90, id="its own above the default"),
        pytest.param("COMpact", 2, 2, id="its own above that of its type"),
        pytest.param("compact", 0, 30, id="a type in other letters is another type"),
    ],
)
def test_the_grace_of_a_pbx_is(device_type: str, own_days: int, days: int) -> None:
    found = standing(
        silent_since=HEARD,
        hold=Hold.NONE,
        device_type=device_type,
        own_grace_days=own_days,
        policy=policy(),
        now=HEARD,
    )
    assert found.grace == days * DAY
    assert found.lock_at == HEARD + DAY + days * DAY


@pytest.mark.parametrize(
    ("now", "verdict", "reason"),
    [
        pytest.param(HEARD, "active", "in-touch", id="heard this instant"),
        pytest.param(HEARD - HOUR, "active", "in-touch", id="by a clock that is ahead"),
        pytest.param(HEARD + DAY, "active", "in-touch", id="24 hours later"),
        pytest.param(HEARD + DAY + TICK, "active", "within-grace", id="a bit more"),
        pytest.param(LIMIT, "active", "within-grace", id="the limit itself is kind"),
        pytest.param(LIMIT + TICK, "locked", "silent-too-long", id="past the limit"),
        pytest.param(LIMIT + 9999 * DAY, "locked", "silent-too-long", id="years later"),
    ],
)
def test_silence_alone_decides(now: datetime, verdict: str, reason: str) -> None:
    assert verdict_at(now, by=policy()) == (verdict, reason)


@pytest.mark.parametrize(
    ("until", "now", "verdict"),
    [
        pytest.param(LIMIT + DAY, LIMIT + HOUR, "active", id="lasts: nobody locks"),
        pytest.param(LIMIT + DAY, LIMIT + DAY, "active", id="its end is kind, too"),
        pytest.param(LIMIT + DAY, LIMIT + DAY + TICK, "locked", id="over: it locks"),
        pytest.param(LIMIT - DAY, LIMIT, "active", id="ends before: takes nothing"),
        pytest.param(LIMIT - DAY, LIMIT + TICK, "locked", id="ends before: adds none"),
        pytest.param(None, LIMIT + TICK, "locked", id="withdrawn: as if never given"),
    ],
)
def test_an_amnesty(until: datetime | None, now: datetime, verdict: str) -> None:
    assert verdict_at(now, by=policy(amnesty_until=until))[0] == verdict


def test_an_amnesty_unlocks_what_was_locked_and_is_named_as_the_reason() -> None:
    now = LIMIT + 100 * DAY
    assert verdict_at(now, by=policy())[0] == "locked"
    assert verdict_at(now, by=policy(amnesty_until=now + DAY)) == ("active", "amnesty")


@pytest.mark.parametrize(
    ("outages", "credit"),
    [
        pytest.param([], 0 * HOUR, id="no outage"),
        pytest.param([(2 * DAY, 3 * DAY)], DAY, id="one within the silence"),
        pytest.param([(2 * DAY, 3 * DAY), (5 * DAY, 7 * DAY)], 3 * DAY, id="two"),
        pytest.param([(2 * DAY, 4 * DAY), (3 * DAY, 5 * DAY)], 3 * DAY, id="overlap"),
        pytest.param([(2 * DAY, 3 * DAY)] * 2, DAY, id="the same one noted twice"),
        pytest.param([(-3 * DAY, -2 * DAY)], 0 * HOUR, id="before the silence"),
        pytest.param([(-3 * DAY, 0 * DAY)], 0 * HOUR, id="ended as it began"),
        pytest.param([(-3 * DAY, 2 * DAY)], 2 * DAY, id="already on as it began"),
        pytest.param([(30 * DAY, 33 * DAY)], 3 * DAY, id="over the limit"),
        pytest.param([(31 * DAY - TICK, 33 * DAY)], 2 * DAY + TICK, id="just before"),
        pytest.param([(31 * DAY, 33 * DAY)], 0 * HOUR, id="from the limit on: late"),
        pytest.param([(40 * DAY, 41 * DAY)], 0 * HOUR, id="after the limit"),
        pytest.param(
            [(30 * DAY, 33 * DAY), (33 * DAY + HOUR, 36 * DAY)],
            6 * DAY - HOUR,
            id="one that carries the limit into the next",
        ),
        pytest.param(
            [(30 * DAY, 33 * DAY), (34 * DAY, 36 * DAY)],
            3 * DAY,
            id="one that carries the limit up to the next, and no further",
        ),
    ],
)
def test_our_own_outage_is_not_silence(
    outages: list[tuple[timedelta, timedelta]], credit: timedelta
) -> None:
    found = lock_at(silent_since=HEARD, grace=GRACE, policy=policy(outages=outages))
    assert found == LIMIT + credit


def test_an_amnesty_and_an_outage_do_not_add_up() -> None:
    both = policy(amnesty_until=LIMIT + DAY, outages=[(DAY, 4 * DAY)])
    assert lock_at(silent_since=HEARD, grace=GRACE, policy=both) == LIMIT + 3 * DAY


@pytest.mark.parametrize(
    ("hold", "silent_since", "verdict", "reason"),
    [
        pytest.param(
            Hold.BLOCKED, HEARD, "blocked", "blocked-by-vendor", id="blocked, in touch"
        ),
        pytest.param(
            Hold.BLOCKED,
            HEARD - 99 * DAY,
            "blocked",
            "blocked-by-vendor",
            id="blocked, and silent for long",
        ),
        pytest.param(
            Hold.REPLACED, HEARD, "replaced", "replaced-by-other-device", id="replaced"
        ),
        pytest.param(
            Hold.REPLACED,
            None,
            "replaced",
            "replaced-by-other-device",
            id="replaced before it ever initialised",
        ),
        pytest.param(
            Hold.NONE, None, "uninitialised", "never-initialised", id="never heard of"
        ),
    ],
)
def test_staff_stand_above_silence(
    hold: Hold, silent_since: datetime | None, verdict: str, reason: str
) -> None:
    kindest = policy(amnesty_until=HEARD + 999 * DAY)
    found = standing(
        silent_since=silent_since,
        hold=hold,
        device_type="COMtrexx",
        own_grace_days=0,
        policy=kindest,
        now=HEARD,
    )
    assert (found.verdict.value, found.reason.value) == (verdict, reason)
    assert found.lock_at is None


@pytest.mark.parametrize("verdict", list(Verdict))
def test_only_active_is_a_success(verdict: Verdict) -> None:
    held = standing(
        silent_since=HEARD,
        hold=Hold.NONE,
        device_type="",
        own_grace_days=0,
        policy=policy(),
        now=HEARD,
    )
    judged = type(held)(verdict, Reason.IN_TOUCH, None, GRACE)
    assert judged.is_success is (verdict.value == "active")


# What holds for any silence, any outages, any amnesty.

# A loaded machine is no fault, and no folder is left behind.
calm = settings(deadline=None, database=None)

minutes = st.integers(min_value=-90 * 1440, max_value=90 * 1440).map(
    lambda each: timedelta(minutes=each)
)
microseconds = st.integers(min_value=-(10**13), max_value=10**13).map(
    lambda each: timedelta(microseconds=each)
)
instants = st.one_of(minutes, microseconds).map(lambda each: HEARD + each)
downtimes = st.lists(
    st.tuples(instants, instants).map(lambda two: Downtime(min(two), max(two))),
    max_size=6,
)
graces = st.integers(min_value=1, max_value=60).map(lambda each: each * DAY)
policies = st.builds(
    lambda each, amnesty: Policy(
        default_grace=GRACE, amnesty_until=amnesty, downtimes=merged(each)
    ),
    downtimes,
    st.none() | instants,
)


@calm
@given(policies, graces, instants, instants)
def test_who_was_heard_later_never_locks_earlier(
    by: Policy, grace: timedelta, one: datetime, other: datetime
) -> None:
    earlier, later = sorted((one, other))
    first = lock_at(silent_since=earlier, grace=grace, policy=by)
    assert first <= lock_at(silent_since=later, grace=grace, policy=by)


@calm
@given(policies, graces, instants)
def test_nobody_locks_before_the_day_and_the_grace_are_over(
    by: Policy, grace: timedelta, heard: datetime
) -> None:
    found = lock_at(silent_since=heard, grace=grace, policy=by)
    assert found >= heard + DAY + grace
    assert by.amnesty_until is None or found >= by.amnesty_until


@calm
@given(policies, graces, instants)
def test_time_in_which_we_answered_is_at_least_the_grace(
    by: Policy, grace: timedelta, heard: datetime
) -> None:
    until = lock_at(silent_since=heard, grace=grace, policy=by)
    down = sum(
        (
            max(min(each.ended_at, until) - max(each.began_at, heard), 0 * DAY)
            for each in by.downtimes
        ),
        start=0 * DAY,
    )
    assert until - heard - down >= DAY + grace
    if by.amnesty_until is None:
        assert until - heard - down == DAY + grace


@calm
@given(policies, graces, instants)
def test_the_first_silence_to_lock_at_an_instant_is_exact(
    by: Policy, grace: timedelta, instant: datetime
) -> None:
    first = first_silence_to_lock_at(instant, grace=grace, policy=by)
    assert lock_at(silent_since=first, grace=grace, policy=by) >= instant
    if first > EARLIEST + TICK:
        before = lock_at(silent_since=first - TICK, grace=grace, policy=by)
        assert before < instant


@calm
@given(policies, graces, instants, instants)
def test_a_range_of_silence_tells_the_locked_from_the_others(
    by: Policy, grace: timedelta, heard: datetime, now: datetime
) -> None:
    is_locked = now > lock_at(silent_since=heard, grace=grace, policy=by)
    first_active = first_silence_to_lock_at(now, grace=grace, policy=by)
    assert is_locked is (heard < first_active)


@calm
@given(downtimes)
def test_merged_outages_are_in_order_apart_and_stay_so(
    each: Sequence[Downtime],
) -> None:
    once = merged(each)
    assert merged(once) == once
    assert all(a.ended_at < b.began_at for a, b in pairwise(once))


@calm
@given(downtimes, instants)
def test_merged_outages_cover_the_same_time(
    each: Sequence[Downtime], instant: datetime
) -> None:
    def covered(by: Sequence[Downtime]) -> bool:
        return any(one.began_at <= instant <= one.ended_at for one in by)

    assert covered(merged(each)) is covered(each)
