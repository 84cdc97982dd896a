# SPDX-License-Identifier: Apache-2.0
"""PBXs and staff at work from many threads, who remember what was acknowledged.

Each does one thing after another. Where an answer is lost it does what firmware
does: it sends the same again. So in the end everything that was acknowledged must
be there, whatever happened to the service meanwhile.
"""

import http.client
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from make import make_csr
from service import Reply, Service

SECRET = "a device secret of the factory list"
FLEET = [f"CX4{number:09}" for number in range(1, 41)]

# What a client sees where the service or the network goes away under it.
LOST = (OSError, http.client.HTTPException, EOFError)


def facts(serial_number: str) -> dict[str, Any]:
    """Return what every request of a PBX says."""
    return {
        "serial_number": serial_number,
        "nonce": secrets.token_urlsafe(16),
        "device_type": "COMtrexx VM",
        "software_version": "2.0.1",
    }


@dataclass
class WorkingPbx:
    """One PBX, and what it was promised."""

    service: Service
    folder: Path
    serial_number: str
    generation: int = 0
    continuation: str | None = None
    checks: int = 0
    _pending: ec.EllipticCurvePrivateKey | None = None
    _first_check: dict[str, Any] | None = None

    @property
    def certificate(self) -> Path:
        return self.folder / f"{self.serial_number}.pem"

    def initialise(self, *, new_key: bool = True) -> Reply:
        """Initialise; the key stays the same until the answer has come."""
        if self._pending is None or new_key:
            self._pending = ec.generate_private_key(ec.SECP256R1())
        key = self._pending
        body = facts(self.serial_number) | {
            "device_secret": SECRET,
            "csr": make_csr(key, self.serial_number),
        }
        reply = self.service.request("POST", "/cic/v1/initialise", json=body)
        if reply.status == 201:
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            chain = reply.json["certificate_chain"].encode()
            self.certificate.write_bytes(chain + pem)
            self.continuation, self._pending = None, None
            self._first_check = facts(self.serial_number)
            self.generation += 1
        return reply

    def check(self) -> Reply:
        """Check, with the continuation that was given last.

        While none was given it is the same request every time: its nonce alone
        tells its repeat from the first check of a clone.
        """
        body = self._first_check or facts(self.serial_number)
        if self.continuation is not None:
            body["continuation"] = self.continuation
        reply = self.service.request(
            "POST", "/cic/v1/check", json=body, certificate=self.certificate
        )
        if reply.status == 200:
            self.continuation = reply.json["continuation"]
            self._first_check = None
            self.checks += 1
        return reply

    def work(self, turn: int) -> Reply:
        """Do the next thing: mostly checks, and three re-initialisations in all."""
        if self._pending is not None:
            return self.initialise(new_key=False)
        if self.generation == 0 or (turn % 7 == 0 and self.generation < 4):
            return self.initialise()
        return self.check()

    def settle(self) -> None:
        """Finish what is under way, and check once more."""
        if self._pending is not None:
            reply = self.initialise(new_key=False)
            assert reply.status == 201, (self.serial_number, reply.body)
        reply = self.check()
        assert reply.status == 200, (self.serial_number, reply.body)


@dataclass
class WorkingStaff:
    """Somebody who blocks and unblocks one PBX in turn, and remembers which."""

    service: Service
    headers: dict[str, str]
    serial_number: str
    wanted: str = "unblock"
    acknowledged: str = "unblock"
    decisions: int = 0

    @property
    def url(self) -> str:
        return f"/cic/v1/devices/{self.serial_number}"

    def work(self, _turn: int) -> Reply:
        """Repeat what was not acknowledged, or else decide the opposite."""
        if self.wanted == self.acknowledged:
            self.wanted = "block" if self.wanted == "unblock" else "unblock"
        reply = self.service.request(
            "POST",
            f"{self.url}/{self.wanted}",
            json={"reason": "a test"},
            headers=self.headers,
        )
        if reply.status == 200:
            self.acknowledged = self.wanted
            self.decisions += 1
        return reply

    def told(self, serial_number: str | None = None) -> dict[str, Any]:
        """Return what the service says of a PBX."""
        path = f"/cic/v1/devices/{serial_number or self.serial_number}"
        reply = self.service.request("GET", path, headers=self.headers)
        assert reply.status == 200, reply.body
        said: dict[str, Any] = reply.json
        return said


@dataclass
class Shift:
    """All of them at work, each in a thread of its own, until told to stop."""

    workers: Sequence[WorkingPbx | WorkingStaff]
    replies: list[Reply] = field(default_factory=list)
    lost: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for each in self.workers:
            thread = threading.Thread(target=self._labour, args=(each.work,))
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _labour(self, work: Callable[[int], Reply]) -> None:
        turn = 0
        while not self._over.is_set():
            turn += 1
            try:
                self.replies.append(work(turn))
            except LOST:
                self.lost += 1
                self._over.wait(0.05)

    def statuses(self) -> set[int]:
        """Return every status that was answered."""
        return {each.status for each in self.replies}


def make_fleet(service: Service, folder: Path, count: int) -> list[WorkingPbx]:
    """Return PBXs that are registered and know nothing yet."""
    return [WorkingPbx(service, folder, serial) for serial in FLEET[:count]]


def check_all_is_there(
    pbxs: Sequence[WorkingPbx], staff: WorkingStaff, service: Service
) -> None:
    """Fail where anything that was acknowledged is not there."""
    for pbx in pbxs:
        pbx.settle()
        told = staff.told(pbx.serial_number)
        assert told["state"] == "active"
        assert told["generation"] >= pbx.generation >= 1
        assert not told["clone_suspected"], pbx.serial_number
        in_force = [each for each in told["certificates"] if each["in_force"]]
        assert len(in_force) == 1, told["certificates"]
    blocked = staff.told()["state"] == "blocked"
    if staff.wanted == staff.acknowledged:
        assert blocked == (staff.acknowledged == "block")
    assert '"whole": true' in service.run("staff", "audit", "--verify", "--json")
