# SPDX-License-Identifier: Apache-2.0
"""The functions of a PBX that knows nothing of us but the protocol page.

What was sold to it is there for as long as it was sold for: after lost answers, a
lockout with its re-initialisation, and on the PBX that takes its place.
"""

import secrets
from pathlib import Path
from typing import Any

import codes_by_the_text
import pytest
from faults.moved_clock import MovedClock
from service import Service
from wire.places import FIRST, SECOND, Make, later, refusal_of
from wire.plain_firmware import DAY, NotBelieved, PlainFirmware, base64url
from wire.shop import Shop

pytestmark = [
    pytest.mark.foreign("openssl"),
    pytest.mark.foreign("curl"),
    pytest.mark.foreign("gcc"),
    pytest.mark.foreign("age"),
]

USERS, FAX, TRIAL, CHANNELS = 17, 20, 30, 40


@pytest.fixture
def shop(service: Service, tmp_path: Path) -> Shop:
    shop = Shop(service, tmp_path)
    shop.product(USERS, "users")
    shop.product(FAX, "fax", unit="feature", quantity=1, duration_days=10)
    shop.product(TRIAL, "voicemail", quantity=3, duration_days=14, trial=True)
    shop.product(CHANNELS, "channels", quantity=2, device_types=["COMtrexx Business"])
    return shop


def function(
    name: str, quantity: int, ends: str | None = None, source: str = "voucher"
) -> dict[str, Any]:
    return {
        "function": name,
        "quantity": quantity,
        "expires_on": ends,
        "source": source,
    }


def day(clock: MovedClock, number: int) -> str:
    return (clock.now() + number * DAY).date().isoformat()


def test_functions_are_there_exactly_whatever_becomes_of_the_pbx(
    service: Service, clock: MovedClock, make_pbx: Make, shop: Shop
) -> None:
    pbx, heir = make_pbx(FIRST), make_pbx(SECOND)
    pbx.initialise()
    heir.initialise()
    assert pbx.sync() == []
    codes = shop.make(USERS, 4)
    _check_refusals(pbx, shop, codes)
    written = _redeem(pbx, heir, codes[0])

    ends, trial_ends = day(clock, 10), day(clock, 14)
    fax, *_ = shop.make(FAX, 1)
    shop.sell(fax, *codes[1:])
    pbx.redeem(fax)
    trial = pbx.start_trial(TRIAL)
    assert pbx.start_trial(TRIAL, status=200)["release_code"] == trial["release_code"]
    pbx.redeem(codes[1])
    assert pbx.sync() == [
        function("fax", 1, ends),
        function("users", 20),
        function("voicemail", 3, trial_ends, "trial"),
    ]

    later(service, clock, 16 * DAY)
    assert pbx.check()["verdict"] == "active"
    assert pbx.sync() == [function("users", 20)]
    assert refusal_of(lambda: pbx.start_trial(TRIAL)) == (409, "trial-already-used")

    later(service, clock, 40 * DAY)
    _check_lock(pbx, codes[2])
    assert pbx.sync() == [function("users", 30)]
    _check_typed_codes(pbx, written)
    _check_replacement(service, pbx, heir, codes)


def _check_refusals(pbx: PlainFirmware, shop: Shop, codes: list[str]) -> None:
    """Each refusal has its own code, and an honest slip is no attack."""
    unsold, wrong = codes[0], codes[0][:-1] + ("2" if codes[0][-1] != "2" else "3")
    letters = "".join(secrets.choice(codes_by_the_text.SYMBOLS) for _ in range(18))
    unknown = codes_by_the_text.checked(letters)
    for _ in range(12):  # more than the guesses that are allowed
        assert refusal_of(lambda: pbx.redeem(wrong)) == (400, "mistyped-code")
    assert refusal_of(lambda: pbx.redeem(unknown)) == (404, "voucher-not-valid")
    assert refusal_of(lambda: pbx.redeem(unsold)) == (409, "voucher-not-activated")
    shop.sell(unsold)
    (other,) = shop.make(CHANNELS, 1)
    shop.sell(other)
    refused = refusal_of(lambda: pbx.redeem(other))
    assert refused == (409, "voucher-not-for-this-device")


