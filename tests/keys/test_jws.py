# SPDX-License-Identifier: Apache-2.0
"""Signed documents: what is one, and what is nothing."""

import base64
import json
import subprocess
from pathlib import Path

import pytest
from joserfc.errors import SecurityWarning
from joserfc.jws import JWSRegistry, serialize_compact

from fleet.keys import jws
from fleet.keys.errors import DocumentFault, KeyFault

KEY = jws.new_key()
KID = KEY.thumbprint()
TYP = "cic-lease+jwt"
CLAIMS = {"sub": "CX1000000001", "nonce": "n", "jti": "é", "lock_at": None}


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed_by_hand(header: object, payload: object, key: object = KEY) -> str:
    message = f"{encoded(header)}.{encoded(payload)}"
    return f"{message}.{encoded(key.private_key.sign(message.encode()))}"


def verified(token: str) -> dict[str, object]:
    return jws.verify(token, jws.public_half(KEY), kid=KID, typ=TYP)


def test_what_is_signed_can_be_verified() -> None:
    token = jws.sign(KEY, kid=KID, typ=TYP, claims=CLAIMS)
    assert verified(token) == CLAIMS
    assert jws.header_of(token) == {"alg": "EdDSA", "kid": KID, "typ": TYP}


@pytest.mark.parametrize(
    "claims", [{}, CLAIMS, {"a": [1, 2.5, None, True, {"b": '\\ " \u2028 \U0001f600'}]}]
)
def test_a_token_is_byte_for_byte_what_the_library_makes(
    claims: dict[str, object],
) -> None:
    payload = json.dumps(claims, separators=(",", ":"))
    header = {"alg": "EdDSA", "kid": KID, "typ": TYP}
    registry = JWSRegistry(algorithms=["EdDSA"])
    with pytest.warns(SecurityWarning):  # of the name that RFC 9864 would not use
        theirs = serialize_compact(header, payload, KEY, registry=registry)
    for _ in range(2):
        assert jws.sign(KEY, kid=KID, typ=TYP, claims=claims) == theirs
    assert jws.sign(KEY, kid=KID, typ="other+jwt", claims=claims) != theirs


def test_a_public_half_signs_nothing() -> None:
    with pytest.raises(KeyFault):
        jws.sign(jws.public_half(KEY), kid=KID, typ=TYP, claims=CLAIMS)


def test_openssl_agrees_with_the_signature(tmp_path: Path) -> None:
    message, _, signature = jws.sign(KEY, kid=KID, typ=TYP, claims=CLAIMS).rpartition(
        "."
    )
    (tmp_path / "message").write_text(message)
    (tmp_path / "signature").write_bytes(base64.urlsafe_b64decode(signature + "=="))
    (tmp_path / "key").write_bytes(jws.public_pem(KEY))
    command = "openssl pkeyutl -verify -rawin -pubin -inkey key -in message"
    done = subprocess.run(
        [*command.split(), "-sigfile", "signature"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_thumbprint_is_that_of_rfc_8037_appendix_a_3() -> None:
    key = jws.public_key_from("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    assert key.thumbprint() == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


GOOD = {"alg": "EdDSA", "kid": KID, "typ": TYP}


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({**GOOD, "alg": "none"}, id="no algorithm"),
        pytest.param({**GOOD, "alg": "Ed25519"}, id="the same by another name"),
        pytest.param({**GOOD, "alg": "HS256"}, id="a symmetric algorithm"),
        pytest.param({**GOOD, "typ": "keyset+jwt"}, id="another kind of document"),
        pytest.param({"alg": "EdDSA", "kid": KID}, id="no kind"),
        pytest.param({"alg": "EdDSA", "typ": TYP}, id="no key"),
        pytest.param({**GOOD, "kid": "other"}, id="another key's name"),
        pytest.param({**GOOD, "kid": None}, id="a key that is null"),
        pytest.param({**GOOD, "crit": ["exp"], "exp": 1}, id="a critical extension"),
        pytest.param({**GOOD, "b64": False, "crit": ["b64"]}, id="not encoded"),
        pytest.param({**GOOD, "jwk": {"kty": "OKP"}}, id="a key brought along"),
        pytest.param([GOOD], id="a list"),
        pytest.param("text", id="text"),
        pytest.param(b"\xff\xfe", id="no text at all"),
    ],
)
def test_a_header_that_is_not_exactly_ours_makes_it_nothing(header: object) -> None:
    assert verified(signed_by_hand(GOOD, CLAIMS)) == CLAIMS
    with pytest.raises(DocumentFault):
        verified(signed_by_hand(header, CLAIMS))


@pytest.mark.parametrize("payload", [[], "text", 1, None, b"{", b"\xff", b"{" * 90000])
def test_a_payload_that_is_no_object_makes_it_nothing(payload: object) -> None:
    with pytest.raises(DocumentFault):
        verified(signed_by_hand(GOOD, payload))


def test_another_key_makes_it_nothing() -> None:
    with pytest.raises(DocumentFault):
        verified(signed_by_hand(GOOD, CLAIMS, jws.new_key()))


def test_each_changed_symbol_makes_it_nothing() -> None:
    token = signed_by_hand(GOOD, {"a": 1})
    for place in range(0, len(token) - 1, 3):
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(DocumentFault):
            verified(token[:place] + other + token[place + 1 :])


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b", "a.b.c.d", "é.é.é", "a.b." + "A" * 86, "\ud800", "=.=.="],
)
def test_what_is_no_jws_is_nothing(token: str) -> None:
    with pytest.raises(DocumentFault):
        verified(token)


def test_white_space_and_padding_make_it_nothing() -> None:
    token = signed_by_hand(GOOD, CLAIMS)
    for other in (token + "\n", " " + token, token + "==", token.replace(".", ". ")):
        with pytest.raises(DocumentFault):
            verified(other)


@pytest.mark.parametrize("claims", [{"a": float("nan")}, {"a": object()}])
def test_claims_that_json_cannot_say_are_not_signed(claims: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        jws.sign(KEY, kid=KID, typ=TYP, claims=claims)


def test_a_key_survives_its_file() -> None:
    again = jws.read_private_pem(jws.private_pem(KEY))
    assert again.thumbprint() == KID
    assert jws.read_public_pem(jws.public_pem(KEY)).thumbprint() == KID


@pytest.mark.parametrize("pem", [b"", b"text", jws.public_pem(KEY)])
def test_what_is_no_private_key_is_refused(pem: bytes) -> None:
    with pytest.raises(KeyFault):
        jws.read_private_pem(pem)


@pytest.mark.parametrize("x", ["", "AA", "!" * 43, "A" * 44])
def test_what_is_no_public_key_is_refused(x: str) -> None:
    with pytest.raises(KeyFault):
        jws.public_key_from(x)


def test_a_private_key_is_never_printed() -> None:
    secret = KEY.as_dict(private=True)["d"]
    assert secret not in repr(KEY)
