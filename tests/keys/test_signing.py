# SPDX-License-Identifier: Apache-2.0
"""The ceremony of the root, and who signs afterwards."""

import json
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleet.keys import ceremony, jws
from fleet.keys.errors import CannotSign, KeyFault, KeySetFault
from fleet.keys.keyset import KEY_SET_LIFE, PURPOSES
from fleet.keys.signing import SigningKeys

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ISSUER = "https://pbx.example"


def initialise(data_dir: Path) -> Path:
    ceremony.establish(data_dir, issuer=ISSUER, now=NOON)
    return data_dir / "keys"


def carry_root_away(data_dir: Path) -> object:
    file = ceremony.root_file(data_dir)
    root = jws.read_private_pem(file.read_bytes())
    file.unlink()
    file.parent.rmdir()
    return root


def rotate(keys: Path, root: object, *, use_in: timedelta, now: datetime) -> str:
    """A new key for leases, through the whole ceremony; its thumbprint."""
    new = ceremony.create_signing_key(keys, purpose="cic-lease", now=now, use_in=use_in)
    request = ceremony.signing_request(keys, issuer=ISSUER)
    ceremony.install(keys, ceremony.sign_requests([request], root, now=now), now=now)
    return new.kid


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_fresh_server_can_sign_everything(tmp_path: Path) -> None:
    signing = SigningKeys.load(initialise(tmp_path), NOON)
    signing.self_test(NOON)
    assert {key.purpose for key in signing.key_set().keys} == set(PURPOSES)
    assert signing.key_set().issuer == ISSUER


def test_initialising_again_changes_nothing(tmp_path: Path) -> None:
    initialise(tmp_path)
    before = files_of(tmp_path)
    assert ceremony.establish(tmp_path, issuer="https://other", now=NOON + DAY) == []
    assert files_of(tmp_path) == before


def test_private_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    keys = initialise(tmp_path)
    private = [ceremony.root_file(tmp_path), *(keys / "signing").glob("*.pem")]
    assert len(private) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_the_service_runs_and_initialises_without_the_root(tmp_path: Path) -> None:
    keys = initialise(tmp_path)
    carry_root_away(tmp_path)
    before = files_of(tmp_path)
    assert ceremony.establish(tmp_path, issuer=ISSUER, now=NOON) == []
    SigningKeys.load(keys, NOON).self_test(NOON)
    assert files_of(tmp_path) == before


def test_a_key_lost_after_the_root_was_carried_away_awaits_it(tmp_path: Path) -> None:
    keys = initialise(tmp_path)
    root = carry_root_away(tmp_path)
    lost = SigningKeys.load(keys, NOON).signer("cic-lease", NOON).kid
    ceremony.private_key_file(keys, lost).unlink()
    made = ceremony.establish(tmp_path, issuer=ISSUER, now=NOON)
    assert "callhome keys request" in made[-1]
    request = ceremony.signing_request(keys, issuer=ISSUER)
    token = ceremony.sign_requests([request], root, now=NOON)
    ceremony.install(keys, token, now=NOON)
    assert SigningKeys.load(keys, NOON).signer("cic-lease", NOON).kid != lost


def test_a_lost_public_root_is_not_replaced_by_a_new_root(tmp_path: Path) -> None:
    keys = initialise(tmp_path)
    carry_root_away(tmp_path)
    ceremony.public_root_file(keys).unlink()
    with pytest.raises(KeySetFault, match="root's public key"):
        ceremony.establish(tmp_path, issuer=ISSUER, now=NOON)
    assert not ceremony.root_file(tmp_path).exists()


