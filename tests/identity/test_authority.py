# SPDX-License-Identifier: Apache-2.0
"""The device CA: what it issues and revokes, and how it is rolled over."""

import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from identity.anything_goes import DAY, NOON, SERIAL

from fleet.identity import authority
from fleet.identity.authority import DeviceAuthority, certs_only_pkcs7
from fleet.identity.device_ca import AuthorityFault, DeviceCa, Revocation
from fleet.identity.trust import TrustAnchors

KEY = ec.generate_private_key(ec.SECP256R1()).public_key()

# The programs that check our work have no clock but the real one.
TODAY = datetime.now(UTC)


def openssl(folder: Path, command: str) -> str:
    words = ["openssl", *command.split()]
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def issue(folder: Path, *, now: datetime = NOON, **more: object) -> x509.Certificate:
    return DeviceAuthority.load(folder).issue(
        KEY, serial_number=SERIAL, now=now, **more
    )


def write(path: Path, *certificates: x509.Certificate) -> Path:
    path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
    return path


def value_of(certificate: x509.Certificate, kind: type) -> object:
    return certificate.extensions.get_extension_for_class(kind)


def test_a_certificate_says_who_the_pbx_is_and_nothing_else(folder: Path) -> None:
    issued = issue(folder)
    assert issued.subject.rfc4514_string() == f"2.5.4.5={SERIAL}"
    assert issued.public_key() == KEY
    assert issued.not_valid_before_utc == NOON - timedelta(hours=1)
    assert issued.not_valid_after_utc == NOON + 365 * DAY
    usage = value_of(issued, x509.ExtendedKeyUsage)
    assert list(usage.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    key_usage = value_of(issued, x509.KeyUsage)
    assert key_usage.critical
    assert key_usage.value.digital_signature
    assert not key_usage.value.key_cert_sign
    issuer = value_of(issued, x509.AuthorityKeyIdentifier).value.key_identifier
    assert issuer == DeviceAuthority.load(folder).key_id
    assert value_of(issued, x509.SubjectKeyIdentifier)


def test_numbers_are_random_positive_and_fit(folder: Path) -> None:
    numbers = {issue(folder).serial_number for _ in range(20)}
    assert len(numbers) == 20
    assert all(0 < number < 2**159 for number in numbers)
    assert max(numbers) > 2**140


def test_no_certificate_outlives_its_ca(folder: Path) -> None:
    authority_ = DeviceAuthority.load(folder)
    ca_end = authority_.chain()[0].not_valid_after_utc
    late = issue(folder, now=ca_end - 10 * DAY)
    assert late.not_valid_after_utc == ca_end


@pytest.mark.parametrize(
    "key", [KEY, ed25519.Ed25519PrivateKey.generate().public_key()], ids=["EC", "Ed"]
)
def test_openssl_verifies_what_is_issued(tmp_path: Path, key: object) -> None:
    authority.create(tmp_path, now=TODAY)
    issued = DeviceAuthority.load(tmp_path).issue(key, serial_number=SERIAL, now=TODAY)
    write(tmp_path / "leaf.crt", issued)
    said = openssl(
        tmp_path,
        "verify -x509_strict -purpose sslclient -CAfile issuing.pem leaf.crt",
    )
    assert "leaf.crt: OK" in said


def test_openssl_reads_and_verifies_the_crl(tmp_path: Path) -> None:
    authority.create(tmp_path, now=TODAY)
    loaded = DeviceAuthority.load(tmp_path)
    bad, good = (issue(tmp_path, now=TODAY) for _ in range(2))
    revoked = [
        Revocation(bad.serial_number, TODAY, x509.ReasonFlags.key_compromise),
        Revocation(7, TODAY),
    ]
    crl = loaded.crl(iter(revoked), number=42, now=TODAY)
    (tmp_path / "crl.list").write_bytes(crl.public_bytes(Encoding.PEM))
    text = openssl(
        tmp_path, "crl -in crl.list -noout -text -CAfile issuing.pem -verify"
    )
    for said in ("Key Compromise", "X509v3 CRL Number", "42", "Authority Key Identif"):
        assert said in text
    assert text.count("Serial Number:") == 2
    assert text.count("CRL Reason Code") == 1
    assert crl.next_update_utc - crl.last_update_utc == 7 * DAY
    for leaf, code in ((bad, 2), (good, 0)):
        write(tmp_path / "leaf.crt", leaf)
        command = "openssl verify -crl_check -CRLfile crl.list -CAfile issuing.pem"
        done = subprocess.run(
            [*command.split(), "leaf.crt"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert ("revoked" in done.stderr) is (code == 2)


def test_openssl_reads_the_certs_only_pkcs7(folder: Path) -> None:
    loaded = DeviceAuthority.load(folder)
    (folder / "p7").write_bytes(certs_only_pkcs7([issue(folder), *loaded.chain()]))
    said = openssl(folder, "pkcs7 -inform DER -in p7 -print_certs")
    assert said.count("BEGIN CERTIFICATE") == 2
    assert SERIAL in said


def test_the_ca_is_what_it_should_be(folder: Path) -> None:
    (ca,) = DeviceAuthority.load(folder).chain()
    assert ca.subject == ca.issuer
    constraints = value_of(ca, x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = value_of(ca, x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    own = value_of(ca, x509.SubjectKeyIdentifier).value.digest
    assert value_of(ca, x509.AuthorityKeyIdentifier).value.key_identifier == own
    assert 19 * 365 < (ca.not_valid_after_utc - NOON).days < 21 * 365


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_creating_again_overwrites_nothing(folder: Path) -> None:
    before = files_of(folder)
    assert not authority.create(folder, now=NOON + DAY)
    assert files_of(folder) == before


def test_the_private_key_is_readable_by_its_owner_only(folder: Path) -> None:
    authority.begin_rollover(folder, now=NOON)
    modes = {
        path.suffix: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()
    }
    assert modes == {".key": 0o600, ".pem": 0o644}


def test_an_interrupted_creation_is_finished(folder: Path) -> None:
    key = (folder / "issuing.key").read_bytes()
    (folder / "issuing.pem").unlink()
    assert authority.create(folder, now=NOON)
    assert (folder / "issuing.key").read_bytes() == key
    assert issue(folder)


def test_after_a_roll_over_the_new_ca_issues_and_both_revoke(folder: Path) -> None:
    running = DeviceAuthority(folder, look_every=0)
    old_id, old = running.key_id, issue(folder)
    authority.begin_rollover(folder, now=NOON + DAY)
    assert running.key_id != old_id
    new_ca, old_ca = running.issuers()
    assert old_ca.key_id == old_id
    assert new_ca.key_id == running.key_id
    assert issue(folder).issuer == new_ca.certificate.subject
    revoked = [Revocation(old.serial_number, NOON)]
    crl = old_ca.crl(revoked, number=1, now=NOON)
    assert crl.issuer == old.issuer
    assert crl.is_signature_valid(old_ca.certificate.public_key())
    assert len(running.chain()) == 1


def test_roll_overs_can_follow_each_other(folder: Path) -> None:
    for _ in range(3):
        authority.begin_rollover(folder, now=NOON)
    ids = {each.key_id for each in DeviceAuthority.load(folder).issuers()}
    assert len(ids) == 4
    assert len(TrustAnchors.load(folder).certificates()) == 4


def test_a_roll_over_cut_off_anywhere_leaves_a_ca_that_issues(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    der = issue(folder).public_bytes(Encoding.DER)
    for writes_done in range(5):
        cut_after(monkeypatch, writes_done)
        with pytest.raises(OSError, match="power"):
            authority.begin_rollover(folder, now=NOON)
        monkeypatch.undo()
        trust = TrustAnchors.load(folder)
        trust.verify(der, NOON)
        trust.verify(issue(folder).public_bytes(Encoding.DER), NOON)
        assert DeviceAuthority.load(folder).issuers()


def cut_after(monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """Let the power fail when the files have been written ``writes`` times."""
    left = [writes]

    def failing(write: Callable[..., object]) -> Callable[..., object]:
        def until_then(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise OSError("power")
            return write(*args, **kwargs)

        return until_then

    for name in ("write_new", "replace"):
        monkeypatch.setattr(authority, name, failing(getattr(authority, name)))


def remove_key(folder: Path) -> None:
    (folder / "issuing.key").unlink()


def remove_certificate(folder: Path) -> None:
    (folder / "issuing.pem").unlink()


def break_key(folder: Path) -> None:
    (folder / "issuing.key").write_text("half a k")


def break_certificate(folder: Path) -> None:
    (folder / "issuing.pem").write_text("half a certi")


def swap_key(folder: Path) -> None:
    authority.create(folder / "other", now=NOON)
    (folder / "other" / "issuing.key").rename(folder / "issuing.key")


@pytest.mark.parametrize(
    "damage", [remove_key, remove_certificate, break_key, break_certificate, swap_key]
)
def test_damaged_files_are_a_fault_that_names_them(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    running = DeviceAuthority(folder, look_every=0)
    damage(folder)
    with pytest.raises(AuthorityFault, match=r"issuing\.(key|pem)"):
        DeviceAuthority.load(folder)
    assert running.issue(KEY, serial_number=SERIAL, now=NOON)
    assert running.warnings(NOON) != []


def test_the_end_of_a_ca_is_announced_two_years_ahead(folder: Path) -> None:
    loaded = DeviceAuthority.load(folder)
    end = loaded.chain()[0].not_valid_after_utc
    assert loaded.warnings(end - 731 * DAY) == []
    assert "roll-over" in loaded.warnings(end - 729 * DAY)[0]
    authority.begin_rollover(folder, now=end - 300 * DAY)
    rolled = DeviceAuthority.load(folder)
    assert rolled.warnings(end - DAY) == []
    assert "remove" in rolled.warnings(end + DAY)[0]


def test_a_private_key_is_never_printed(folder: Path) -> None:
    ca: DeviceCa = DeviceAuthority.load(folder).issuers()[0]
    assert "private" not in repr(ca)
