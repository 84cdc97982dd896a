# SPDX-License-Identifier: Apache-2.0
"""Processes that die at any moment, and many who want the same thing at once."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from faults.conftest import Start
from faults.fleet_at_work import (
    FLEET,
    SECRET,
    Shift,
    WorkingPbx,
    WorkingStaff,
    check_all_is_there,
    facts,
    make_fleet,
)
from make import make_csr, make_nonce
from service import Service

AT_WORK = 7
HELD = FLEET[-1]

# At least two; more until one has hit somebody in the middle of a request.
MOST_KILLS = 12


def _staff(service: Service) -> WorkingStaff:
    return WorkingStaff(service, service.staff(), HELD)


def _web_workers(service: Service) -> list[int]:
    """Return the process ids of the web workers alone."""
    return [
        pid
        for pid in service.workers()
        if b"jobs" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]


def test_a_web_worker_killed_at_work_loses_nothing_acknowledged(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    pbxs, staff = make_fleet(service, tmp_path, AT_WORK), _staff(service)
    with Shift([*pbxs, staff]) as shift:
        for kills in range(1, MOST_KILLS):
            time.sleep(random.uniform(0.3, 1.0))
            os.kill(random.choice(_web_workers(service)), signal.SIGKILL)
            service.wait_until_ready()
            if kills > 1 and shift.lost:
                break
    assert shift.statuses() <= {200, 201, 503}
    assert shift.lost
    assert sum(pbx.checks for pbx in pbxs) > AT_WORK
    assert staff.decisions
    check_all_is_there(pbxs, staff, service)


def test_a_service_killed_at_work_loses_nothing_acknowledged(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    pbxs, staff = make_fleet(service, tmp_path, AT_WORK), _staff(service)
    with Shift([*pbxs, staff]) as shift:
        for kills in range(1, MOST_KILLS):
            time.sleep(random.uniform(0.3, 1.0))
            service.kill()
            service.start()
            if kills > 1 and shift.lost:
                break
    assert shift.statuses() <= {200, 201, 503}
    assert shift.lost
    check_all_is_there(pbxs, staff, service)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_nothing_outlives_the_main_process_and_the_port_is_free_again(
    start: Start,
) -> None:
    service = start()
    processes = service.workers()
    assert len(processes) >= 2  # web workers, and the jobs
    main = service.process
    assert main is not None
    os.kill(main.pid, signal.SIGKILL)
    main.wait()
    deadline = time.monotonic() + 8
    while any(Path(f"/proc/{pid}").exists() for pid in processes):
        assert time.monotonic() < deadline, "orphans"
        time.sleep(0.1)
    service.start()
    assert service.request("GET", "/health/live").status == 200


def test_two_initialisations_at_once_leave_one_valid_certificate(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    staff = _staff(service)
    for serial in FLEET[:5]:
        folders = [tmp_path / f"{serial}-{each}" for each in "ab"]
        for folder in folders:
            folder.mkdir()
        rivals = [WorkingPbx(service, folder, serial) for folder in folders]
        gate = threading.Barrier(len(rivals))

        def race(pbx: WorkingPbx, gate: threading.Barrier = gate) -> int:
            gate.wait()
            return pbx.initialise().status

        with ThreadPoolExecutor(len(rivals)) as pool:
            assert list(pool.map(race, rivals)) == [201, 201]
        told = staff.told(serial)
        assert told["generation"] == 2
        assert sum(each["in_force"] for each in told["certificates"]) == 1
        assert sorted(pbx.check().status for pbx in rivals) == [200, 403]


def test_a_hundred_checks_of_one_pbx_at_once_are_all_right(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    staff = _staff(service)
    pbx = make_fleet(service, tmp_path, 1)[0]
    assert pbx.initialise().status == 201
    assert pbx.check().status == 200
    bodies = [
        {
            "serial_number": pbx.serial_number,
            "nonce": make_nonce(),
            "device_type": "COMtrexx VM",
            "software_version": "2.0.1",
            "continuation": pbx.continuation,
        }
        for _ in range(100)
    ]

    def check(body: dict[str, object]) -> tuple[int, str]:
        reply = service.request(
            "POST", "/cic/v1/check", json=body, certificate=pbx.certificate
        )
        return reply.status, str(reply.json.get("continuation"))

    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(check, bodies))
    assert {status for status, _ in answers} == {200}
    drawn = {continuation for _, continuation in answers}
    assert len(drawn) == 1  # the one before stays good until the new one is seen
    pbx.continuation = drawn.pop()
    assert pbx.check().status == 200
    told = staff.told(pbx.serial_number)
    assert told["state"] == "active"
    assert not told["clone_suspected"]


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_the_same_key_many_times_at_once_is_one_certificate(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    pbx = make_fleet(service, tmp_path, 1)[0]
    key = ec.generate_private_key(ec.SECP256R1())

    def initialise(_: int) -> tuple[int, str]:
        body = facts(pbx.serial_number) | {
            "device_secret": SECRET,
            "csr": make_csr(key, pbx.serial_number),
        }
        reply = service.request("POST", "/cic/v1/initialise", json=body)
        return reply.status, str(reply.json.get("certificate_chain"))

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(initialise, range(4)))
    assert {status for status, _ in answers} == {201}
    assert len({chain for _, chain in answers}) == 1
    assert _staff(service).told(pbx.serial_number)["generation"] == 1
