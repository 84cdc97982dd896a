# SPDX-License-Identifier: Apache-2.0
"""Power cuts at every byte."""

import os
import stat
from pathlib import Path

import pytest
from pbx.power import FailingPower, PowerCut
from pbx.simulated import (
    DAY,
)
from pbx.world import (
    make_world,
)

from fleet.pbx.appliance import ReferencePbx
from fleet.pbx.life import Standing
from fleet.pbx.memory import DiskMemory, VolatileMemory
from fleet.pbx.record import read_record, write_record

SLOTS = ("memory.a", "memory.b")


def test_a_new_disk_remembers_nothing(tmp_path: Path) -> None:
    assert DiskMemory(tmp_path / "made on the way").read() is None
    assert VolatileMemory().read() is None


def test_the_newest_content_is_read_whichever_slot_it_is_in(tmp_path: Path) -> None:
    memory = DiskMemory(tmp_path)

    for number in range(5):
        memory.write(b"content %d" % number)

        assert DiskMemory(tmp_path).read() == b"content %d" % number


def test_memory_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "pbx"
    DiskMemory(folder).write(b"a key")

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "memory.a").stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", ["truncated", "corrupted", "zeroed", "grown"])
def test_a_slot_damaged_at_any_byte_brings_back_the_one_before(
    tmp_path: Path, damage: str
) -> None:
    memory = DiskMemory(tmp_path)
    memory.write(b"the older content")
    memory.write(b"the newer content")
    newer = tmp_path / "memory.b"
    whole = newer.read_bytes()

    for at in range(len(whole)):
        newer.write_bytes(
            {
                "truncated": whole[:at],
                "corrupted": whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
                "zeroed": whole[:at] + bytes(len(whole) - at),
                "grown": whole + whole[: at + 1],
            }[damage]
        )

        assert memory.read() == b"the older content"

    newer.write_bytes(whole)
    assert memory.read() == b"the newer content"


def test_after_a_torn_slot_writing_goes_on(tmp_path: Path) -> None:
    memory = DiskMemory(tmp_path)
    memory.write(b"one")
    memory.write(b"two")
    (tmp_path / "memory.b").write_bytes(b"torn")

    memory.write(b"three")
    assert memory.read() == b"three"
    memory.write(b"four")
    assert memory.read() == b"four"


def test_two_ruined_slots_are_a_new_disk(tmp_path: Path) -> None:
    memory = DiskMemory(tmp_path)
    memory.write(b"one")
    memory.write(b"two")
    for slot in SLOTS:
        (tmp_path / slot).write_bytes(b"")

    assert memory.read() is None
    memory.write(b"three")
    assert memory.read() == b"three"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("before", [True, False])
def test_power_cut_around_each_step_of_writing_leaves_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, *, before: bool
) -> None:
    memory = DiskMemory(tmp_path)
    memory.write(b"old")
    real = getattr(os, call)

    def cut(*arguments: object) -> None:
        if not before:
            real(*arguments)
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(os, call, cut)
        with pytest.raises(PowerCut):
            memory.write(b"new")

    assert DiskMemory(tmp_path).read() in {b"old", b"new"}
    memory.write(b"newest")
    assert DiskMemory(tmp_path).read() == b"newest"


def test_a_temporary_file_torn_at_any_byte_is_never_read(tmp_path: Path) -> None:
    memory = DiskMemory(tmp_path)
    memory.write(b"old")
    whole = (tmp_path / "memory.a").read_bytes()

    for at in range(len(whole)):
        (tmp_path / "memory.new").write_bytes(whole[:at])

        assert DiskMemory(tmp_path).read() == b"old"


def test_a_record_comes_back_as_it_was() -> None:
    world = make_world()
    world.pbx.live_for(3 * DAY)

    assert read_record(write_record(world.pbx.record)) == world.pbx.record


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"state": {}}', b"\xff"])
def test_a_record_of_another_firmware_means_a_start_as_from_the_factory(
    content: bytes,
) -> None:
    memory = VolatileMemory()
    memory.write(content)
    world = make_world(memory=memory)

    world.pbx.live_for(DAY)

    assert world.stands() is Standing.RUNNING


def live_two_days(pbx: ReferencePbx) -> None:
    pbx.boot()
    pbx.live_for(2 * DAY)
    pbx.renew()


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("writes", range(12))
def test_power_cut_at_any_write_of_a_life_is_survived(
    writes: int, *, kept: bool
) -> None:
    memory = FailingPower()
    world = make_world(memory=memory, boots=False)
    memory.writes_left, memory.keeps_the_last = writes, kept
    with pytest.raises(PowerCut):
        live_two_days(world.pbx)

    memory.writes_left = None
    world.reboot().live_for(2 * DAY)

    assert world.stands() is Standing.RUNNING
    assert world.pbx.state.failed_attempts == 0
    assert world.vendor.generation == 1
