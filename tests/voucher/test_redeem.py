# SPDX-License-Identifier: Apache-2.0
"""Redemption as a service: what it is, what is stored, and what a repeat gives."""

import json

import pytest
import sqlalchemy as sa
from fuzz.journeys import dump
from make import SERIAL
from making import (
    BIRTH,
    activate,
    days,
    ledger_rows,
    make_product,
    make_voucher,
    release_rows,
    voucher_row,
)
from redeeming import OTHER, SECOND, device_id, redeem, refused
from sqlalchemy import select, update

from fleet.database import reading, transaction
from fleet.devices.models import Device
from fleet.devices.release_keys import release_key
from fleet.ground import ground
from fleet.keys.errors import MissingKey
from fleet.keys.keyring import VersionedKey, keyed_digest
from voucher import codes
from voucher.models import LedgerEntry, ReleaseCode, Voucher
from voucher.release_code import Release, encode
from voucher.service import redemptions
from voucher.service.redemptions import Way

pytestmark = pytest.mark.usefixtures("two_pbxs", "at_birth")


# What a redemption is.


def test_a_voucher_becomes_a_release_code_an_entry_and_a_function() -> None:
    code, voucher_id = make_voucher()

    redeemed = redeem(code)

    assert redeemed.is_new
    assert redeemed.redeemed_at == BIRTH
    assert (redeemed.product_number, redeemed.quantity) == (17, 10)
    assert (redeemed.function, redeemed.unit) == ("users", "users")
    assert redeemed.names["de"] == "10 Teilnehmer"
    assert redeemed.expires_on is None
    [function] = redeemed.functions
    assert (function.function, function.quantity) == ("users", 10)
    voucher = voucher_row(voucher_id)
    assert (voucher.redeemed_by_id, voucher.redeemed_at) == (device_id(), BIRTH)
    [release] = release_rows()
    assert release.code == redeemed.release_code
    assert (release.sequence, release.source) == (1, "voucher")
    assert (release.voucher_id, release.device_id) == (voucher_id, device_id())
    [entry] = ledger_rows()
    assert (entry.kind, entry.actor) == ("redeemed", "pbx")
    assert (entry.voucher_id, entry.release_id) == (voucher_id, release.id)
    assert (entry.device_id, entry.happened_at) == (device_id(), BIRTH)


def test_the_release_code_is_made_with_the_key_that_the_pbx_will_be_given() -> None:
    code, _ = make_voucher(make_product(duration_days=30))

    redeemed = redeem(code)

    with reading() as session:
        version = session.get_one(Device, device_id()).release_key_version
    assert version == 1
    _, key = release_key(SERIAL, version)
    said = Release(1, 17, 10, BIRTH.date() + days(30))
    expected = encode(said, serial_number=SERIAL, release_key=key)
    assert redeemed.release_code == expected


def test_each_release_of_a_pbx_has_the_next_number() -> None:
    for _ in range(3):
        redeem(make_voucher()[0])
    redeem(make_voucher()[0], OTHER)
    assert [(row.device_id, row.sequence) for row in release_rows()] == [
        (device_id(), 1),
        (device_id(), 2),
        (device_id(), 3),
        (device_id(OTHER), 1),
    ]


@pytest.mark.parametrize("way", list(Way))
def test_again_for_the_same_pbx_gives_the_very_same_and_writes_nothing(
    way: Way,
) -> None:
    code, _ = make_voucher(make_product(duration_days=30), valid_until=BIRTH + SECOND)
    first = redeem(code)
    before = dump()

    again = redeem(codes.shown(code).lower(), way=way, after=days(4000))

    assert not again.is_new
    assert again.release_code == first.release_code
    assert again.redeemed_at == first.redeemed_at
    assert again.expires_on == first.expires_on
    assert again.functions == []  # its thirty days are over
    assert dump() == before