@pytest.mark.parametrize("steps", range(4))
def test_an_interrupted_initialisation_is_finished(tmp_path: Path, steps: int) -> None:
    keys, private = tmp_path / "keys", ceremony.root_file(tmp_path)
    if steps > 0:
        ceremony.create_root(private, ceremony.public_root_file(keys))
    if steps == 1:
        ceremony.public_root_file(keys).unlink()
    if steps > 2:
        ceremony.create_signing_key(keys, purpose="cic-lease", now=NOON)
    before = files_of(tmp_path)
    initialise(tmp_path)
    SigningKeys.load(keys, NOON).self_test(NOON)
    kept = {name for name in before if not name.endswith(".json")}
    assert {name: files_of(tmp_path)[name] for name in kept} == {
        name: before[name] for name in kept
    }
    assert len(list((keys / "signing").iterdir())) == 2


def test_a_dropped_key_does_not_come_back_with_the_next_request(tmp_path: Path) -> None:
    keys = initialise(tmp_path)
    root = carry_root_away(tmp_path)
    stolen = rotate(keys, root, use_in=timedelta(0), now=NOON)
    request = ceremony.signing_request(keys, issuer=ISSUER)
    token = ceremony.sign_requests([request], root, now=NOON, without=[stolen])
    assert stolen not in {k.kid for k in ceremony.install(keys, token, now=NOON).keys}
    rotate(keys, root, use_in=timedelta(0), now=NOON)
    assert ceremony.private_key_file(keys, stolen).exists()
    listed = SigningKeys.load(keys, NOON).key_set().keys
    assert stolen not in {key.kid for key in listed}


def test_a_new_key_is_published_at_once_and_used_after_the_overlap(
    tmp_path: Path,
) -> None:
    keys = initialise(tmp_path)
    root = carry_root_away(tmp_path)
    signing = SigningKeys(keys, look_every=0)
    old = signing.signer("cic-lease", NOON).kid
    new = rotate(keys, root, use_in=7 * DAY, now=NOON)
    assert signing.key_set().version == 2
    assert {old, new} <= {key.kid for key in signing.key_set().keys}
    assert signing.signer("cic-lease", NOON + 7 * DAY - DAY / 24).kid == old
    assert signing.signer("cic-lease", NOON + 7 * DAY).kid == new


def test_what_the_old_key_signed_is_still_good_after_a_rotation(tmp_path: Path) -> None:
    keys = initialise(tmp_path)
    signing = SigningKeys(keys, look_every=0)
    lease = signing.signer("cic-lease", NOON).sign("cic-lease+jwt", {"sub": "S"})
    rotate(keys, carry_root_away(tmp_path), use_in=timedelta(0), now=NOON + DAY)
    assert signing.key_set().version == 2
    assert signing.key_set().verify(lease, purpose="cic-lease") == {"sub": "S"}


def test_an_older_key_set_is_refused_at_installation(tmp_path: Path) -> None:
    keys = initialise(tmp_path)
    first = ceremony.key_set_file(keys).read_text()
    root = carry_root_away(tmp_path)
    rotate(keys, root, use_in=7 * DAY, now=NOON)
    second = ceremony.key_set_file(keys).read_text()
    for token in (first, second):
        with pytest.raises(KeySetFault, match="does not follow"):
            ceremony.install(keys, token, now=NOON)
    assert ceremony.key_set_file(keys).read_text() == second


def test_an_older_key_set_on_disk_is_not_taken_up(tmp_path: Path) -> None:
    keys = initialise(tmp_path)
    first = ceremony.key_set_file(keys).read_bytes()
    new = rotate(keys, carry_root_away(tmp_path), use_in=timedelta(0), now=NOON)
    signing = SigningKeys(keys, look_every=0)
    ceremony.key_set_file(keys).write_bytes(first)
    assert signing.key_set().version == 2
    assert new in {key.kid for key in signing.key_set().keys}
    assert any("older" in warning for warning in signing.warnings(NOON))


