# SPDX-License-Identifier: Apache-2.0
"""Whatever a network, a portal or a thief sends: it is nothing."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pbx.simulated import (
    DAY,
    JSON,
    PROBLEM,
    encode,
    problem,
    sign,
    tampered,
)
from pbx.world import World, make_firmware, make_pbx, make_running, make_world

from fleet.pbx import errors
from fleet.pbx.documents import thumbprint
from fleet.pbx.errors import Nothing
from fleet.pbx.lease import Lease
from fleet.pbx.life import Standing
from fleet.pbx.transport import Answer, Request

INITIALISE = "/cic/v1/initialise"
KEY_SET = "/cic/v1/keyset"
PORTAL = b"<!doctype html><html><body>Welcome! Please log in.</body></html>"


def plain(status: int, body: bytes, content_type: str = "text/html") -> Answer:
    return Answer(status=status, headers={"content-type": content_type}, body=body)


ANSWERS = {
    "captive portal": plain(200, PORTAL),
    "portal that claims JSON": Answer(status=200, headers=JSON, body=PORTAL),
    "redirect": plain(302, b""),
    "permanent redirect": plain(308, b""),
    "no content": plain(204, b""),
    "empty": plain(200, b""),
    "forbidden": problem(403, "device-not-recognised"),
    "not permitted": problem(403, "device-not-permitted"),
    "gone": plain(410, b"gone"),
    "unpaid": plain(402, b"pay"),
    "server error": plain(500, b"Internal Server Error"),
    "bad gateway": plain(502, PORTAL),
    "a problem that is none": Answer(status=400, headers=PROBLEM, body=b"[]"),
    "a problem with a strange type": Answer(
        status=409, headers=PROBLEM, body=b'{"type": "/problems/<script>"}'
    ),
    "truncated JSON": Answer(status=200, headers=JSON, body=b'{"lease": "eyJhb'),
    "ten megabytes": Answer(status=200, headers=JSON, body=b"{" + b" " * 10_000_000),
    "deeply nested": Answer(status=200, headers=JSON, body=b"[" * 100_000),
    "a list": Answer(status=200, headers=JSON, body=b"[]"),
    "null": Answer(status=200, headers=JSON, body=b"null"),
    "not UTF-8": Answer(status=200, headers=JSON, body=b'{"lease": "\xff"}'),
    "a number too long": Answer(status=200, headers=JSON, body=b"9" * 100_000),
    "lease is no text": Answer(status=200, headers=JSON, body=b'{"lease": 5}'),
    "lone surrogate": Answer(
        status=200, headers=JSON, body=rb'{"lease": "\ud800.\ud800.\ud800"}'
    ),
    "unsigned no": Answer(status=200, headers=JSON, body=b'{"verdict": "blocked"}'),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_without_signature_is_nothing(answer: Answer) -> None:
    world = make_running()
    before = world.pbx.record
    world.vendor.meddler = lambda _, __: answer

    assert isinstance(world.pbx.check(), Nothing)
    assert isinstance(world.pbx.renew(), Nothing)
    assert isinstance(world.pbx.initialise(), Nothing)

    assert world.stands() is Standing.RUNNING
    assert world.pbx.record.credentials == before.credentials
    assert world.pbx.record.continuation == before.continuation


def lease_by(
    world: World, make: Callable[[dict[str, Any]], str]
) -> Callable[[Request, Callable[[], Answer]], Answer]:
    """Answer with a lease that ``make`` makes from honest claims."""

    def meddle(request: Request, honestly: Callable[[], Answer]) -> Answer:
        if request.path == KEY_SET:
            return honestly()
        claims = world.vendor.lease_claims(json.loads(request.body)["nonce"])
        return tampered(honestly(), lease=make(claims))

    return meddle


def changing(**changes: Any) -> Callable[[World], Callable[[dict[str, Any]], str]]:
    def of(world: World) -> Callable[[dict[str, Any]], str]:
        key = world.vendor.signer
        return lambda claims: sign({**claims, **changes}, key, typ="cic-lease+jwt")

    return of


def heading(**header: str) -> Callable[[World], Callable[[dict[str, Any]], str]]:
    def of(world: World) -> Callable[[dict[str, Any]], str]:
        key, typ = world.vendor.signer, "cic-lease+jwt"
        return lambda claims: sign(claims, key, **{"typ": typ, **header})

    return of


def alg_none(_: World) -> Callable[[dict[str, Any]], str]:
    head = {"alg": "none", "typ": "cic-lease+jwt", "kid": "none"}
    return lambda claims: f"{encode(head)}.{encode(claims)}."


def by_a_stranger(_: World) -> Callable[[dict[str, Any]], str]:
    stranger = Ed25519PrivateKey.generate()
    return lambda claims: sign(claims, stranger, typ="cic-lease+jwt")


def by_a_stranger_under_our_kid(world: World) -> Callable[[dict[str, Any]], str]:
    stranger = Ed25519PrivateKey.generate()
    kid = thumbprint(world.vendor.signer.public_key())
    return lambda claims: sign(claims, stranger, typ="cic-lease+jwt", kid=kid)


def with_another_payload(world: World) -> Callable[[dict[str, Any]], str]:
    def make(claims: dict[str, Any]) -> str:
        blocked = {**claims, "verdict": "blocked"}
        head, _, mac = sign(claims, world.vendor.signer, typ="cic-lease+jwt").split(".")
        return f"{head}.{encode(blocked)}.{mac}"

    return make


def by_the_root(world: World) -> Callable[[dict[str, Any]], str]:
    return lambda claims: sign(claims, world.vendor.root, typ="cic-lease+jwt")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (alg_none, errors.WrongAlgorithm),
        (heading(alg="HS256"), errors.WrongAlgorithm),
        (heading(alg="Ed25519"), errors.WrongAlgorithm),
        (heading(typ="entitlements+jwt"), errors.WrongType),
        (heading(typ="JWT"), errors.WrongType),
        (heading(typ="CIC-LEASE+JWT"), errors.WrongType),
        (heading(kid="unknown"), errors.UnknownKey),
        (heading(kid=""), errors.Malformed),
        (heading(crit="exp"), errors.Malformed),
        (by_a_stranger, errors.UnknownKey),
        (by_a_stranger_under_our_kid, errors.BadSignature),
        (with_another_payload, errors.BadSignature),
        (by_the_root, errors.UnknownKey),
        (changing(sub="OTHERPBX01"), errors.WrongSubject),
        (changing(nonce="of-another-question"), errors.WrongNonce),
        (changing(generation=0), errors.GenerationFell),
        (changing(exp=1_000_000_000), errors.Expired),
        (changing(verdict="perhaps"), errors.Malformed),
        (changing(verdict=["active"]), errors.Malformed),
        (changing(server_time="yesterday"), errors.Malformed),
        (changing(server_time="2030-01-01T12:00:00"), errors.Malformed),
        (changing(server_time="0001-01-01T00:00:00+14:00"), errors.Malformed),
        (changing(lock_at=None), errors.Malformed),
        (changing(lock_at="9999-12-31T23:59:59Z"), errors.Malformed),
        (changing(warn_at="2030-01-01T12:00:00Z"), errors.Malformed),
        (changing(warn_at=[17]), errors.Malformed),
        (changing(next_check_in=-1), errors.Malformed),
        (changing(next_check_in=True), errors.Malformed),
        (changing(retry_in="3600"), errors.Malformed),
        (changing(minimum_attempts=None), errors.Malformed),
        (changing(iat=1e300), errors.Malformed),
        (changing(iat=float("nan")), errors.Malformed),
        (changing(iss=None), errors.Malformed),
        (changing(jti=""), errors.Malformed),
    ],
)
def test_a_lease_that_is_not_exactly_right_is_nothing(
    make: Callable[[World], Callable[[dict[str, Any]], str]],
    error: type[Nothing],
) -> None:
    world = make_running()
    world.vendor.meddler = lease_by(world, make(world))

    assert type(world.pbx.check()) is error
    assert world.stands() is Standing.RUNNING
    assert world.pbx.state.failed_attempts == 1


def test_claims_and_headers_from_a_later_server_are_ignored() -> None:
    world = make_running()
    world.vendor.meddler = lease_by(
        world,
        lambda claims: sign(
            {**claims, "mood": "good"},
            world.vendor.signer,
            typ="cic-lease+jwt",
            mood="-",
        ),
    )

    assert isinstance(world.pbx.check(), Lease)


def test_a_recorded_yes_cannot_be_played_back() -> None:
    world = make_running()
    recorded: list[Answer] = []

    def record(_: Request, honestly: Callable[[], Answer]) -> Answer:
        recorded.append(honestly())
        return recorded[0]

    world.vendor.meddler = record
    assert isinstance(world.pbx.check(), Lease)
    world.vendor.verdict = "blocked"

    assert type(world.pbx.check()) is errors.WrongNonce
    assert world.stands() is Standing.RUNNING


def test_a_recorded_no_cannot_be_played_back_either() -> None:
    world = make_running()
    world.vendor.verdict = "blocked"
    world.pbx.check()
    recorded = world.vendor.lease("an-older-nonce-of-the-same-pbx")
    world.vendor.verdict = "active"
    world.pbx.check()
    world.vendor.meddler = lambda _, honestly: tampered(honestly(), lease=recorded)

    world.pbx.check()

    assert world.stands() is Standing.RUNNING


def test_an_answer_cut_off_at_any_byte_is_nothing() -> None:
    world = make_running()
    reached = iter(range(10_000))

    def cut(_: Request, honestly: Callable[[], Answer]) -> Answer:
        answer = honestly()
        return replace(answer, body=answer.body[: next(reached)])

    world.vendor.meddler = cut
    heard = world.pbx.check()
    while isinstance(heard, Nothing):
        heard = world.pbx.check()

    whole = world.vendor.lease("a-nonce-of-some-forty-symbols-as-usual-here")
    assert next(reached) > len(whole)
    assert world.stands() is Standing.RUNNING


def test_a_new_key_is_fetched_when_a_lease_is_signed_with_it() -> None:
    world = make_running()
    world.vendor.signer = Ed25519PrivateKey.generate()
    world.vendor.key_set_version = 2

    assert isinstance(world.pbx.check(), Lease)

    assert isinstance(world.pbx.check(), Lease)
    assert len([r for r, _ in world.vendor.requests if r.path == KEY_SET]) == 1


def test_a_key_set_in_json_is_read_as_well() -> None:
    world = make_running()
    world.vendor.signer = Ed25519PrivateKey.generate()

    def in_json(request: Request, honestly: Callable[[], Answer]) -> Answer:
        answer = honestly()
        if request.path != KEY_SET:
            return answer
        body = json.dumps({"keyset": answer.body.decode()}).encode()
        return Answer(status=200, headers=JSON, body=body)

    world.vendor.meddler = in_json

    assert isinstance(world.pbx.check(), Lease)


def test_an_older_key_set_is_refused() -> None:
    world = make_running(key_set_version=7)
    world.vendor.signer = Ed25519PrivateKey.generate()
    world.vendor.key_set_version = 6

    assert type(world.pbx.check()) is errors.KeySetRollback
    world.reboot()
    assert type(world.pbx.check()) is errors.KeySetRollback
    assert type(world.pbx.initialise()) is errors.KeySetRollback


def test_a_key_set_of_another_root_is_refused() -> None:
    world = make_running()
    world.vendor.root = Ed25519PrivateKey.generate()
    world.vendor.signer = Ed25519PrivateKey.generate()

    assert type(world.pbx.check()) is errors.UnknownKey


def test_a_lease_does_not_pass_for_a_key_set() -> None:
    world = make_running()
    key_set = world.vendor.key_set_claims()
    world.vendor.signer = Ed25519PrivateKey.generate()
    forged = sign(key_set, world.vendor.root, typ="cic-lease+jwt")
    world.vendor.meddler = lambda request, honestly: (
        plain(200, forged.encode()) if request.path == KEY_SET else honestly()
    )

    assert type(world.pbx.check()) is errors.WrongType


def test_a_key_of_another_purpose_signs_no_lease() -> None:
    world = make_world(purpose="entitlements")

    assert type(world.pbx.initialise()) is errors.WrongPurpose
    assert world.stands() is Standing.UNINITIALISED


def test_a_key_signs_nothing_outside_its_validity() -> None:
    world = make_world()
    world.vendor.keys_from = world.vendor.now + DAY

    assert type(world.pbx.initialise()) is errors.KeyNotValid


def test_an_expired_key_set_is_fetched_anew_and_then_refused() -> None:
    world = make_running(key_set_lasts=timedelta(days=5))
    world.pbx.live_for(4 * DAY)
    assert world.stands() is Standing.RUNNING

    world.pbx.live_for(10 * DAY)

    assert type(world.pbx.check()) is errors.KeySetExpired
    assert world.pbx.functions_enabled
    world.vendor.key_set_lasts = timedelta(days=365)
    world.vendor.key_set_version += 1
    assert isinstance(world.pbx.check(), Lease)


def test_a_certificate_over_another_key_is_refused() -> None:
    world = make_world()
    other = make_running()
    assert other.pbx.record.credentials is not None
    chain = other.pbx.record.credentials.chain
    world.vendor.meddler = lambda _, honestly: tampered(
        honestly(), certificate_chain=chain
    )

    assert type(world.pbx.initialise()) is errors.WrongCertificate
    assert world.stands() is Standing.UNINITIALISED


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("release_key", "AAAA"),
        ("release_key", "€"),
        ("release_key", None),
        ("certificate_chain", "-----BEGIN CERTIFICATE-----"),
        ("certificate_chain", ""),
        ("keyset", "a.b.c"),
        ("lease", ""),
    ],
)
def test_an_initialisation_is_taken_whole_or_not_at_all(
    field: str, value: str | None
) -> None:
    world = make_world()
    world.vendor.meddler = lambda _, honestly: tampered(honestly(), **{field: value})

    assert type(world.pbx.initialise()) is errors.Malformed

    assert world.pbx.record.credentials is None
    assert world.pbx.record.key_set is None
    world.vendor.meddler = None
    assert isinstance(world.pbx.initialise(), Lease)
    assert world.vendor.generation == 1


@pytest.mark.parametrize("body", [b"", b"!", b"AAAA", base64.b64encode(PORTAL)])
def test_a_renewal_that_is_no_pkcs7_keeps_the_old_certificate(body: bytes) -> None:
    world = make_running()
    before = world.pbx.record.credentials
    world.vendor.meddler = lambda _, __: plain(200, body)

    assert type(world.pbx.renew()) is errors.Malformed
    assert world.pbx.record.credentials == before


def test_a_pinned_issuer_is_demanded() -> None:
    world = make_world()
    firmware = make_firmware(world, issuer="https://other.example")
    pbx = make_pbx(world, firmware=firmware)
    pbx.boot()

    assert type(pbx.initialise()) is errors.WrongIssuer


def test_a_secret_is_in_no_text_that_may_be_logged() -> None:
    world = make_running()
    world.vendor.meddler = lambda _, __: problem(403, "device-not-recognised")
    world.pbx.initialise()

    heard = " ".join(map(repr, world.said)) + repr(world.pbx.record)

    assert "factory-written-secret" not in heard
    assert "PRIVATE KEY" not in heard
