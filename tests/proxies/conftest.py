# SPDX-License-Identifier: Apache-2.0
"""One fleet, served natively and behind real proxies; a new PBX for each test."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from proxies import fronts
from proxies.fronts import PROXY, Front, Site
from proxies.plain_pbx import SECRET, Place, PlainPbx
from service import Service

FLEET = [f"CX{number:010}" for number in range(1, 301)]
_next = count()

PROXIES = [
    pytest.param(name, marks=pytest.mark.foreign(name)) for name in ("nginx", "haproxy")
]


@pytest.fixture(scope="session")
def fleet_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that knows every PBX of ``FLEET``."""
    service = Service(tmp_path_factory.mktemp("fleet"))
    service.import_devices((serial, SECRET) for serial in FLEET)
    return service.data_dir


@pytest.fixture(scope="session")
def behind(
    fleet_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service behind proxies, of which 127.0.0.2 alone is trusted."""
    folder = tmp_path_factory.mktemp("behind")
    with Service(
        folder,
        data=fleet_data,
        PBX_TLS="off",
        PBX_TRUSTED_PROXIES=PROXY,
        PBX_METRICS_NETWORKS="127.0.0.1",
    ) as service:
        yield service


@pytest.fixture(scope="session")
def native(
    fleet_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service with TLS of its own; it trusts 127.0.0.2 with addresses."""
    folder = tmp_path_factory.mktemp("native")
    with Service(folder, data=fleet_data, PBX_TRUSTED_PROXIES=PROXY) as service:
        yield service


@pytest.fixture(scope="session", params=PROXIES)
def front(
    request: pytest.FixtureRequest,
    behind: Service,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Front]:
    """nginx, then haproxy, as ``deploy/`` has them."""
    found = fronts.start(request.param, site_of(behind, tmp_path_factory.mktemp("f")))
    try:
        yield found
    finally:
        found.stop()


def site_of(service: Service, folder: Path, **changes: str) -> Site:
    """Return what a proxy needs to stand before ``service``."""
    folder.mkdir(exist_ok=True)
    device_ca = folder / "device-ca.pem"
    with device_ca.open("wb") as file:
        for each in sorted((service.data_dir / "device-ca").glob("*.pem")):
            file.write(each.read_bytes())
    server_pem = folder / "server.pem"
    shutil.copy(service.data_dir / "tls" / "server.pem", server_pem)
    return Site(folder, service.port, server_pem, device_ca, changes)


@pytest.fixture
def devices(front: Front, behind: Service) -> Place:
    """Where PBXs call the proxy."""
    return Place(front.devices, behind.data_dir)


@pytest.fixture
def people(front: Front, behind: Service) -> Place:
    """Where people call the proxy."""
    return Place(front.people, behind.data_dir)


@pytest.fixture
def past_the_proxy(behind: Service) -> Place:
    """The service's own port, called from an address that is not trusted."""
    return Place(behind.port, behind.data_dir, tls=False)


@pytest.fixture
def as_the_proxy(behind: Service) -> Place:
    """The service's own port, called from the trusted address."""
    return Place(behind.port, behind.data_dir, source=PROXY, tls=False)


@pytest.fixture
def native_place(native: Service) -> Place:
    """The service that ends TLS itself."""
    return Place(native.port, native.data_dir)


@dataclass(frozen=True)
class Pair:
    """Two PBXs, of which one would like to be the other."""

    thief: PlainPbx
    victim: PlainPbx


def _pair(place: Place, folder: Path) -> Pair:
    thief, victim = (PlainPbx(FLEET[next(_next)], folder) for _ in range(2))
    thief.initialise(place)
    victim.initialise(place)
    return Pair(thief, victim)


@pytest.fixture(scope="session")
def pair(behind: Service, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Two PBXs of the service behind proxies."""
    place = Place(behind.port, behind.data_dir, tls=False)
    return _pair(place, tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="session")
def native_pair(native: Service, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Two PBXs of the service that ends TLS itself."""
    place = Place(native.port, native.data_dir)
    return _pair(place, tmp_path_factory.mktemp("pair"))


@dataclass(frozen=True)
class MakePbx:
    """Makes PBXs that no other test knows."""

    folder: Path

    def serial_number(self) -> str:
        return FLEET[next(_next)]

    def __call__(self, place: Place) -> PlainPbx:
        pbx = PlainPbx(self.serial_number(), self.folder)
        pbx.initialise(place)
        return pbx


@pytest.fixture
def make_pbx(tmp_path: Path) -> MakePbx:
    """Initialise a PBX that no other test knows."""
    return MakePbx(tmp_path)
