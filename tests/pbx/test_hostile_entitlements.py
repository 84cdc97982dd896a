# SPDX-License-Identifier: Apache-2.0
"""Answers about functions that a PBX must not believe, and a PBX that loses power."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pbx.simulated import DAY, JSON, Meddler, encode, problem, sign, tampered
from pbx.simulated_center import Offer
from pbx.world import World, has, make_entitled, make_firmware, make_pbx

from fleet.pbx import errors
from fleet.pbx.documents import thumbprint
from fleet.pbx.errors import Nothing
from fleet.pbx.functions import Entitlements
from fleet.pbx.life import Standing
from fleet.pbx.transport import Answer, Request
from fleet.pbx.voucher_center import Released

ENTITLEMENTS = "/voucher/v1/entitlements"
KEY_SET = "/cic/v1/keyset"
TYP = "entitlements+jwt"

Claims = dict[str, Any]
Forger = Callable[[World], Callable[[Claims], str]]


def nonce_of(request: Request) -> str:
    if request.body:
        nonce: str = json.loads(request.body)["nonce"]
        return nonce
    return parse_qs(urlsplit(request.path).query)["nonce"][0]


def answering(world: World, make: Callable[[Claims], str]) -> Meddler:
    """Answer with entitlements that ``make`` makes from honest claims."""

    def meddle(request: Request, honestly: Callable[[], Answer]) -> Answer:
        if not request.path.startswith("/voucher/"):
            return honestly()
        claims = world.vendor.entitlements_claims(nonce_of(request))
        return tampered(honestly(), entitlements=make(claims))

    return meddle


def changing(**changes: Any) -> Forger:
    def of(world: World) -> Callable[[Claims], str]:
        key = world.vendor.entitler
        return lambda claims: sign({**claims, **changes}, key, typ=TYP)

    return of


def with_function(**changes: Any) -> Forger:
    line = {
        "function": "users",
        "quantity": 1000,
        "expires_on": None,
        "source": "grant",
    }
    return changing(functions=[{**line, **changes}])


def without(*names: str) -> Forger:
    def of(world: World) -> Callable[[Claims], str]:
        key = world.vendor.entitler

        def make(claims: Claims) -> str:
            left = {name: each for name, each in claims.items() if name not in names}
            return sign(left, key, typ=TYP)

        return make

    return of


def heading(**header: str) -> Forger:
    def of(world: World) -> Callable[[Claims], str]:
        key = world.vendor.entitler
        return lambda claims: sign(claims, key, **{"typ": TYP, **header})

    return of


def signed_by(key: Callable[[World], Ed25519PrivateKey], **header: str) -> Forger:
    def of(world: World) -> Callable[[Claims], str]:
        return lambda claims: sign(claims, key(world), typ=TYP, **header)

    return of


def unsigned(_: World) -> Callable[[Claims], str]:
    head = {"alg": "none", "typ": TYP, "kid": "none"}
    return lambda claims: f"{encode(head)}.{encode(claims)}."


def by_a_stranger_under_our_kid(world: World) -> Callable[[Claims], str]:
    stranger = Ed25519PrivateKey.generate()
    kid = thumbprint(world.vendor.entitler.public_key())
    return lambda claims: sign(claims, stranger, typ=TYP, kid=kid)


def with_another_payload(world: World) -> Callable[[Claims], str]:
    def make(claims: Claims) -> str:
        head, _, mac = sign(claims, world.vendor.entitler, typ=TYP).split(".")
        return f"{head}.{encode({**claims, 'functions': []})}.{mac}"

    return make


def a_lease(world: World) -> Callable[[Claims], str]:
    """A real lease over this very nonce, with functions written into it."""
    return lambda claims: sign(
        {**world.vendor.lease_claims(claims["nonce"]), **claims},
        world.vendor.signer,
        typ="cic-lease+jwt",
    )


@pytest.mark.parametrize(
    ("forge", "error"),
    [
        pytest.param(unsigned, errors.WrongAlgorithm, id="unsigned"),
        pytest.param(heading(alg="HS256"), errors.WrongAlgorithm, id="symmetric"),
        pytest.param(heading(typ="cic-lease+jwt"), errors.WrongType, id="as a lease"),
        pytest.param(heading(typ="JWT"), errors.WrongType, id="as anything"),
        pytest.param(heading(crit="exp"), errors.Malformed, id="an extension"),
        pytest.param(a_lease, errors.WrongType, id="a lease"),
        pytest.param(
            signed_by(lambda _: Ed25519PrivateKey.generate()),
            errors.UnknownKey,
            id="by a stranger",
        ),
        pytest.param(
            by_a_stranger_under_our_kid, errors.BadSignature, id="under our name"
        ),
        pytest.param(
            signed_by(lambda world: world.vendor.signer),
            errors.WrongPurpose,
            id="by the key of leases",
        ),
        pytest.param(
            signed_by(lambda world: world.vendor.root), errors.UnknownKey, id="by root"
        ),
        pytest.param(with_another_payload, errors.BadSignature, id="payload swapped"),
        pytest.param(changing(sub="OTHERPBX01"), errors.WrongSubject, id="another PBX"),
        pytest.param(changing(nonce="of-another"), errors.WrongNonce, id="old nonce"),
        pytest.param(changing(iat=1_000_000_000), errors.KeyNotValid, id="too early"),
        pytest.param(changing(iat=None), errors.Malformed, id="no instant"),
        pytest.param(changing(iss=None), errors.Malformed, id="from nobody"),
        pytest.param(changing(jti=""), errors.Malformed, id="no name"),
        pytest.param(without("functions"), errors.Malformed, id="no functions"),
        pytest.param(without("expires"), errors.Malformed, id="no expires"),
        pytest.param(changing(expires="soon"), errors.Malformed, id="odd expires"),
        pytest.param(changing(functions=None), errors.Malformed, id="null"),
        pytest.param(changing(functions={}), errors.Malformed, id="an object"),
        pytest.param(changing(functions=["users"]), errors.Malformed, id="texts"),
        pytest.param(
            changing(functions=[[]] * 10_001), errors.Malformed, id="far too many"
        ),
        pytest.param(changing(last_sequence=-1), errors.Malformed, id="below zero"),
        pytest.param(changing(last_sequence="9"), errors.Malformed, id="a text"),
        pytest.param(with_function(function=""), errors.Malformed, id="no name"),
        pytest.param(with_function(quantity="10"), errors.Malformed, id="no number"),
        pytest.param(with_function(quantity=-1), errors.Malformed, id="negative"),
        pytest.param(with_function(quantity=True), errors.Malformed, id="true"),
        pytest.param(with_function(quantity=1.5), errors.Malformed, id="a half"),
        pytest.param(with_function(source=None), errors.Malformed, id="no source"),
        pytest.param(with_function(expires_on=0), errors.Malformed, id="day 0"),
        pytest.param(with_function(expires_on=""), errors.Malformed, id="no day"),
        pytest.param(
            with_function(expires_on="2030-02-30"), errors.Malformed, id="30 February"
        ),
        pytest.param(
            with_function(expires_on="20300228"), errors.Malformed, id="no hyphens"
        ),
        pytest.param(
            with_function(expires_on="2030-W01-1"), errors.Malformed, id="a week"
        ),
        pytest.param(
            with_function(expires_on="9999-12-31"), errors.Malformed, id="the last day"
        ),
        pytest.param(
            with_function(expires_on="2030-01-01T00:00:00Z"),
            errors.Malformed,
            id="an instant",
        ),
    ],
)
def test_entitlements_that_are_not_exactly_right_are_nothing(
    forge: Forger, error: type[Nothing]
) -> None:
    world = make_entitled()
    code = world.vendor.center.sell(Offer(5))
    before = world.pbx.state.holding
    world.vendor.meddler = answering(world, forge(world))

    assert type(world.pbx.sync()) is error
    assert type(world.pbx.redeem(code)) is error

    assert world.pbx.state.holding == before
    assert world.stands() is Standing.RUNNING
    assert world.pbx.state.failed_attempts == 0
    world.vendor.meddler = None
    assert isinstance(world.pbx.sync(), Entitlements)
    assert has(world) == {"users": 15}


def test_a_function_line_without_a_last_day_is_not_for_ever() -> None:
    world = make_entitled()
    line = {"function": "users", "quantity": 1000, "source": "voucher"}
    forge = changing(functions=[line])
    world.vendor.meddler = answering(world, forge(world))

    assert type(world.pbx.sync()) is errors.Malformed
    assert has(world) == {"users": 10}


@pytest.mark.parametrize(
    "answer",
    [
        problem(403, "device-not-permitted"),
        problem(404, "not-found"),
        Answer(status=200, headers=JSON, body=b"{}"),
        Answer(status=200, headers=JSON, body=b'{"entitlements": null}'),
        Answer(status=200, headers=JSON, body=b'{"functions": []}'),
        Answer(status=200, headers=JSON, body=b"<html>Please log in</html>"),
        Answer(status=204, headers={}, body=b""),
        Answer(status=302, headers={}, body=b""),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:20]!r}",
)
def test_an_answer_without_signature_takes_no_function_away(answer: Answer) -> None:
    world = make_entitled()
    world.vendor.meddler = lambda request, honestly: (
        answer if request.path.startswith(ENTITLEMENTS) else honestly()
    )

    assert isinstance(world.pbx.sync(), Nothing)
    world.pbx.live_for(3 * DAY)

    assert has(world) == {"users": 10}
    assert world.stands() is Standing.RUNNING


@pytest.mark.parametrize("next_sync_in", [None, -1, "86400", True, 1.5])
def test_a_sync_that_does_not_say_when_to_ask_again_is_nothing(
    next_sync_in: object,
) -> None:
    world = make_entitled()
    world.vendor.meddler = lambda request, honestly: (
        tampered(honestly(), next_sync_in=next_sync_in)
        if request.path.startswith(ENTITLEMENTS)
        else honestly()
    )

    assert type(world.pbx.sync()) is errors.Malformed
    assert has(world) == {"users": 10}


def test_recorded_entitlements_cannot_be_played_back() -> None:
    world = make_entitled()
    recorded: list[Answer] = []
    world.vendor.meddler = lambda _, honestly: (
        recorded.append(honestly()) or recorded[0]  # type: ignore[func-returns-value]  # append, then the first
    )
    assert isinstance(world.pbx.sync(), Entitlements)
    world.vendor.center.take_back(1)

    assert type(world.pbx.sync()) is errors.WrongNonce
    assert has(world) == {"users": 10}
    world.vendor.meddler = None
    world.pbx.sync()
    assert has(world) == {}


def test_entitlements_do_not_pass_for_a_lease() -> None:
    world = make_entitled()

    def swap(request: Request, honestly: Callable[[], Answer]) -> Answer:
        entitlements = world.vendor.entitlements(nonce_of(request))
        return tampered(honestly(), lease=entitlements)

    world.vendor.meddler = swap

    assert type(world.pbx.check()) is errors.WrongType


def test_claims_lines_and_sources_of_a_later_server_do_no_harm() -> None:
    world = make_entitled()
    line = {
        "function": "holograms",
        "quantity": 3,
        "expires_on": None,
        "source": "gift",
        "colour": "blue",
    }
    forge = changing(functions=[line], mood="good")
    world.vendor.meddler = answering(world, forge(world))

    assert isinstance(world.pbx.sync(), Entitlements)
    assert has(world) == {"holograms": 3}


def test_a_key_that_is_new_is_fetched_with_the_key_set() -> None:
    world = make_entitled()
    world.vendor.entitler = Ed25519PrivateKey.generate()
    world.vendor.key_set_version = 2

    assert isinstance(world.pbx.sync(), Entitlements)
    assert isinstance(world.pbx.sync(), Entitlements)
    assert len(world.vendor.asked(KEY_SET)) == 1


def test_a_pinned_issuer_is_demanded() -> None:
    world = make_entitled()
    world.pbx = make_pbx(
        world, firmware=make_firmware(world, issuer="https://other.example")
    )
    world.pbx.boot()

    assert type(world.pbx.sync()) is errors.WrongIssuer
    assert has(world) == {"users": 10}


@pytest.mark.parametrize(
    "release_code", ["", "40404-82G00-C1SQF-M4XR0-2D3EC", "?", "1" * 999]
)
def test_a_release_code_that_is_not_genuine_is_not_shown(release_code: str) -> None:
    """What was signed is taken all the same, or a stranger could keep it back."""
    world = make_entitled()
    world.vendor.meddler = lambda _, honestly: tampered(
        honestly(), release_code=release_code or "-"
    )

    heard = world.pbx.redeem(world.vendor.center.sell(Offer(5)))

    assert isinstance(heard, Released)
    assert heard.release_code is None
    assert has(world) == {"users": 15}
    assert world.pbx.record.vouchers == ()


def test_an_answer_cut_off_at_any_byte_is_nothing() -> None:
    world = make_entitled()
    code = world.vendor.center.sell(Offer(5))
    cuts: Iterator[int] = iter(range(10_000))

    def cut(_: Request, honestly: Callable[[], Answer]) -> Answer:
        answer = honestly()
        return replace(answer, body=answer.body[: next(cuts)])

    world.vendor.meddler = cut
    while isinstance(world.pbx.redeem(code), Nothing):
        assert has(world) == {"users": 10}

    assert next(cuts) > 400
    assert has(world) == {"users": 15}
    assert len(world.vendor.center.released) == 2


def test_no_code_and_no_key_is_in_a_text_that_may_be_logged() -> None:
    world = make_entitled()
    code = world.vendor.center.sell(Offer(5))
    typed = world.vendor.center.release(Offer(1))
    world.vendor.meddler = lambda _, __: problem(503, "service-unavailable")
    world.pbx.redeem(code)
    world.pbx.enter_code(typed)

    heard = " ".join(map(repr, world.said)) + repr(world.pbx.record)

    for secret in (code, typed, str(world.pbx.record.release_key)):
        assert secret not in heard
        assert secret.replace("-", "") not in heard
