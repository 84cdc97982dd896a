# SPDX-License-Identifier: Apache-2.0
"""The verdicts over a voucher, and over a product for a PBX: tables of cases."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from fleet.errors import Refusal
from voucher.errors import (
    PrerequisiteMissing,
    ReleaseCodesExhausted,
    TrialAlreadyUsed,
    VoucherAlreadyRedeemed,
    VoucherExpired,
    VoucherNotActivated,
    VoucherNotForThisDevice,
    VoucherNotValid,
    WithoutEffect,
)
from voucher.functions import Source, Stacking, Term
from voucher.states import Life
from voucher.verdicts import (
    Offer,
    Receiver,
    check_fits,
    check_lasts,
    is_repeat,
    last_day_for,
)

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
OURS, ANOTHER = 1, 2

NEW = Life(
    exported_at=NOON - 9 * DAY,
    allocated_at=None,
    activated_at=None,
    redeemed_at=None,
    revoked_at=None,
    valid_until=None,
)
SOLD = replace(NEW, activated_at=NOON)
ENDED = replace(SOLD, valid_until=NOON)
TAKEN = replace(ENDED, redeemed_at=NOON - DAY)
REVOKED = replace(TAKEN, revoked_at=NOON - 2 * DAY)


@pytest.mark.parametrize(
    ("life", "redeemed_by", "verdict"),
    [
        pytest.param(SOLD, None, False, id="sold this very instant"),
        pytest.param(
            replace(SOLD, valid_until=NOON + SECOND), None, False, id="the last second"
        ),
        pytest.param(TAKEN, OURS, True, id="redeemed by us, and expired since"),
        pytest.param(TAKEN, ANOTHER, VoucherAlreadyRedeemed, id="redeemed by another"),
        pytest.param(
            TAKEN, None, VoucherAlreadyRedeemed, id="redeemed by nobody knows"
        ),
        pytest.param(REVOKED, OURS, VoucherNotValid, id="revoked before all else"),
        pytest.param(ENDED, None, VoucherExpired, id="expired to the second"),
        pytest.param(
            replace(NEW, valid_until=NOON),
            None,
            VoucherExpired,
            id="never sold, expired",
        ),
        pytest.param(NEW, None, VoucherNotActivated, id="exported, not sold"),
        pytest.param(
            replace(NEW, allocated_at=NOON),
            None,
            VoucherNotActivated,
            id="at a dealer's",
        ),
        pytest.param(
            replace(NEW, exported_at=None), None, VoucherNotActivated, id="created only"
        ),
    ],
)
def test_a_voucher_is_judged_by_its_life(
    life: Life, redeemed_by: int | None, verdict: bool | type[Refusal]
) -> None:
    if isinstance(verdict, bool):
        assert judged(life, redeemed_by) is verdict
    else:
        with pytest.raises(verdict):
            judged(life, redeemed_by)


def judged(
    life: Life, redeemed_by: int | None, *, device_id: int | None = OURS
) -> bool:
    return is_repeat(life, redeemed_by=redeemed_by, device_id=device_id, now=NOON)


def test_a_pbx_that_nobody_knows_has_redeemed_nothing() -> None:
    assert judged(SOLD, None, device_id=None) is False
    with pytest.raises(VoucherAlreadyRedeemed):
        judged(TAKEN, None, device_id=None)


USERS = Offer(
    product_number=17,
    function="users",
    unit="users",
    quantity=10,
    duration_days=30,
    stacking=Stacking.RENEW,
    trial=False,
)
LAST = date(2027, 3, 31)


def held(
    quantity: int = 10,
    last_day: date | None = LAST,
    *,
    function: str = "users",
    stacking: Stacking = Stacking.RENEW,
) -> Term:
    return Term(function, quantity, last_day, stacking, Source.VOUCHER)


def receiver(
    *terms: Term, trials: set[int] | None = None, last_sequence: int = 0
) -> Receiver:
    return Receiver(terms, trials or set(), last_sequence)


@pytest.mark.parametrize(
    ("device_type", "for_types", "needs", "verdict"),
    [
        pytest.param("VM", [], [], None, id="for all"),
        pytest.param("VM", ["Box", "VM"], [], None, id="for this type, too"),
        pytest.param("VM", ["Box"], [], VoucherNotForThisDevice, id="for another"),
        pytest.param("VM", ["vm"], [], VoucherNotForThisDevice, id="spelled otherwise"),
        pytest.param("VM", [], ["users"], None, id="what it needs is there"),
        pytest.param("VM", [], ["users", "x"], PrerequisiteMissing, id="half of it"),
        pytest.param("VM", [], ["old"], PrerequisiteMissing, id="what it needs ended"),
        pytest.param("VM", ["Box"], ["x"], VoucherNotForThisDevice, id="type first"),
    ],
)
def test_a_product_fits_a_pbx_or_does_not(
    device_type: str,
    for_types: list[str],
    needs: list[str],
    verdict: type[Refusal] | None,
) -> None:
    def check() -> None:
        check_fits(
            device_type,
            [held(), held(function="old", last_day=date(2027, 2, 27))],
            device_types=for_types,
            prerequisites=needs,
            now=NOON,
        )

    if verdict is None:
        check()
    else:
        with pytest.raises(verdict):
            check()


def test_a_missing_prerequisite_is_named() -> None:
    with pytest.raises(PrerequisiteMissing, match="conference, fax") as refusal:
        check_fits(
            "VM", [], device_types=[], prerequisites=["conference", "fax"], now=NOON
        )
    assert "fax" in refusal.value.detail


@pytest.mark.parametrize(
    ("offer", "pbx", "expected"),
    [
        pytest.param(USERS, receiver(), LAST, id="thirty days after today"),
        pytest.param(
            USERS, receiver(held()), date(2027, 4, 30), id="a renewal follows"
        ),
        pytest.param(
            USERS, receiver(held(25)), date(2027, 4, 30), id="a downgrade at the end"
        ),
        pytest.param(USERS, receiver(held(5)), LAST, id="an upgrade at once"),
        pytest.param(
            replace(USERS, duration_days=None), receiver(held(5)), None, id="for ever"
        ),
        pytest.param(
            USERS,
            receiver(held(25, None)),
            WithoutEffect,
            id="more for ever is there already",
        ),
        pytest.param(
            replace(USERS, stacking=Stacking.ADD),
            receiver(held(25, None, stacking=Stacking.ADD)),
            LAST,
            id="what adds up always has effect",
        ),
        pytest.param(
            replace(USERS, trial=True),
            receiver(),
            LAST,
            id="a trial for the first time",
        ),
        pytest.param(
            replace(USERS, trial=True),
            receiver(trials={17}),
            TrialAlreadyUsed,
            id="a second trial",
        ),
        pytest.param(USERS, receiver(trials={17}), LAST, id="bought after its trial"),
        pytest.param(
            USERS, receiver(last_sequence=1022), LAST, id="the last release code"
        ),
        pytest.param(
            USERS,
            receiver(last_sequence=1023),
            ReleaseCodesExhausted,
            id="no release code left",
        ),
        pytest.param(
            replace(USERS, trial=True),
            receiver(held(25, None), trials={17}, last_sequence=1023),
            TrialAlreadyUsed,
            id="of all faults the trial first",
        ),
        pytest.param(
            USERS,
            receiver(held(25, None), last_sequence=1023),
            WithoutEffect,
            id="no effect before no code",
        ),
    ],
)
def test_a_new_release_has_a_last_day_or_is_refused(
    offer: Offer, pbx: Receiver, expected: date | type[Refusal] | None
) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected):
            last_day_for(offer, pbx, NOON)
    else:
        assert last_day_for(offer, pbx, NOON) == expected


@pytest.mark.parametrize(
    ("last_day", "now", "lasts"),
    [
        (None, NOON, True),
        (date(2027, 2, 28), NOON - SECOND, True),
        (date(2027, 2, 28), NOON, False),  # that day ended at UTC-12
        (date(2027, 3, 1), NOON, True),
    ],
)
def test_a_release_is_given_again_while_its_term_lasts(
    last_day: date | None, now: datetime, lasts: bool
) -> None:
    if lasts:
        check_lasts(last_day, now)
    else:
        with pytest.raises(WithoutEffect):
            check_lasts(last_day, now)
