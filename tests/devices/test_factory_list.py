# SPDX-License-Identifier: Apache-2.0
"""Importing the factory list: all or nothing, as often as one likes."""

import io
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import func, select

from fleet.database import reading, transaction
from fleet.devices import registry
from fleet.devices.factory_lines import COLUMNS
from fleet.devices.factory_list import (
    PASSES,
    FactoryListReport,
    RegistryChanged,
    import_factory_list,
)
from fleet.devices.models import Device
from fleet.devices.registry import NewDevice
from fleet.ground import ground
from fleet.staff import audit
from fleet.staff.roles import Role, StaffMember

pytestmark = pytest.mark.usefixtures("app")

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FACTORY = StaffMember(None, "cli:factory", Role.OPERATOR)
HEADER = ",".join(COLUMNS) + "\n"


def line(number: int, **other: str) -> str:
    fields = {
        "serial_number": f"SN{number:08}",
        "mac_address": f"{number:012x}",
        "part_number": "S30852-H2716-R101",
        "device_type": "COMtrexx",
        "hardware_revision": "A1",
        "device_secret": f"secret-of-number-{number}",
        "support_ends_on": "2036-12-31",
    }
    return ",".join({**fields, **other}.values()) + "\n"


def take(
    *lines: str, dry_run: bool = False, replace_secrets: bool = False
) -> FactoryListReport:
    return import_factory_list(
        io.BytesIO((HEADER + "".join(lines)).encode()),
        keyring=ground().keyring,
        actor=FACTORY,
        reason="a test",
        now=NOON,
        dry_run=dry_run,
        replace_secrets=replace_secrets,
    )


def counts(report: FactoryListReport) -> tuple[int, int, int]:
    return report.added, report.updated, report.unchanged


def faults(report: FactoryListReport) -> list[tuple[int, str]]:
    return [(each.line, each.field) for each in report.faults]


def registered() -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(Device)) or 0


def test_a_list_is_taken_in_and_its_pbxs_can_prove_themselves() -> None:
    report = take(line(1), line(2, mac_address="", support_ends_on=""))
    assert report.accepted
    assert counts(report) == (2, 0, 0)
    first, second = registry.find("SN00000001"), registry.find("SN00000002")
    assert first is not None
    assert first.mac_address == "00:00:00:00:00:01"
    assert first.support_ends_on == date(2036, 12, 31)
    assert second is not None
    assert second.mac_address is None
    keyring = ground().keyring
    assert registry.secret_is_right(first, "secret-of-number-1", keyring=keyring)
    assert not registry.secret_is_right(first, "secret-of-number-2", keyring=keyring)
    assert len(registry.search("00:00:01", limit=9).items) == 1


def test_the_same_list_again_changes_nothing() -> None:
    take(line(1), line(2))
    ground().keyring.rotate("device-secret")
    assert counts(take(line(1), line(2), line(3))) == (1, 0, 2)
    entries = audit.entries(audit.Wanted(action="devices.import"), limit=9).items
    assert [each.after["added"] for each in entries] == [1, 2]
    assert counts(take(line(1), line(2), line(3))) == (0, 0, 3)
    assert len(audit.entries(audit.Wanted(), limit=9).items) == 2


def test_what_a_list_may_change_is_changed() -> None:
    take(line(1, mac_address=""), line(2))
    registry.change("SN00000001", customer="Müller", notes="Keller")
    report = take(
        line(1, part_number="P2", hardware_revision="B", support_ends_on="2040-01-01"),
        line(2, mac_address=""),
    )
    assert counts(report) == (0, 1, 1)
    device = registry.find("SN00000001")
    assert device is not None
    assert (device.part_number, device.hardware_revision) == ("P2", "B")
    assert device.support_ends_on == date(2040, 1, 1)
    assert device.mac_address == "00:00:00:00:00:01"
    assert device.customer == "Müller"
    assert len(registry.search("müller 000001", limit=9).items) == 1


def test_one_faulty_line_keeps_the_whole_list_out() -> None:
    report = take(line(1), line(2, device_secret="short"), line(3))
    assert faults(report) == [(3, "device_secret")]
    assert registered() == 0


def test_every_faulty_line_is_named_whatever_is_wrong() -> None:
    take(line(1), line(2))
    report = take(
        line(1, device_secret="another-secret-entirely"),
        line(2, device_type="COMfortel"),
        line(3, mac_address="000000000001"),
        line(2, mac_address="00000000000f"),
        line(4),
        line(5, serial_number="sn-00000004"),
        line(6, mac_address="00-00-00-00-00-04"),
        line(7, support_ends_on="never"),
    )
    assert faults(report) == [
        (2, "device_secret"),
        (3, "device_type"),
        (4, "mac_address"),  # another's in the registry,
        (4, "mac_address"),  # and another's in the list
        (5, "mac_address"),
        (5, "serial_number"),
        (7, "serial_number"),
        (8, "mac_address"),
        (9, "support_ends_on"),
    ]
    assert registered() == 2
    assert "another-secret-entirely" not in str(report)


