# SPDX-License-Identifier: Apache-2.0
"""A service that ends TLS itself, and PBXs that renew their certificates there."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from est.renewing import RenewingPbx
from proxies.plain_pbx import SECRET, Place
from service import Service

FLEET = [f"CX2{number:09}" for number in range(1, 101)]
_next = count()


@pytest.fixture(scope="session")
def est_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that knows every PBX of ``FLEET``."""
    service = Service(tmp_path_factory.mktemp("est-data"))
    service.import_devices((serial, SECRET) for serial in FLEET)
    return service.data_dir


@pytest.fixture(scope="session")
def service(
    est_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("est"), data=est_data) as service:
        yield service


@pytest.fixture
def place(service: Service) -> Place:
    return Place(service.port, service.data_dir)


@pytest.fixture
def new_pbx(tmp_path: Path) -> RenewingPbx:
    """A PBX that no other test knows, not yet initialised."""
    return RenewingPbx(FLEET[next(_next)], tmp_path)


@pytest.fixture
def pbx(place: Place, new_pbx: RenewingPbx) -> RenewingPbx:
    """The same, initialised."""
    new_pbx.initialise(place)
    return new_pbx
