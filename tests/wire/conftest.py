# SPDX-License-Identifier: Apache-2.0
"""A service that time passes for, and PBXs that know only the protocol page."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.moved_clock import MovedClock
from service import Service
from wire.places import SECRETS, Make
from wire.plain_firmware import PlainFirmware, Trust


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    return MovedClock(tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that knows two PBXs, to be copied."""
    service = Service(tmp_path_factory.mktemp("data"))
    service.import_devices(SECRETS.items())
    return service.data_dir


@pytest.fixture
def service(tmp_path: Path, clock: MovedClock, data: Path) -> Iterator[Service]:
    with Service(
        tmp_path / "service",
        data=data,
        environment=clock.environment,
        PBX_OUTAGE_CREDIT="off",
    ) as service:
        yield service


@pytest.fixture
def make_pbx(service: Service, tmp_path: Path) -> Make:
    def make(serial_number: str) -> PlainFirmware:
        folder = tmp_path / serial_number
        folder.mkdir()
        root = service.data_dir / "keys" / "root.pub.pem"
        return PlainFirmware(
            folder,
            serial_number,
            SECRETS[serial_number],
            ("localhost", service.port),
            service.ca_file,
            Trust(folder, root),
        )

    return make
