# SPDX-License-Identifier: Apache-2.0
"""PBXs that call through a trusted proxy, each request from another address."""

import http.client
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.fleet_at_work import FLEET, SECRET, WorkingPbx, facts
from faults.retention.house import House
from faults.retention.rows import KNOWN
from faults.retention.running import pause
from make import make_nonce
from service import Reply, Service, ask, connect

Sent = tuple[str, str, str | None, str | None]
"""What a record must hold: service, address, device type, version."""


@dataclass
class CallingPbx(WorkingPbx):
    """A PBX on one connection; ``sent`` is what was recorded of it."""

    sent: list[Sent] = field(default_factory=list)

    @contextmanager
    def line(self) -> Iterator[http.client.HTTPConnection]:
        """Open a connection that shows the certificate."""
        context = self.service.context(self.certificate)
        with closing(
            connect("localhost", self.service.port, context=context)
        ) as connection:
            yield connection

    def check_from(
        self,
        address: str,
        line: http.client.HTTPConnection,
        *,
        words: tuple[str, str] = KNOWN[0],
    ) -> Reply:
        """Check, as a proxy hands it on."""
        body: dict[str, Any] = facts(self.serial_number)
        body["device_type"], body["software_version"] = words
        if self.continuation is not None:
            body["continuation"] = self.continuation
        headers = {"X-Forwarded-For": f"10.9.8.7, {address}"}
        reply = ask(line, "POST", "/cic/v1/check", json=body, headers=headers)
        assert reply.status == 200, (reply.body, self.service.logged()[-5000:])
        self.continuation = reply.json["continuation"]
        self.sent.append(("cic", address, *words))
        return reply

    def sync_from(self, address: str, line: http.client.HTTPConnection) -> None:
        """Ask what may be used."""
        path = f"/voucher/v1/entitlements?nonce={make_nonce()}"
        reply = ask(line, "GET", path, headers={"X-Forwarded-For": address})
        assert reply.status == 200, reply.body
        self.sent.append(("voucher", address, None, None))


def initialised(service: Service, folder: Path, count: int) -> list[CallingPbx]:
    """Return PBXs that have a certificate."""
    pbxs = [CallingPbx(service, folder, serial) for serial in FLEET[:count]]
    for pbx in pbxs:
        assert pbx.initialise().status == 201
    return pbxs


def call(pbxs: Sequence[CallingPbx], addresses: Sequence[str]) -> None:
    """Let each address call once, through one PBX or another."""
    for number, pbx in enumerate(pbxs):
        with pbx.line() as line:
            for turn, address in enumerate(addresses[number :: len(pbxs)]):
                if turn % 4 == 3:
                    pbx.sync_from(address, line)
                else:
                    words = KNOWN[0] if turn else KNOWN[2]
                    pbx.check_from(address, line, words=words)


def be_refused(service: Service, addresses: Sequence[str]) -> None:
    """Do what is refused, and perhaps logged, from each address."""
    guess = {**facts(FLEET[-1]), "device_secret": SECRET + "!", "csr": "x"}
    for address in addresses:
        headers = {"X-Forwarded-For": address, "Authorization": "Bearer nonsense"}
        for method, path, body in (
            ("POST", "/cic/v1/initialise", guess),
            ("POST", "/cic/v1/check", facts(FLEET[0])),
            ("GET", "/cic/v1/devices", None),
            ("GET", f"/nowhere/{len(address)}", None),
        ):
            reply = service.request(method, path, json=body, headers=headers)
            assert 400 <= reply.status < 500, reply.body


def pause_jobs(house: House) -> None:
    """Stop the jobs process of a service."""
    for _ in range(200):
        for pid in house.service.workers():
            if b"jobs" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                pause(pid, house)
                return
        time.sleep(0.05)
    raise AssertionError("no jobs process")


def until_recorded(house: House, pbxs: Sequence[CallingPbx]) -> None:
    """Wait until all that was sent is in the database, exactly once and as it was."""
    wanted = sorted(
        (tuple(map(str, each)) for pbx in pbxs for each in pbx.sent),
    )
    deadline = time.monotonic() + 15
    while True:
        found = sorted(
            (row.service, row.address, str(row.device_type), str(row.software_version))
            for row in house.rows()
            if not row.address.startswith("127.")
        )
        if found == wanted:
            return
        assert time.monotonic() < deadline, (len(found), len(wanted))
        time.sleep(0.1)