@pytest.mark.parametrize(
    "token",
    ["", "text", "a.b.c", "\ud800"],
)
def test_what_is_no_key_set_is_not_installed(tmp_path: Path, token: str) -> None:
    keys = initialise(tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(KeySetFault):
        ceremony.install(keys, token, now=NOON)
    assert files_of(tmp_path) == before


def test_an_expired_or_foreign_set_is_not_installed(tmp_path: Path) -> None:
    keys = initialise(tmp_path)
    root = jws.read_private_pem(ceremony.root_file(tmp_path).read_bytes())
    ceremony.create_signing_key(keys, purpose="firmware", now=NOON)
    request = ceremony.signing_request(keys, issuer=ISSUER)
    late = ceremony.sign_requests([request], root, now=NOON)
    with pytest.raises(KeySetFault, match="expired"):
        ceremony.install(keys, late, now=NOON + KEY_SET_LIFE)
    alone = json.dumps(json.loads(request) | {"current": None})
    foreign = ceremony.sign_requests([alone], jws.new_key(), now=NOON)
    with pytest.raises(KeySetFault):
        ceremony.install(keys, foreign, now=NOON)


def test_the_root_holder_signs_over_no_foreign_key_set(tmp_path: Path) -> None:
    request = ceremony.signing_request(initialise(tmp_path), issuer=ISSUER)
    with pytest.raises(KeySetFault):
        ceremony.sign_requests([request], jws.new_key(), now=NOON)


@pytest.mark.parametrize("request_text", ["", "[]", "{}", "null", '{"issuer": 1}'])
def test_a_broken_request_is_not_signed(request_text: str) -> None:
    with pytest.raises(KeySetFault):
        ceremony.sign_requests([request_text], jws.new_key(), now=NOON)


def test_a_request_holds_nothing_secret(tmp_path: Path) -> None:
    keys = initialise(tmp_path)
    new = ceremony.create_signing_key(keys, purpose="cic-lease", now=NOON)
    request = ceremony.signing_request(keys, issuer=ISSUER)
    private = jws.read_private_pem(
        ceremony.private_key_file(keys, new.kid).read_bytes()
    )
    assert new.kid in request
    assert private.as_dict(private=True)["d"] not in request


def test_the_keys_of_two_servers_make_one_set(tmp_path: Path) -> None:
    one = initialise(tmp_path / "one")
    root = carry_root_away(tmp_path / "one")
    two = tmp_path / "two" / "keys"
    two.mkdir(parents=True)
    for name in ("root.pub.pem", "keyset.jwt"):
        (two / name).write_bytes((one / name).read_bytes())
    ceremony.establish(tmp_path / "two", issuer=ISSUER, now=NOON)
    ceremony.create_signing_key(one, purpose="cic-lease", now=NOON)
    requests = [ceremony.signing_request(each, issuer=ISSUER) for each in (one, two)]
    token = ceremony.sign_requests(requests, root, now=NOON)
    for keys in (one, two):
        assert len(ceremony.install(keys, token, now=NOON).keys) == 5
        SigningKeys.load(keys, NOON).self_test(NOON)
    kids = {SigningKeys(each).signer("cic-lease", NOON).kid for each in (one, two)}
    assert len(kids) == 2


def break_nothing(_keys: Path) -> None:
    pass


def remove_key_set(keys: Path) -> None:
    ceremony.key_set_file(keys).unlink()


def remove_public_root(keys: Path) -> None:
    ceremony.public_root_file(keys).unlink()


def replace_public_root(keys: Path) -> None:
    ceremony.public_root_file(keys).write_bytes(jws.public_pem(jws.new_key()))


def alter_key_set(keys: Path) -> None:
    file = ceremony.key_set_file(keys)
    token = file.read_text()
    file.write_text(token[:-20] + ("A" if token[-20] != "A" else "B") + token[-19:])


def remove_private_keys(keys: Path) -> None:
    for path in (keys / "signing").glob("*.pem"):
        path.unlink()


def break_private_keys(keys: Path) -> None:
    for path in (keys / "signing").glob("*.pem"):
        path.write_bytes(b"half a fi")


def swap_private_keys(keys: Path) -> None:
    for path in (keys / "signing").glob("*.pem"):
        path.write_bytes(jws.private_pem(jws.new_key()))


DAMAGES = [
    remove_key_set,
    remove_public_root,
    replace_public_root,
    alter_key_set,
    remove_private_keys,
    break_private_keys,
    swap_private_keys,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_with_damaged_files_nothing_starts(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    keys = initialise(tmp_path)
    damage(keys)
    with pytest.raises(CannotSign) as refusal:
        SigningKeys.load(keys, NOON)
    assert refusal.value.code == "cannot-sign"
    assert str(tmp_path) not in refusal.value.detail


@pytest.mark.parametrize(
    "damage", [each for each in DAMAGES if "remove_private" not in each.__name__]
)
def test_damage_while_running_takes_nothing_away(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    keys = initialise(tmp_path)
    signing = SigningKeys(keys, look_every=0)
    damage(keys)
    signing.self_test(NOON)
    assert signing.warnings(NOON) != []


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(NOON - DAY, id="before the keys begin"),
        pytest.param(NOON + 3 * 365 * DAY, id="when the keys have ended"),
        pytest.param(NOON + KEY_SET_LIFE, id="when the key set has expired"),
    ],
)
def test_outside_its_time_nothing_signs(tmp_path: Path, now: datetime) -> None:
    keys = initialise(tmp_path)
    with pytest.raises(CannotSign):
        SigningKeys.load(keys, now)
    with pytest.raises(CannotSign):
        SigningKeys(keys).self_test(now)


def test_a_purpose_without_a_key_cannot_sign(tmp_path: Path) -> None:
    signing = SigningKeys(initialise(tmp_path), purposes=["firmware"])
    with pytest.raises(CannotSign, match="firmware"):
        signing.self_test(NOON)


def test_a_new_purpose_needs_nothing_but_a_key(tmp_path: Path) -> None:
    keys = initialise(tmp_path)
    ceremony.create_signing_key(keys, purpose="firmware", now=NOON)
    ceremony.establish(tmp_path, issuer=ISSUER, now=NOON)
    SigningKeys(keys, purposes=["firmware"]).self_test(NOON)


def test_a_key_signs_only_documents_of_its_purpose(tmp_path: Path) -> None:
    signer = SigningKeys(initialise(tmp_path)).signer("cic-lease", NOON)
    for typ in ("entitlements+jwt", "keyset+jwt", "JWT", ""):
        with pytest.raises(ValueError, match="does not sign"):
            signer.sign(typ, {})


@pytest.mark.parametrize("purpose", ["keyset", "", "Cic", "a b"])
def test_a_key_for_an_impossible_purpose_is_not_made(
    tmp_path: Path, purpose: str
) -> None:
    with pytest.raises(KeyFault):
        ceremony.create_signing_key(tmp_path, purpose=purpose, now=NOON)
    assert list(tmp_path.iterdir()) == []


def test_many_threads_sign_through_a_rotation(tmp_path: Path) -> None:
    keys = initialise(tmp_path)
    root = carry_root_away(tmp_path)
    signing = SigningKeys(keys, look_every=0)
    done, faults, kids = threading.Event(), [], set()

    def sign() -> None:
        while not done.is_set():
            try:
                signer = signing.signer("cic-lease", NOON + DAY)
                token = signer.sign("cic-lease+jwt", {"a": 1})
                signing.key_set().verify(token, purpose="cic-lease")
                kids.add(signer.kid)
            except Exception as fault:  # noqa: BLE001 -- the test counts whatever it is
                faults.append(fault)

    threads = [threading.Thread(target=sign) for _ in range(4)]
    for thread in threads:
        thread.start()
    made = [rotate(keys, root, use_in=DAY / 24 * n, now=NOON) for n in range(1, 6)]
    while made[-1] not in kids and not faults:
        threading.Event().wait(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert made[-1] in kids


def test_private_keys_are_never_printed(tmp_path: Path) -> None:
    signer = SigningKeys(initialise(tmp_path)).signer("cic-lease", NOON)
    assert "private" not in repr(signer)
