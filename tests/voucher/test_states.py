# SPDX-License-Identifier: Apache-2.0
"""The life of a voucher follows from what happened to it, and from the time."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from voucher.states import Life, State, state_of

NOW = datetime(2027, 6, 1, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(days=1)
TICK = timedelta(microseconds=1)
STEPS = ("exported_at", "allocated_at", "activated_at", "redeemed_at", "revoked_at")


def life_with(*steps: str, valid_until: datetime | None = None) -> Life:
    happened = {each: BEFORE if each in steps else None for each in STEPS}
    return Life(**happened, valid_until=valid_until)


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ((), State.CREATED),
        (("exported_at",), State.EXPORTED),
        (("allocated_at",), State.ALLOCATED),
        (("exported_at", "allocated_at"), State.ALLOCATED),
        (("exported_at", "activated_at"), State.ACTIVATED),
        (("exported_at", "allocated_at", "activated_at"), State.ACTIVATED),
        (("exported_at", "activated_at", "redeemed_at"), State.REDEEMED),
        (("revoked_at",), State.REVOKED),
        (("exported_at", "allocated_at", "revoked_at"), State.REVOKED),
        (("exported_at", "activated_at", "revoked_at"), State.REVOKED),
    ],
)
def test_the_state_is_the_furthest_step(steps: tuple[str, ...], state: State) -> None:
    assert state_of(life_with(*steps), NOW) is state


@pytest.mark.parametrize(
    ("valid_until", "state"),
    [
        pytest.param(None, State.ACTIVATED, id="never"),
        pytest.param(NOW + TICK, State.ACTIVATED, id="just not yet"),
        pytest.param(NOW, State.EXPIRED, id="to the instant"),
        pytest.param(BEFORE, State.EXPIRED, id="long ago"),
    ],
)
def test_a_voucher_expires_at_its_instant(
    valid_until: datetime | None, state: State
) -> None:
    life = life_with("exported_at", "activated_at", valid_until=valid_until)

    assert state_of(life, NOW) is state


@pytest.mark.parametrize(
    "steps", [(), ("exported_at",), ("allocated_at",), ("activated_at",)]
)
def test_whatever_was_not_redeemed_expires(steps: tuple[str, ...]) -> None:
    assert state_of(life_with(*steps, valid_until=BEFORE), NOW) is State.EXPIRED


def test_what_was_redeemed_or_revoked_does_not_expire() -> None:
    redeemed = life_with("exported_at", "redeemed_at", valid_until=BEFORE)
    revoked = life_with("exported_at", "revoked_at", valid_until=BEFORE)

    assert state_of(redeemed, NOW) is State.REDEEMED
    assert state_of(revoked, NOW) is State.REVOKED


def test_every_combination_has_one_state_and_every_state_can_be_had() -> None:
    """So totals by state always sum to the number of vouchers."""
    lives = [
        Life(*happened, valid_until=valid_until)
        for *happened, valid_until in product(
            *[(None, BEFORE)] * len(STEPS), (None, BEFORE, NOW + TICK)
        )
    ]

    assert {state_of(each, NOW) for each in lives} == set(State)
