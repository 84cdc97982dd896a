# SPDX-License-Identifier: Apache-2.0
"""One voucher, two PBXs, fifty threads and a crash: one of them has it, for ever.

Over HTTP against a real service, whose processes are killed in the middle. Who
gets no answer asks again, as firmware and people do. PBXs and browsers race alike.
"""

import contextlib
import http.client
import os
import random
import re
import signal
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
from faults.fleet_at_work import LOST, SECRET, WorkingPbx
from flask import Flask
from make import make_device, make_nonce
from making import ledger_rows, make_voucher, release_rows, voucher_row
from service import Reply, Service, ask

from fleet.database import db, reading
from fleet.devices.models import Device
from fleet.settings import Settings
from fleet.web import access_log
from voucher.codes import shown
from wsgi import create_app

SERIALS = ("CX4000000001", "CX4000000002")
THREADS = 50
PATIENCE = 60.0

# At least two; more until one has hit somebody in the middle of a request.
MOST_KILLS = 10

_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')
_CODE = re.compile(r"[0-9A-Z]{5}(?:-[0-9A-Z]{5}){4}")


@pytest.fixture
def service(tmp_path: Path, key_template: Path, database_url: str) -> Service:
    """The service on the database of this test; it does not run yet."""
    return Service(
        tmp_path / "service",
        data=key_template,
        database_url=database_url,
        PBX_LOG_LEVEL="debug",
    )


@pytest.fixture
def inside(service: Service, database_url: str) -> Iterator[Flask]:
    """An application over the same database and keys, to make things and to look."""
    app = create_app(Settings(data_dir=service.data_dir, database_url=database_url))
    with app.app_context():
        for serial_number in SERIALS:
            make_device(serial_number, device_secret=SECRET)
        with service:
            yield app
        access_log.flush()
        db.session.remove()
        db.engine.dispose()


