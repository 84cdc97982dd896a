# SPDX-License-Identifier: Apache-2.0
"""The reference PBX and the service as an operator runs it: the demo, in earnest."""

import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from service import Service

from deploy.demo_customer import redeem
from fleet.pbx.appliance import ReferencePbx
from fleet.pbx.codes import NotAccepted
from fleet.pbx.errors import Refused
from fleet.pbx.factory import Firmware, Identity
from fleet.pbx.functions import (
    AlreadyCounted,
    AlreadyEntered,
    Product,
    Stacking,
    quantities,
)
from fleet.pbx.lease import Lease
from fleet.pbx.memory import DiskMemory
from fleet.pbx.release_codes import NotForThisPbx
from fleet.pbx.transport import HttpsTransport
from fleet.pbx.voucher_center import Released

SERIAL, OTHER = "CX4000000001", "CX4000000002"
SECRET = "a device secret of the factory list"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "service") as service:
        service.import_devices([(SERIAL, SECRET), (OTHER, SECRET)])
        yield service


def make_pbx(service: Service, folder: Path) -> ReferencePbx:
    """A PBX from the factory, in an empty folder or one that it has lived in."""
    pem = (service.data_dir / "keys" / "root.pub.pem").read_bytes()
    root_key = load_pem_public_key(pem)
    assert isinstance(root_key, Ed25519PublicKey)
    pbx = ReferencePbx(
        Identity(serial_number=SERIAL, device_secret=SECRET),
        Firmware(
            device_type="COMtrexx VM",
            software_version="1.0",
            root_key=root_key,
            built_at=datetime(2026, 1, 1, tzinfo=UTC),
            catalogue={17: Product("users", Stacking.ADD)},
        ),
        transport=HttpsTransport(service.url, ca_file=service.ca_file),
        memory=DiskMemory(folder),
    )
    pbx.boot()
    return pbx


def sold(service: Service, count: int) -> list[str]:
    """Type what an operator types; return the codes."""
    names = [f"--name-{language}=10 users" for language in ("de", "en", "fr")]
    service.run(
        *("voucher", "product", "add", "--number=17", *names),
        *("--function=users", "--unit=user", "--quantity=10"),
    )
    create = ("voucher", "batch", "create", "--product=17", f"--count={count}")
    made = service.run(*create, "--activate", "--plain", "--json")
    codes: list[str] = json.loads(made)["codes"]
    return codes


def users(pbx: ReferencePbx) -> int:
    return quantities(pbx.functions).get("users", 0)


def in_a_browser(service: Service, code: str, serial_number: str = SERIAL) -> str:
    trust = ssl.create_default_context(cafile=str(service.ca_file))
    return redeem(f"{service.url}/voucher/", code, serial_number, trust=trust)


def enter(pbx: ReferencePbx, code: str) -> type[NotAccepted] | None:
    """Type a code in; return how it was refused."""
    try:
        pbx.enter_code(code)
    except NotAccepted as refused:
        return type(refused)
    return None


def test_each_way_leads_to_the_same_functions_and_none_counts_twice(
    service: Service, tmp_path: Path
) -> None:
    by_pbx, typed, synced = sold(service, 3)
    pbx = make_pbx(service, tmp_path / "pbx")
    assert isinstance(pbx.initialise(), Lease)
    assert users(pbx) == 0

    redeemed = pbx.redeem(by_pbx)
    assert isinstance(redeemed, Released)
    first = in_a_browser(service, by_pbx)
    assert first == redeemed.release_code
    assert enter(pbx, first) is AlreadyEntered
    assert users(pbx) == 10

    second = in_a_browser(service, typed)
    assert enter(pbx, second) is None
    assert users(pbx) == 20
    third = in_a_browser(service, synced)
    pbx.sync()
    assert users(pbx) == 30
    assert enter(pbx, second) is AlreadyEntered
    assert enter(pbx, third) is AlreadyCounted

    new_disk = make_pbx(service, tmp_path / "a new disk")
    assert isinstance(new_disk.initialise(), Lease)
    assert new_disk.functions == pbx.functions
    refusals = [enter(new_disk, code) for code in (first, second, third)]
    assert refusals == [AlreadyCounted] * 3


def test_what_another_pbx_has_is_of_no_use(service: Service, tmp_path: Path) -> None:
    (code,) = sold(service, 1)
    pbx = make_pbx(service, tmp_path / "pbx")
    pbx.initialise()

    release_code = in_a_browser(service, code, OTHER)
    refused = pbx.redeem(code)

    assert enter(pbx, release_code) is NotForThisPbx
    assert isinstance(refused, Refused)
    assert refused.code == "voucher-already-redeemed"
    assert pbx.record.vouchers == ()
    assert users(pbx) == 0
