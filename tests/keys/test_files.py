# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all, and values made from them."""

import logging
import os
import stat
from pathlib import Path

import pytest

from fleet.keys.files import PUBLIC, SECRET, replace, write_new
from fleet.keys.reloading import Reloading


@pytest.fixture(autouse=True)
def strange_umask() -> object:
    old = os.umask(0o777 & ~0o700)
    yield
    os.umask(old)


def test_a_new_file_never_replaces_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    assert write_new(path, b"first", mode=SECRET)
    assert not write_new(path, b"second", mode=SECRET)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [SECRET, PUBLIC])
def test_the_mode_is_as_asked_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    replace(tmp_path / "a", b"x", mode=mode)
    write_new(tmp_path / "b", b"x", mode=mode)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {mode}


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path) -> None:
    (tmp_path / "in-the-way").mkdir()
    with pytest.raises(OSError, match="in-the-way"):
        replace(tmp_path / "in-the-way", b"x", mode=PUBLIC)
    assert [path.name for path in tmp_path.iterdir()] == ["in-the-way"]


def number_in(path: Path, *, look_every: float = 0) -> Reloading[int]:
    return Reloading(
        lambda: int(path.read_bytes()), lambda: [path], look_every=look_every
    )


def test_a_changed_file_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "n"
    replace(path, b"1", mode=PUBLIC)
    value = number_in(path)
    assert value.current() == 1
    replace(path, b"2", mode=PUBLIC)
    assert value.current() == 2


def test_files_are_not_looked_at_for_each_request(tmp_path: Path) -> None:
    path = tmp_path / "n"
    replace(path, b"1", mode=PUBLIC)
    value = number_in(path, look_every=3600)
    replace(path, b"2", mode=PUBLIC)
    assert value.current() == 1
    assert value.look_now() == 2


def test_a_file_that_cannot_be_used_changes_nothing_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "n"
    replace(path, b"1", mode=PUBLIC)
    value = number_in(path)
    replace(path, b"broken", mode=PUBLIC)
    with caplog.at_level(logging.WARNING):
        assert [value.current(), value.current(), value.current()] == [1, 1, 1]
    assert len(caplog.records) == 1
    assert value.fault is not None
    replace(path, b"3", mode=PUBLIC)
    assert value.current() == 3
    assert value.fault is None


def test_a_file_that_is_removed_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "n"
    replace(path, b"1", mode=PUBLIC)
    value = number_in(path)
    path.unlink()
    assert value.current() == 1
    assert value.fault is not None
