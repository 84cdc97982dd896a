# SPDX-License-Identifier: Apache-2.0
"""Clocks that are wrong, of the server and of a PBX, lock nobody."""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificates
from faults.conftest import Start
from faults.fleet_at_work import WorkingPbx, WorkingStaff, make_fleet
from faults.moved_clock import MovedClock
from flask import Flask
from flask.testing import FlaskClient
from freezegun import freeze_time
from make import SECRET, SERIAL, make_device
from service import Service

from fleet.clock import utcnow
from fleet.database import db
from fleet.pbx.appliance import ReferencePbx
from fleet.pbx.clocks import AcceleratedClock
from fleet.pbx.errors import Unreachable
from fleet.pbx.factory import Firmware, Identity
from fleet.pbx.life import Announce
from fleet.pbx.memory import VolatileMemory
from fleet.pbx.surroundings import Surroundings
from fleet.pbx.transport import Answer, Request
from fleet.server.pulse import timekeeper
from fleet.settings import Networks, Settings
from wsgi import create_app

DAY = timedelta(days=1)


def _verdict(service: Service, pbx: WorkingPbx) -> str:
    assert pbx.check().status == 200
    told = WorkingStaff(service, service.staff(), pbx.serial_number).told()
    return str(told["checks"]["last_verdict"])


@pytest.mark.foreign("gcc")
@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_clock_that_leaps_ahead_while_serving_locks_nobody(
    start: Start, tmp_path: Path, clock: MovedClock
) -> None:
    service = start(environment=clock.environment)
    pbx = make_fleet(service, tmp_path, 1)[0]
    assert pbx.initialise().status == 201
    clock.move(40 * DAY)
    assert _verdict(service, pbx) == "active"


@pytest.mark.foreign("gcc")
@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_clock_that_is_ahead_after_a_restart_locks_nobody_and_is_mended(
    start: Start, tmp_path: Path, clock: MovedClock
) -> None:
    """Ahead, it is an outage; back again, nothing is signed until somebody says so."""
    service = start(environment=clock.environment)
    pbx = make_fleet(service, tmp_path, 1)[0]
    assert pbx.initialise().status == 201
    service.stop()
    clock.move(40 * DAY)
    service.start()
    assert _verdict(service, pbx) == "active"

    clock.move(-40 * DAY)
    for refused in (pbx.check(), pbx.initialise()):
        assert (refused.status, refused.code) == (503, "clock-not-trusted")
        assert int(refused.headers["retry-after"]) > 0
    ready = service.request("GET", "/health/ready")
    assert ready.status == 503
    assert not ready.json["checks"]["clock"]["ok"]
    assert "callhome clock --accept" in service.run("doctor", check=False)

    service.run("clock", "--accept")
    _until_answered(pbx.check)
    assert _verdict(service, pbx) == "active"
    service.wait_until_ready()


def _until_answered(call: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while getattr(call(), "status", 0) != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)


@dataclass
class Wire:
    """From a reference PBX to the application, at the time of the PBX's world."""

    client: FlaskClient
    clock: AcceleratedClock
    cut: bool = False

    def send(self, request: Request) -> Answer:
        if self.cut:
            raise Unreachable("the vendor is down")
        headers = dict(request.headers)
        if request.credentials is not None:
            leaf = load_pem_x509_certificates(request.credentials.chain.encode())[0]
            der = base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()
            headers["Client-Cert"] = f":{der}:"
        with freeze_time(self.clock.now()):
            timekeeper().beat()
            answer = self.client.open(
                request.path, method=request.method, data=request.body, headers=headers
            )
        found = {name.lower(): value for name, value in answer.headers}
        return Answer(status=answer.status_code, headers=found, body=answer.data)

    def close(self) -> None:
        pass


def _pbx(wire: Wire, root: Path, said: list[Announce]) -> ReferencePbx:
    key = load_pem_public_key(root.read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    return ReferencePbx(
        Identity(serial_number=SERIAL, device_secret=SECRET),
        Firmware(
            device_type="COMtrexx VM",
            software_version="2.0.1",
            root_key=key,
            built_at=utcnow() - DAY,
        ),
        transport=wire,
        memory=VolatileMemory(),
        surroundings=Surroundings(clock=wire.clock, tell=said.append),
    )


def _served(settings: Settings, *, credit: bool) -> Flask:
    app = create_app(
        replace(
            settings,
            tls=False,
            trusted_proxies=Networks.of("127.0.0.1"),
            outage_credit=credit,
        )
    )
    app.testing = True
    return app


@pytest.mark.parametrize("credit", [True, False])
def test_a_pbx_cut_off_by_our_outage_locks_itself_and_is_unlocked_by_our_return(
    settings: Settings, *, credit: bool
) -> None:
    """Without the credit the same PBX is told to re-initialise."""
    app = _served(settings, credit=credit)
    with app.app_context():
        make_device()
        clock = AcceleratedClock(utcnow())
        wire = Wire(app.test_client(), clock)
        root = settings.data_dir / "keys" / "root.pub.pem"
        pbx = _pbx(wire, root, [])
        pbx.boot()
        pbx.initialise()
        pbx.live_for(3 * DAY)
        assert pbx.standing == "running"

        wire.cut = True
        pbx.live_for(40 * DAY)
        assert pbx.standing == "locked-by-itself"
        assert not pbx.functions_enabled

        wire.cut = False
        pbx.live_for(timedelta(hours=3))
        assert pbx.state.generation == 1 or not credit
        assert pbx.functions_enabled is credit
        assert (pbx.standing == "running") is credit
        db.session.remove()
        db.engine.dispose()
