# SPDX-License-Identifier: Apache-2.0
"""Versioned symmetric keys in files."""

import stat
import threading
from pathlib import Path

import pytest

from fleet.keys.errors import KeyFault, MissingKey
from fleet.keys.files import exposed_files
from fleet.keys.keyring import (
    SECRET_PURPOSES,
    Keyring,
    VersionedKey,
    device_release_key,
    keyed_digest,
)


def test_one_key_is_made_for_each_purpose_and_kept_when_asked_again(
    tmp_path: Path,
) -> None:
    ring = Keyring.open(tmp_path / "keys")
    assert ring.create_missing(SECRET_PURPOSES) == list(SECRET_PURPOSES)
    before = ring.current("voucher-code")
    assert before.version == 1
    assert len(before.secret) == 32
    assert ring.create_missing(SECRET_PURPOSES) == []
    assert Keyring.open(tmp_path / "keys").current("voucher-code") == before


def test_a_key_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    Keyring.open(tmp_path / "keys").create_missing(["throttle"])
    file = tmp_path / "keys" / "throttle" / "1.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert exposed_files(tmp_path) == []
    file.chmod(0o640)
    assert exposed_files(tmp_path) == [file]


def test_rotation_adds_a_version_and_keeps_the_earlier_ones(tmp_path: Path) -> None:
    ring = Keyring.open(tmp_path)
    ring.create_missing(["device-secret"])
    first = ring.current("device-secret")
    assert ring.rotate("device-secret").version == 2
    assert ring.current("device-secret").version == 2
    assert ring.get("device-secret", 1) == first
    assert ring.versions("device-secret") == [1, 2]


def test_the_tenth_version_is_newer_than_the_ninth(tmp_path: Path) -> None:
    ring = Keyring.open(tmp_path)
    ring.create_missing(["throttle"])
    for _ in range(9):
        ring.rotate("throttle")
    assert ring.current("throttle").version == 10


def test_a_version_made_by_another_process_is_found_at_once(tmp_path: Path) -> None:
    here = Keyring.open(tmp_path)
    here.create_missing(["device-secret"])
    here.current("device-secret")
    elsewhere = Keyring.open(tmp_path).rotate("device-secret")
    assert here.get("device-secret", 2) == elsewhere


def test_a_key_that_is_not_here_is_a_refusal(tmp_path: Path) -> None:
    ring = Keyring.open(tmp_path / "nothing")
    for ask in (
        lambda: ring.current("device-secret"),
        lambda: ring.get("device-secret", 1),
        lambda: ring.rotate("devise-secret"),
    ):
        with pytest.raises(MissingKey):
            ask()


@pytest.mark.parametrize("purpose", ["", "../up", "Upper", "a/b", "a--b", "a\n"])
def test_a_purpose_cannot_lead_out_of_the_folder(tmp_path: Path, purpose: str) -> None:
    with pytest.raises(KeyFault):
        Keyring.open(tmp_path / "keys").create_missing([purpose])
    assert list(tmp_path.rglob("*.key")) == []


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "\xff" * 64])
def test_a_broken_key_file_is_named(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "throttle"
    folder.mkdir()
    (folder / "1.key").write_text(text, encoding="latin-1")
    with pytest.raises(KeyFault, match=r"1\.key"):
        Keyring.open(tmp_path)


def test_two_processes_that_make_a_key_at_once_agree(tmp_path: Path) -> None:
    rings = [Keyring.open(tmp_path) for _ in range(8)]
    threads = [
        threading.Thread(target=ring.create_missing, args=(["throttle"],))
        for ring in rings
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({ring.current("throttle").secret for ring in rings}) == 1
    assert [path.name for path in (tmp_path / "throttle").iterdir()] == ["1.key"]


def test_a_secret_is_never_printed() -> None:
    key = VersionedKey(3, b"\x01" * 32)
    assert repr(key) == "VersionedKey(version=3)"


def test_a_digest_depends_on_where_the_parts_are_joined() -> None:
    key = VersionedKey(1, b"k" * 32)
    digests = {
        keyed_digest(key, b"ab", b"c"),
        keyed_digest(key, b"a", b"bc"),
        keyed_digest(key, b"abc"),
        keyed_digest(key, b"abc", b""),
        keyed_digest(VersionedKey(1, b"l" * 32), b"abc"),
    }
    assert len(digests) == 5
    assert {len(digest) for digest in digests} == {32}


@pytest.mark.parametrize(
    ("serial_number", "expected"),
    [
        (
            "CX1000000001",
            "9c2620e4ab4b76c96a6671a3cd388a0ed9cf2cbdf2cd712330a0a295766b8130",
        ),
        (
            "VM20260042",
            "1643ccb18ac93a507e7ebd5f9059b9ff870020798bb9fa07559268da19e6d981",
        ),
    ],
)
def test_the_release_key_of_a_pbx_is_as_published(
    serial_number: str, expected: str
) -> None:
    master = VersionedKey(1, bytes(range(32)))
    assert device_release_key(master, serial_number).hex() == expected