def _redeem(pbx: PlainFirmware, other: PlainFirmware, code: str) -> str:
    """Redeem a voucher, again and on another PBX; return its release code."""
    first = pbx.redeem(code)
    assert (first["product_number"], first["quantity"]) == (USERS, 10)
    assert first["functions"] == [function("users", 10)]
    assert pbx.read(first["release_code"]) == (1, 1, USERS, 10, None)
    for spelling in (code, code.lower(), code.replace("-", " ")):
        again = pbx.redeem(spelling, status=200)
        for same in ("release_code", "redeemed_at", "functions"):
            assert again[same] == first[same]
    refused = refusal_of(lambda: other.redeem(code))
    assert refused == (409, "voucher-already-redeemed")
    assert other.sync() == []
    assert other.read(first["release_code"]) is None
    return str(first["release_code"])


def _check_lock(pbx: PlainFirmware, code: str) -> None:
    """Locked, it may ask for everything and redeem nothing until it is initialised."""
    assert pbx.check()["verdict"] == "locked"
    locked = pbx.sync()
    for redeem in (lambda: pbx.redeem(code), lambda: pbx.start_trial(TRIAL)):
        assert refusal_of(redeem) == (403, "device-not-permitted")
    key = pbx.release_key
    assert pbx.initialise()["generation"] == 2
    assert pbx.release_key == key
    assert pbx.sync() == locked
    first = pbx.redeem(code)
    assert pbx.redeem(code, status=200)["release_code"] == first["release_code"]


def _check_typed_codes(pbx: PlainFirmware, release_code: str) -> None:
    """What was written on paper at first is genuine still, and only exactly so."""
    assert pbx.read(release_code) == (1, 1, USERS, 10, None)
    code = release_code.replace("-", "")
    for place in range(23):
        for symbol in "05Z".replace(code[place], ""):
            made_up = (code[:place] + symbol + code[place + 1 :])[:23]
            assert pbx.read(codes_by_the_text.checked(made_up)) is None


def _check_replacement(
    service: Service, pbx: PlainFirmware, heir: PlainFirmware, codes: list[str]
) -> None:
    """The heir has everything, and the old PBX nothing."""
    before = pbx.sync()
    heir.initialise()  # it was silent for as long
    pbx.call(
        f"/cic/v1/devices/{FIRST}/replacement",
        {"by": SECOND, "reason": "struck by lightning"},
        headers=service.staff(),
    )
    assert heir.sync() == before == [function("users", 30)]
    for refused in (pbx.sync, lambda: pbx.redeem(codes[0])):
        assert refusal_of(refused) == (403, "device-not-permitted")
    said = heir.read(heir.redeem(codes[0], status=200)["release_code"])
    assert said is not None
    assert (said.product_number, said.quantity, said.expires_on) == (USERS, 10, None)
    heir.redeem(codes[3])
    assert heir.sync() == [function("users", 40)]


def test_entitlements_that_were_tampered_with_are_nothing(
    make_pbx: Make,
) -> None:
    """What the test above rests on: this PBX does not believe just anything."""
    pbx, other = make_pbx(FIRST), make_pbx(SECOND)
    pbx.initialise()
    other.initialise()
    nonce = base64url(secrets.token_bytes(16))
    path = f"/voucher/v1/entitlements?nonce={nonce}"
    token = pbx.call(path, identified=True)["entitlements"]
    foreign = other.call(path, identified=True)["entitlements"]
    lease = pbx.call(
        "/cic/v1/check",
        {
            "serial_number": FIRST,
            "nonce": nonce,
            "device_type": "COMtrexx VM",
            "software_version": "2.0.1",
        },
        identified=True,
    )["lease"]
    head, payload, signature = token.split(".")
    unsigned = base64url(b'{"alg":"none","typ":"entitlements+jwt","kid":"x"}')
    for forged in (
        f"{head}.{payload}.{base64url(bytes(64))}",
        f"{head}.{payload[:-4]}AAAA.{signature}",
        f"{unsigned}.{payload}.",
        foreign,
        lease,
    ):
        with pytest.raises(NotBelieved):
            pbx.entitled({"entitlements": forged}, nonce)
    assert pbx.entitled({"entitlements": token}, nonce)["functions"] == []
    with pytest.raises(NotBelieved, match="heard before"):
        pbx.entitled({"entitlements": token}, nonce)