@dataclass
class Rival:
    """Somebody who wants a voucher for a PBX, and asks until there is an answer."""

    service: Service
    serial_number: str
    certificate: Path | None
    replies: list[Reply] = field(default_factory=list)
    lost: int = 0

    def __post_init__(self) -> None:
        """Be ready, so that all can ask at the same instant."""
        self.context: ssl.SSLContext = self.service.context(self.certificate)
        self.cookie = self.token = ""
        if self.certificate is None:
            page = self.service.request("GET", "/voucher/?lang=en")
            assert page.status == 200, page.body
            self.cookie = page.headers["set-cookie"].partition(";")[0]
            [self.token] = _TOKEN.findall(page.body.decode())

    def race(self, code: str) -> None:
        """Ask, and ask again the same, until there is an answer."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.replies.append(self._ask(code))
            except LOST:
                self.lost += 1
                time.sleep(random.uniform(0.05, 0.5))
            else:
                return
        raise AssertionError("no answer in time")

    def _ask(self, code: str) -> Reply:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.service.port, timeout=20, context=self.context
        )
        with contextlib.closing(connection):
            if self.certificate is not None:
                body = {"code": code, "nonce": make_nonce()}
                return ask(connection, "POST", "/voucher/v1/redemptions", json=body)
            form = {
                "code": shown(code),
                "serial_number": self.serial_number,
                "form_token": self.token,
            }
            return ask(
                connection,
                "POST",
                "/voucher/?lang=en",
                body=urlencode(form).encode(),
                headers={
                    "Content-Type": "application/x-www-form-urlencoded",
                    "Cookie": self.cookie,
                    "Origin": self.service.url,
                },
            )

    @property
    def statuses(self) -> list[int]:
        return [each.status for each in self.replies]

    @property
    def release_codes(self) -> set[str]:
        """Return the release codes that it was answered."""
        found = set()
        for each in self.replies:
            if each.status in {200, 201}:
                match = _CODE.search(each.body.decode())
                assert match is not None
                found.add(match[0])
        return found


def rivals(service: Service, folder: Path, *, browsers: bool) -> list[Rival]:
    """Return fifty, half of them for each PBX, and half in a browser if wanted."""
    certificates = {}
    for serial_number in SERIALS:
        pbx = WorkingPbx(service, folder, serial_number)
        assert pbx.initialise().status == 201
        certificates[serial_number] = pbx.certificate
    made = []
    for number in range(THREADS):
        serial_number = SERIALS[number % 2]
        by_browser = browsers and number % 4 >= 2
        certificate = None if by_browser else certificates[serial_number]
        made.append(Rival(service, serial_number, certificate))
    return made


def race(those: list[Rival], code: str, disturb: Callable[[], None]) -> None:
    """Let all ask at once for one voucher, and disturb them."""
    gate = threading.Barrier(len(those) + 1)
    failures: list[BaseException] = []

    def run(rival: Rival) -> None:
        try:
            gate.wait()
            rival.race(code)
        except BaseException as failure:  # noqa: BLE001 -- raised again below
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(each,)) for each in those]
    for thread in threads:
        thread.start()
    gate.wait()
    disturb()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def kill_a_worker(service: Service) -> None:
    """Kill the web worker; its parent begins another."""
    for pid in service.workers():
        if b"jobs" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            os.kill(pid, signal.SIGKILL)
            break
    service.wait_until_ready()


def kill_all(service: Service) -> None:
    """Kill every process, as a power failure does, and start again."""
    service.kill()
    service.start()


@pytest.mark.parametrize(
    ("kill", "browsers"),
    [
        pytest.param(kill_a_worker, False, id="PBXs, and a worker is killed"),
        pytest.param(kill_all, False, id="PBXs, and all is killed"),
        pytest.param(kill_all, True, id="PBXs and browsers, and all is killed"),
    ],
)
def test_one_voucher_is_redeemed_once_whatever_races_and_dies(
    service: Service,
    inside: Flask,  # noqa: ARG001 -- where the vouchers are made
    database_url: str,
    tmp_path: Path,
    kill: Callable[[Service], None],
    browsers: bool,
) -> None:
    those = rivals(service, tmp_path, browsers=browsers)
    vouchers, codes = [], []

    def disturb() -> None:
        time.sleep(random.uniform(0.0, 0.25))
        kill(service)

    for kills in range(1, MOST_KILLS + 1):
        for each in those:
            each.replies.clear()
        code, voucher_id = make_voucher()
        vouchers.append(voucher_id)
        codes.append(code)
        race(those, code, disturb)
        check_one_has_it(those, voucher_id)
        if kills > 1 and sum(each.lost for each in those):
            break
    assert sum(each.lost for each in those)
    check_the_ledger(vouchers)
    told = {code for each in those for code in each.release_codes}
    check_nothing_is_told(service.logged(), [*codes, *told, *SERIALS])
    if database_url.startswith("sqlite"):
        folder = Path(database_url.removeprefix("sqlite:///")).parent
        for file in folder.glob("callhome.sqlite3*"):
            check_nothing_is_told(file.read_bytes().decode("latin-1"), codes)


def check_nothing_is_told(where: str, secrets: Iterable[str]) -> None:
    """Fail where any of ``secrets`` is found, in groups or without."""
    assert where
    for secret in secrets:
        for spelled in (secret, secret.replace("-", ""), shown(secret)):
            assert spelled.lower() not in where.lower()


def check_one_has_it(those: list[Rival], voucher_id: int) -> None:
    """Fail unless one PBX has the voucher, and all were told what fits that."""
    statuses = Counter(status for each in those for status in each.statuses)
    assert set(statuses) <= {200, 201, 409}, statuses
    assert statuses.total() == THREADS
    owner = owner_of(voucher_id)
    for each in those:
        mine = each.serial_number == owner
        assert set(each.statuses) <= ({200, 201} if mine else {409}), owner
    assert statuses[409] == THREADS // 2
    told = {code for each in those for code in each.release_codes}
    [release] = [row for row in release_rows() if row.voucher_id == voucher_id]
    assert told == {shown(release.code)}
    if not any(each.certificate is None for each in those):
        assert statuses[201] <= 1


def owner_of(voucher_id: int) -> str:
    owner = voucher_row(voucher_id).redeemed_by_id
    with reading() as session:
        return session.get_one(Device, owner).serial_number


def check_the_ledger(vouchers: list[int]) -> None:
    """Fail unless each voucher has one release, and one entry that says so."""
    releases, entries = release_rows(), ledger_rows()
    assert [row.voucher_id for row in releases] == vouchers
    assert [row.voucher_id for row in entries] == vouchers
    for voucher_id, release, entry in zip(vouchers, releases, entries, strict=True):
        voucher = voucher_row(voucher_id)
        assert entry.kind == "redeemed"
        assert entry.release_id == release.id
        assert voucher.redeemed_by_id == release.device_id == entry.device_id
        assert voucher.redeemed_at == release.released_at == entry.happened_at
    for device in {row.device_id for row in releases}:
        mine = [row.sequence for row in releases if row.device_id == device]
        assert mine == [*range(1, len(mine) + 1)]