def test_a_voucher_that_was_sold_a_moment_ago_redeems() -> None:
    code, voucher_id = make_voucher(activated=False)
    assert refused(code) == "voucher-not-activated"
    activate(voucher_id, now=BIRTH)
    assert redeem(code).is_new


def test_a_code_of_an_earlier_key_redeems_and_so_does_one_of_a_new_key() -> None:
    old, _ = make_voucher()
    folder = ground().settings.data_dir / "keys" / "voucher-code"
    # As another process does it: nobody has told this one.
    (folder / "2.key").write_text("ab" * 32 + "\n", encoding="ascii")
    new = codes.draw()
    digest = keyed_digest(VersionedKey(2, bytes.fromhex("ab" * 32)), new.encode())
    _, voucher_id = make_voucher(code=new, digest=(2, digest))

    assert redeem(new).is_new
    assert redeem(old).is_new
    assert voucher_row(voucher_id).key_version == 2


def test_what_was_sold_keeps_its_meaning_whatever_becomes_of_the_product() -> None:
    code, _ = make_voucher(make_product())
    make_product(quantity=99, names={"de": "99", "en": "99", "fr": "99"})
    with transaction() as session:
        session.execute(
            sa.text("UPDATE product SET retired_at = :now"), {"now": "2027-01-01"}
        )
    assert redeem(code).quantity == 10


# After a reversal the voucher is whole again.


def reverse(voucher_id: int) -> None:
    """Do what a reversal by two people does."""
    with transaction() as session:
        release = session.scalars(
            select(ReleaseCode).where(ReleaseCode.voucher_id == voucher_id)
        ).one()
        session.add(
            LedgerEntry(
                happened_at=BIRTH,
                kind="reversed",
                actor="Bo",
                voucher_id=voucher_id,
                release_id=release.id,
                device_id=release.device_id,
            )
        )
        session.flush()
        session.execute(
            update(Voucher)
            .where(Voucher.id == voucher_id)
            .values(redeemed_by_id=None, redeemed_at=None)
        )


def test_after_a_reversal_the_same_pbx_gets_the_same_code_again() -> None:
    code, voucher_id = make_voucher(make_product(duration_days=30, trial=True))
    first = redeem(code)
    reverse(voucher_id)

    again = redeem(code, after=days(5))

    assert again.is_new
    assert again.release_code == first.release_code
    assert again.redeemed_at == BIRTH + days(5)
    assert again.expires_on == first.expires_on
    assert [each.quantity for each in again.functions] == [10]
    assert len(release_rows()) == 1
    assert [row.kind for row in ledger_rows()] == ["redeemed", "reversed", "redeemed"]


def test_after_a_reversal_a_code_whose_time_is_over_is_not_wasted() -> None:
    code, voucher_id = make_voucher(make_product(duration_days=30))
    redeem(code)
    reverse(voucher_id)
    assert refused(code, after=days(60)) == "voucher-without-effect"
    assert redeem(code, OTHER, after=days(60)).is_new  # it is good for another


def test_after_a_reversal_another_pbx_may_have_it() -> None:
    code, voucher_id = make_voucher()
    first = redeem(code)
    reverse(voucher_id)
    other = redeem(code, OTHER)
    assert other.is_new
    assert other.release_code != first.release_code
    assert refused(code) == "voucher-already-redeemed"


# A fault of ours is no verdict.


def test_a_missing_master_key_is_a_fault_of_ours_and_changes_nothing() -> None:
    code, _ = make_voucher()
    with transaction() as session:
        session.execute(update(Device).values(release_key_version=7))
    before = dump()
    with pytest.raises(MissingKey):
        redeem(code)
    assert dump() == before


def test_what_an_ask_and_an_answer_hold_is_silent_in_logs() -> None:
    code, _ = make_voucher()
    said = repr(redeem(code)) + repr(
        redemptions.Ask([code.encode()], SERIAL, Way.PBX, "192.0.2.7", None, BIRTH)
    )
    for secret in (SERIAL, code, release_rows()[0].code):
        assert secret not in said
    assert json.dumps(said)
