# SPDX-License-Identifier: Apache-2.0
"""Redemptions that are refused: each for its reason, counted, noted, and no more."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from make import NOBODY, SERIAL
from making import BIRTH, days, make_product, make_voucher, release_rows, voucher_row
from redeeming import (
    OTHER,
    SECOND,
    STRANGER,
    device_id,
    guesses,
    noted,
    redeem,
    refused,
)
from sqlalchemy import insert, update

from cic.service import holds
from fleet.database import transaction
from fleet.errors import TooMany
from fleet.ground import ground
from fleet.keys.errors import MissingKey
from voucher import codes
from voucher.models import LedgerEntry, Product, ReleaseCode, Voucher
from voucher.service import refusals
from voucher.service.redemptions import Way

pytestmark = pytest.mark.usefixtures("two_pbxs", "at_birth")


# Refusals: each in its turn, with all the later ones waiting behind it.


@dataclass
class Ladder:
    """A redemption with every fault from ``step`` on, and none before."""

    step: int

    def has(self, fault: str) -> bool:
        return STEPS.index(fault) >= self.step

    def is_about(self, fault: str) -> bool:
        return STEPS.index(fault) == self.step

    def build(self) -> tuple[str, str]:
        """Make it; return the code and the serial number to ask with."""
        product = make_product(
            50,
            trial=self.has("trial"),
            stacking="renew",
            device_types=["Other"] if self.has("type") else ["COMtrexx VM"],
            prerequisites=["conference"] if self.has("prerequisite") else [],
        )
        _burden(
            product if self.has("trial") else None,
            forever=self.has("effect"),
            last_sequence=1023 if self.has("exhausted") else 1022,
        )
        code, voucher_id = make_voucher(
            product,
            activated=not self.has("not activated"),
            revoked=self.is_about("revoked"),
            valid_until=BIRTH if self.has("expired") else None,
        )
        if self.is_about("redeemed"):
            _taken(voucher_id, device_id(OTHER))
        if self.has("held"):
            holds.block(SERIAL, reason="stolen", by=NOBODY, now=BIRTH)
        if self.is_about("unknown"):
            code = codes.draw()
        return code, STRANGER if self.is_about("unknown device") else SERIAL


STEPS = [
    "unknown",
    "revoked",
    "redeemed",
    "expired",
    "not activated",
    "unknown device",
    "held",
    "type",
    "prerequisite",
    "trial",
    "effect",
    "exhausted",
]
VERDICTS = {
    "unknown": "voucher-not-valid",
    "revoked": "voucher-not-valid",
    "redeemed": "voucher-already-redeemed",
    "expired": "voucher-expired",
    "not activated": "voucher-not-activated",
    "unknown device": "unknown-device",
    "held": "device-not-permitted",
    "type": "voucher-not-for-this-device",
    "prerequisite": "prerequisite-missing",
    "trial": "trial-already-used",
    "effect": "voucher-without-effect",
    "exhausted": "release-codes-exhausted",
}


@pytest.mark.parametrize("fault", STEPS)
def test_each_refusal_has_its_place_and_changes_nothing(fault: str) -> None:
    code, serial_number = Ladder(STEPS.index(fault)).build()

    assert refused(code, serial_number, way=Way.BROWSER) == VERDICTS[fault]

    [(problem, way, whose, which)] = noted()
    assert (problem, way) == (VERDICTS[fault], "browser")
    assert (whose is None) == (fault == "unknown device")
    assert (which is None) == (fault == "unknown")


def test_behind_all_refusals_is_a_release() -> None:
    code, serial_number = Ladder(len(STEPS)).build()
    assert redeem(code, serial_number).is_new
    assert release_rows()[-1].sequence == 1023
    assert refused(make_voucher()[0]) == "release-codes-exhausted"


def _burden(trial: Product | None, *, forever: bool, last_sequence: int) -> None:
    """Give the PBX a past: used codes, a trial, and users for ever if wanted."""
    past = make_product(60, quantity=99, stacking="renew")
    row = {
        "device_id": device_id(),
        "source": "grant",
        "voucher_id": None,
        "product_id": past.id,
        "product_number": 60,
        "quantity": 99,
        "last_day": None,
        "code": "0" * 25,
        "released_at": BIRTH,
    }
    rows = [row | {"sequence": last_sequence}]
    if trial:
        named = {"product_id": trial.id, "product_number": trial.product_number}
        rows.append(row | named | {"sequence": 1, "source": "trial"})
    with transaction() as session:
        made = session.scalars(
            insert(ReleaseCode).returning(ReleaseCode.id), rows
        ).all()
        if forever:
            session.add(
                LedgerEntry(
                    happened_at=BIRTH,
                    kind="granted",
                    actor="Anna",
                    release_id=made[0],
                    device_id=device_id(),
                )
            )


def _taken(voucher_id: int, by: int) -> None:
    with transaction() as session:
        session.execute(
            update(Voucher)
            .where(Voucher.id == voucher_id)
            .values(redeemed_by_id=by, redeemed_at=BIRTH)
        )


def test_a_mistyped_code_is_found_before_anything_is_looked_at_or_counted() -> None:
    code, _ = make_voucher()
    wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
    for _ in range(30):
        assert refused(wrong, STRANGER) == "mistyped-code"
        assert refused("no code at all", "?") == "mistyped-code"
    assert noted() == []
    assert guesses() == []
    assert redeem(code).is_new


def test_a_blocked_pbx_is_refused_also_what_it_has() -> None:
    code, _ = make_voucher()
    redeem(code)
    holds.block(SERIAL, reason="stolen", by=NOBODY, now=BIRTH)
    assert refused(code) == "device-not-permitted"
    holds.unblock(SERIAL, reason="found", by=NOBODY, now=BIRTH)
    assert not redeem(code).is_new


def test_a_pbx_that_waits_for_its_first_start_can_be_given_functions() -> None:
    assert redeem(make_voucher()[0], way=Way.BROWSER).is_new  # never initialised


# Guessing.


def test_only_codes_that_do_not_exist_are_counted_as_guesses() -> None:
    taken, _ = make_voucher()
    redeem(taken, OTHER)
    others = [
        make_voucher(revoked=True)[0],
        make_voucher(activated=False)[0],
        make_voucher(valid_until=BIRTH)[0],
        make_voucher(make_product(5, device_types=["Other"]))[0],
        taken,
    ]
    for _ in range(15):
        for code in others:
            refused(code)
    assert guesses() == []
    for _ in range(10):
        assert refused(codes.draw()) == "voucher-not-valid"
    assert guesses() == [10, 10, 10]  # of this PBX from here, from here, everywhere
    assert refused(codes.draw()) == "too-many-requests"


@pytest.mark.parametrize("left", [[], ["2.key"]])
def test_a_lost_key_makes_no_voucher_a_wrong_guess(left: list[str]) -> None:
    code, _ = make_voucher()
    ground().keyring.rotate("voucher-code")
    for path in (ground().settings.data_dir / "keys" / "voucher-code").iterdir():
        if path.name not in left:
            path.unlink()
    ground().keyring.versions("voucher-code")  # which looks at the files
    with pytest.raises(MissingKey):
        redeem(code)
    assert guesses() == []


def test_a_guesser_is_stopped_and_nobody_else() -> None:
    good, _ = make_voucher()
    for _ in range(10):
        refused(codes.draw())
    with pytest.raises(TooMany) as stopped:
        redeem(codes.draw())
    assert 0 < (stopped.value.retry_after or 0) <= 601
    assert redeem(make_voucher()[0], OTHER).is_new  # another PBX behind the same NAT
    assert redeem(good).is_new  # nor is a code that exists
    assert not redeem(good, address="198.51.100.1").is_new  # from another address
    assert not redeem(good, after=timedelta(minutes=10)).is_new  # and after a while


def test_honest_repeats_are_never_throttled() -> None:
    code, _ = make_voucher()
    for _ in range(70):
        assert redeem(code).release_code == release_rows()[0].code
    assert guesses() == []


# What is noted of refusals, for whoever asks support.


def test_the_same_refusal_is_noted_once_in_a_while() -> None:
    code, voucher_id = make_voucher(activated=False)
    for minute in (0, 1, 9, 11, 12):
        refused(code, after=timedelta(minutes=minute))
    refused(code, OTHER)
    refused(code, STRANGER)
    refused(code, way=Way.BROWSER)
    said = "voucher-not-activated"
    assert noted() == [
        (said, "pbx", device_id(), voucher_id),
        (said, "pbx", device_id(), voucher_id),
        (said, "pbx", device_id(OTHER), voucher_id),
        (said, "pbx", None, voucher_id),
        (said, "browser", device_id(), voucher_id),
    ]


def test_nothing_is_noted_of_nothing() -> None:
    refused(codes.draw(), STRANGER)
    assert noted() == []


def test_refusals_are_forgotten_after_fourteen_days() -> None:
    code, voucher_id = make_voucher(activated=False)
    refused(code)
    refused(code, after=days(3))
    assert refusals.forget(BIRTH + days(14)) == 0
    assert refusals.forget(BIRTH + days(14) + SECOND) == 1
    assert refusals.forget(BIRTH + days(14) + SECOND) == 0
    assert len(noted()) == 1
    assert voucher_row(voucher_id).activated_at is None
