# SPDX-License-Identifier: Apache-2.0
"""The key set: what the root signs, and what is refused for it."""

from datetime import UTC, datetime, timedelta

import pytest

from fleet.keys import jws
from fleet.keys.errors import DocumentFault, KeyFault, KeySetFault
from fleet.keys.keyset import (
    KEY_SET_LIFE,
    LONGEST_DOCUMENT,
    KeySet,
    ListedKey,
    expiry_warnings,
    listed,
    next_key_set,
    read_jwk,
    read_key_set,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ROOT = jws.new_key()
LEASE_KEY = jws.new_key()


def make_entry(
    purpose: str = "cic-lease",
    *,
    key: object = None,
    begins: datetime = NOON,
    days: int = 100,
) -> ListedKey:
    return listed(
        key or jws.new_key(),
        purpose=purpose,
        not_before=begins,
        not_after=begins + timedelta(days=days),
    )


def make_set(
    *entries: ListedKey,
    after: KeySet | None = None,
    now: datetime = NOON,
    **more: object,
) -> KeySet:
    token = next_key_set(
        after, entries, root=ROOT, issuer="https://pbx.example", now=now, **more
    )
    return read_key_set(token, jws.public_half(ROOT))


def signed(claims: object, *, root: object = ROOT, typ: str = "keyset+jwt") -> str:
    return jws.sign(root, kid=root.thumbprint(), typ=typ, claims=claims)


def good_claims() -> dict[str, object]:
    return {
        "iss": "https://pbx.example",
        "iat": 1,
        "exp": 2,
        "jti": "j",
        "version": 1,
        "keys": [make_entry().as_jwk()],
    }


def test_a_set_says_what_it_was_made_of() -> None:
    entry = make_entry()
    key_set = make_set(entry)
    assert key_set.keys == (entry,)
    assert key_set.version == 1
    assert key_set.issuer == "https://pbx.example"
    assert key_set.issued_at == NOON
    assert key_set.expires_at == NOON + KEY_SET_LIFE
    assert jws.header_of(key_set.token)["kid"] == ROOT.thumbprint()
    assert key_set.jwks() == {"keys": [entry.as_jwk()]}


def test_a_listed_key_is_written_as_the_protocol_says() -> None:
    entry = make_entry(key=LEASE_KEY, days=1)
    assert entry.as_jwk() == {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": LEASE_KEY.as_dict(private=False)["x"],
        "kid": LEASE_KEY.thumbprint(),
        "use": "sig",
        "alg": "EdDSA",
        "purpose": "cic-lease",
        "not_before": "2026-11-22T12:00:00Z",
        "not_after": "2026-11-23T12:00:00Z",
    }


def test_versions_rise_and_keys_stay() -> None:
    first = make_set(make_entry())
    second = make_set(make_entry("entitlements"), after=first)
    assert second.version == 2
    assert set(first.keys) < set(second.keys)


def test_an_old_key_stays_as_long_as_anything_it_signed_can_be_valid() -> None:
    old = make_entry(days=10)
    first = make_set(old)
    gone_at = old.not_after + LONGEST_DOCUMENT
    assert old in make_set(after=first, now=gone_at - timedelta(seconds=1)).keys
    assert old not in make_set(after=first, now=gone_at).keys


def test_a_stolen_key_goes_at_once() -> None:
    stolen, other = make_entry(), make_entry()
    first = make_set(stolen, other)
    assert make_set(after=first, without=[stolen.kid]).keys == (other,)


def test_a_document_is_verified_by_the_key_of_its_purpose_only() -> None:
    key_set = make_set(make_entry(key=LEASE_KEY))
    kid = LEASE_KEY.thumbprint()
    good = jws.sign(LEASE_KEY, kid=kid, typ="cic-lease+jwt", claims={"a": 1})
    assert key_set.verify(good, purpose="cic-lease") == {"a": 1}
    for typ, purpose in (
        ("entitlements+jwt", "cic-lease"),
        ("entitlements+jwt", "entitlements"),
        ("cic-lease+jwt", "entitlements"),
        ("keyset+jwt", "keyset"),
    ):
        token = jws.sign(LEASE_KEY, kid=kid, typ=typ, claims={"a": 1})
        with pytest.raises(DocumentFault):
            key_set.verify(token, purpose=purpose)


def test_a_set_of_another_root_is_refused() -> None:
    claims = good_claims()
    assert read_key_set(signed(claims), ROOT).version == 1
    other = jws.new_key()
    with pytest.raises(KeySetFault):
        read_key_set(signed(claims, root=other), ROOT)
    imitated = jws.sign(other, kid=ROOT.thumbprint(), typ="keyset+jwt", claims=claims)
    with pytest.raises(KeySetFault):
        read_key_set(imitated, ROOT)


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1"},
        {"version": True},
        {"version": 1.5},
        {"version": None},
        {"exp": "2031-01-01T00:00:00Z"},
        {"exp": 10**30},
        {"iat": None},
        {"iss": 1},
        {"keys": None},
        {"keys": {}, "version": None},
        {"keys": ["text"]},
        {"keys": [{}]},
        {"keys": [make_entry().as_jwk() | {"alg": "none"}]},
    ],
)
def test_a_set_that_lacks_something_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(KeySetFault):
        read_key_set(signed(good_claims() | change), ROOT)


def test_a_set_with_a_key_twice_is_refused() -> None:
    jwk = make_entry().as_jwk()
    with pytest.raises(KeySetFault, match="twice"):
        read_key_set(signed(good_claims() | {"keys": [jwk, jwk]}), ROOT)


def test_a_lease_is_no_key_set() -> None:
    with pytest.raises(KeySetFault):
        read_key_set(signed(good_claims(), typ="cic-lease+jwt"), ROOT)


@pytest.mark.parametrize(
    "change",
    [
        {"kid": "another"},
        {"use": "enc"},
        {"kty": "EC"},
        {"crv": "X25519"},
        {"x": make_entry().x},
        {"d": "AAAA"},
        {"purpose": "keyset"},
        {"purpose": "../up"},
        {"purpose": ""},
        {"not_before": "2026-11-22"},
        {"not_before": "2040-01-01T00:00:00Z"},
        {"not_after": "soon"},
        {"not_after": 1},
    ],
)
def test_a_listed_key_must_be_exactly_as_we_write_it(change: dict[str, object]) -> None:
    jwk = make_entry().as_jwk()
    assert read_jwk(jwk).as_jwk() == jwk
    with pytest.raises(KeyFault):
        read_jwk(jwk | change)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-1, False), (0, True), (86399, True), (86400, False)]
)
def test_a_key_signs_from_its_first_instant_until_just_before_its_last(
    seconds: int, *, expected: bool
) -> None:
    entry = make_entry(days=1)
    assert entry.may_sign_at(NOON + timedelta(seconds=seconds)) is expected


def test_what_ends_soon_is_said_in_time() -> None:
    key_set = make_set(make_entry(days=2000))
    assert expiry_warnings(key_set, key_set.expires_at - 366 * DAY) == []
    late = expiry_warnings(key_set, key_set.expires_at - 365 * DAY)
    assert len(late) == 1
    assert "root holder" in late[0]


def test_a_key_without_successor_is_warned_of() -> None:
    key_set = make_set(make_entry(days=100), make_entry("entitlements", days=900))
    assert expiry_warnings(key_set, NOON + 9 * DAY) == []
    assert "cic-lease" in expiry_warnings(key_set, NOON + 10 * DAY)[0]
    followed = make_set(make_entry(days=900), after=key_set)
    assert expiry_warnings(followed, NOON + 10 * DAY) == []
