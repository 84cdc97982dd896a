# SPDX-License-Identifier: Apache-2.0
"""strongSwan's EST client, as Debian ships it, gets what it asks for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from est.renewing import RenewingPbx, run
from proxies import fronts
from proxies.conftest import PROXIES, site_of
from proxies.fronts import PROXY
from proxies.plain_pbx import Place
from service import Service

pytestmark = pytest.mark.foreign("pki")


@pytest.fixture(scope="module")
def behind(
    est_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("est-behind")
    with Service(
        folder, data=est_data, PBX_TLS="off", PBX_TRUSTED_PROXIES=PROXY
    ) as service:
        yield service


@pytest.fixture(scope="module", params=["native", *PROXIES])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """Where strongSwan calls: the service itself, and through each proxy."""
    if request.param == "native":
        native: Service = request.getfixturevalue("service")
        yield Place(native.port, native.data_dir)
        return
    behind: Service = request.getfixturevalue("behind")
    folder = tmp_path_factory.mktemp("est-front")
    front = fronts.start(request.param, site_of(behind, folder))
    try:
        yield Place(front.devices, behind.data_dir)
    finally:
        front.stop()


def test_it_reads_the_trusted_cas(site: Place, tmp_path: Path) -> None:
    ca = site.data_dir / "tls" / "ca.pem"
    words = ["--estca", "--url", f"https://localhost:{site.port}", "--cacert", str(ca)]
    run(tmp_path, "pki", *words, "--caout", "ca.crt", "--outform", "pem")
    issuing = (site.data_dir / "device-ca" / "issuing.pem").read_bytes()
    found = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    assert found == x509.load_pem_x509_certificate(issuing)


def test_it_renews_a_certificate_with_a_new_key(
    site: Place, new_pbx: RenewingPbx, tmp_path: Path
) -> None:
    pbx = new_pbx
    pbx.initialise(site)
    key = run(tmp_path, "pki", "--gen", "--type", "ecdsa", "--size", "256")
    (tmp_path / "new.key").write_bytes(key)
    name = f"serialNumber={pbx.serial_number}"
    request = ["--req", "--type", "ecdsa", "--in", "new.key", "--dn", name]
    (tmp_path / "new.csr").write_bytes(run(tmp_path, "pki", *request))
    old, old_key = pbx.files()
    cas = [site.data_dir / "tls" / "ca.pem", site.data_dir / "device-ca/issuing.pem"]
    words = ["--est", "--url", f"https://localhost:{site.port}", "--in", "new.csr"]
    words += [word for ca in cas for word in ("--cacert", str(ca))]
    words += ["--cert", str(old), "--key", str(old_key), "--outform", "pem"]
    pem = run(tmp_path, "pki", *words)
    in_pem = run(tmp_path, "openssl", "pkey", "-inform", "der", "-in", "new.key")
    renewed = pbx.with_certificate(pem, in_pem)
    assert renewed.chain[0] != pbx.chain[0]
    assert renewed.chain[0].subject == pbx.chain[0].subject
    assert renewed.check(site).status == 200
    assert pbx.check(site).status == 200  # for seven days