def test_a_repeat_far_below_is_found_and_its_first_line_named() -> None:
    lines = [line(number) for number in range(2500)]
    report = take(*lines, line(7, mac_address=""))
    (fault,) = report.faults
    assert (fault.line, fault.field) == (2502, "serial_number")
    assert "line 9 " in fault.fault


def test_a_repeat_of_a_registered_pbx_is_a_repeat() -> None:
    take(line(1))
    assert faults(take(line(1), line(1))) == [
        (3, "mac_address"),
        (3, "serial_number"),
    ]


def test_a_secret_is_replaced_only_where_that_is_asked_for() -> None:
    take(line(1), line(2))
    report = take(
        line(1, device_secret="another-secret-entirely"),
        line(2),
        replace_secrets=True,
    )
    assert (counts(report), report.secrets_replaced) == ((0, 1, 1), 1)
    device, keyring = registry.find("SN00000001"), ground().keyring
    assert registry.secret_is_right(device, "another-secret-entirely", keyring=keyring)
    assert not registry.secret_is_right(device, "secret-of-number-1", keyring=keyring)


def test_a_dry_run_says_the_same_and_does_nothing() -> None:
    take(line(1))
    lines = (line(1, part_number="P2"), line(2), line(3))
    rehearsed = take(*lines, dry_run=True)
    assert registered() == 1
    assert replace(rehearsed, dry_run=False) == take(*lines)


def test_a_header_alone_is_an_empty_list() -> None:
    assert counts(take()) == (0, 0, 0)


def test_an_import_that_is_overtaken_changes_nothing() -> None:
    lines = "".join(line(number) for number in range(1500))

    calls = 0

    def overtake(_read: int) -> None:
        # Between the checks and the writing: as soon as the second pass is over.
        nonlocal calls
        calls += 1
        if calls == 4:
            registry.register(
                NewDevice(
                    serial_number="SN00001400",
                    device_type="other",
                    device_secret="x" * 16,
                ),
                keyring=ground().keyring,
                now=NOON,
            )

    with pytest.raises(RegistryChanged):
        import_factory_list(
            io.BytesIO((HEADER + lines).encode()),
            keyring=ground().keyring,
            actor=FACTORY,
            reason="a test",
            now=NOON,
            progress=overtake,
        )
    assert registered() == 1


def test_the_import_belongs_to_the_transaction_around_it() -> None:
    def change_ones_mind() -> None:
        with transaction():
            take(line(1))
            raise InterruptedError

    with pytest.raises(InterruptedError):
        change_ones_mind()
    assert registered() == 0


class Tube(io.RawIOBase):
    """A long list that is made while it is read, so that only reading costs."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._lines: Iterator[bytes] = iter(())
        self._at = 0
        self._left = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, _whence: int = 0, /) -> int:
        self._lines = (
            (line(number) if number else HEADER).encode()
            for number in range(self._rows + 1)
        )
        self._at = 0
        self._left = b""
        return offset

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override] # enough here
        while len(self._left) < len(buffer) and (more := next(self._lines, b"")):
            self._left += more
        chunk, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(chunk)] = chunk
        self._at += len(chunk)
        return len(chunk)


@pytest.mark.parametrize(
    ("database_kind", "rows"),
    [("sqlite", 100_000), ("postgresql", 20_000)],
    indirect=["database_kind"],
)
def test_a_hundred_thousand_pbxs_come_in_quickly(rows: int) -> None:
    read = 0

    def progress(count: int) -> None:
        nonlocal read
        read += count

    stream = io.BytesIO(
        (HEADER + "".join(line(number) for number in range(rows))).encode()
    )
    began = time.monotonic()
    report = import_factory_list(
        stream,
        keyring=ground().keyring,
        actor=FACTORY,
        reason="a test",
        now=NOON,
        progress=progress,
    )
    seconds = time.monotonic() - began
    assert counts(report) == (rows, 0, 0)
    assert read == PASSES * len(stream.getvalue())
    assert seconds < 30 * rows / 100_000


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_memory_does_not_grow_with_the_list() -> None:
    take(line(1))  # whatever is made once is made

    def peak(rows: int) -> int:
        tracemalloc.start()
        try:
            import_factory_list(
                io.BufferedReader(Tube(rows)),  # type: ignore[type-var] # as above
                keyring=ground().keyring,
                actor=FACTORY,
                reason="a test",
                now=NOON,
                dry_run=True,
            )
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Two numbers of eight bytes a row are kept, and sorted once.
    assert peak(12_000) - peak(2_000) < 10_000 * 150
