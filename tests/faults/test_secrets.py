# SPDX-License-Identifier: Apache-2.0
"""What nobody may find where it does not belong, after a life with many faults.

Everything that is secret, or says which PBX or person it was, is looked for in the
log at level debug, in refusals, in metrics, in the audit log and in the database.
"""

import base64
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from faults.conftest import Start
from faults.fleet_at_work import FLEET, SECRET, WorkingPbx, facts, make_fleet
from make import make_csr, make_nonce
from service import Reply, Service, ask, connect

ADDRESS = "127.0.0.5"
MAC = "58:9e:c6:0d:8c:73"
GUESS = "a wrong guess at a secret"


@dataclass
class Story:
    """Who calls, from an address of their own, and all that they were answered."""

    service: Service
    staff: dict[str, str]
    replies: list[Reply] = field(default_factory=list)
    nonces: list[str] = field(default_factory=list)

    def ask(
        self, method: str, path: str, *, certificate: Path | None = None, **more: Any
    ) -> Reply:
        """Ask once, from the address of a client."""
        sent = more.get("json")
        if isinstance(sent, dict) and "nonce" in sent:
            self.nonces.append(sent["nonce"])
        context = self.service.context(certificate)
        with closing(
            connect("127.0.0.1", self.service.port, context=context, source=ADDRESS)
        ) as connection:
            reply = ask(connection, method, path, **more)
        self.replies.append(reply)
        return reply

    def refusals(self) -> str:
        """Return all answers that were no success."""
        return "\n".join(
            f"{each.headers}{each.body.decode()}"
            for each in self.replies
            if each.status >= 400
        )


def _live(story: Story, pbx: WorkingPbx) -> None:
    """Let good and bad things happen; each is answered as it should be."""
    serial = pbx.serial_number
    csr = "not a request"
    initialise = facts(serial) | {"csr": csr, "device_secret": SECRET}
    check = facts(serial)
    url = f"/cic/v1/devices/{serial}"
    bad_token = {"Authorization": "Bearer cht_1_" + "G" * 43}
    with_mac = {
        "serial_number": "CX4999999999",
        "device_secret": SECRET + "!",
        "device_type": "COMtrexx VM",
        "mac_address": MAC,
    }
    certificate = pbx.certificate
    for expected, method, path, more in (
        (400, "POST", "/cic/v1/initialise", {"json": initialise}),
        (403, "POST", "/cic/v1/initialise", {"json": _guess(serial)}),
        (200, "POST", "/cic/v1/check", {"json": check, "certificate": certificate}),
        (401, "POST", "/cic/v1/check", {"json": check}),
        (
            403,
            "POST",
            "/cic/v1/check",
            {"json": facts(FLEET[5]), "certificate": certificate},
        ),
        (400, "POST", "/cic/v1/check", {"body": b"{", "certificate": certificate}),
        (201, "POST", "/cic/v1/devices", {"json": with_mac, "headers": story.staff}),
        (
            409,
            "POST",
            "/cic/v1/devices",
            {"json": with_mac | {"device_secret": SECRET}, "headers": story.staff},
        ),
        (200, "POST", f"{url}/block", {"json": {}, "headers": story.staff}),
        (401, "GET", f"{url}?q={MAC}", {"headers": bad_token}),
        (404, "GET", f"/cic/v1/devices/{serial}0/x", {"headers": story.staff}),
        (405, "DELETE", url, {"headers": story.staff}),
    ):
        reply = story.ask(method, path, **more)
        assert reply.status == expected, (method, path, reply.body)


def _guess(serial: str) -> dict[str, str]:
    csr = make_csr(ec.generate_private_key(ec.SECP256R1()), serial)
    return facts(serial) | {"device_secret": GUESS, "csr": csr}


def _break_the_database(service: Service) -> None:
    """Take a table away, so that what is unforeseen happens in mid-request."""
    engine = sa.create_engine(_url(service))
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE life_event RENAME TO gone"))
        connection.execute(sa.text("ALTER TABLE guess_count RENAME TO gone_too"))
    engine.dispose()


def _url(service: Service) -> str:
    path = service.data_dir / "callhome.sqlite3"
    return service.settings["PBX_DATABASE_URL"] or f"sqlite:///{path}"


def _dump(service: Service) -> dict[str, list[str]]:
    """Return every row of every table, as text, with bytes in hexadecimal."""
    engine = sa.create_engine(_url(service))
    metadata = sa.MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        tables = {
            table.name: [
                " ".join(
                    bytes(value).hex()
                    if isinstance(value, (bytes, memoryview))
                    else str(value)
                    for value in row
                )
                for row in connection.execute(sa.select(table))
            ]
            for table in metadata.tables.values()
        }
    engine.dispose()
    return tables


def _secrets(service: Service, story: Story, release_key: str) -> set[str]:
    raw = base64.urlsafe_b64decode(release_key + "=")
    files = [*service.data_dir.glob("keys/*/*.key")]
    assert len(files) >= 5
    return {
        SECRET,
        GUESS,
        story.staff["Authorization"].removeprefix("Bearer "),
        "G" * 43,
        release_key,
        raw.hex(),
        "PRIVATE KEY",
        *(file.read_text().strip() for file in files),
    }


def _persons(story: Story) -> set[str]:
    """Return what tells a PBX or a person from others."""
    assert len(story.nonces) > 4
    plain = {"CX4999999999", MAC, MAC.replace(":", ""), ADDRESS, "Anna Agent"}
    return plain | set(FLEET[:10]) | set(story.nonces)


def _found(wanted: set[str], text: str) -> set[str]:
    lower = text.lower()
    return {each for each in wanted if each.lower() in lower}


def test_nothing_that_is_secret_or_personal_is_where_it_does_not_belong(
    start: Start, tmp_path: Path, database_kind: str
) -> None:
    service = start(PBX_LOG_LEVEL="debug")
    pbx = make_fleet(service, tmp_path, 1)[0]
    made = pbx.initialise()
    assert made.status == 201
    story = Story(service, service.staff())
    _live(story, pbx)
    metrics = service.request("GET", "/metrics")
    audit = service.request("GET", "/staff/v1/audit?limit=200", headers=story.staff)
    assert (metrics.status, audit.status) == (200, 200)
    _break_the_database(service)
    failed = 503 if database_kind == "sqlite" else 500
    assert story.ask("POST", "/cic/v1/initialise", json=_guess(FLEET[6])).status == (
        failed
    )
    unblock = f"/cic/v1/devices/{pbx.serial_number}/unblock"
    assert story.ask("POST", unblock, json={}, headers=story.staff).status == failed
    service.stop()

    secrets = _secrets(service, story, made.json["release_key"])
    persons = _persons(story)
    log = service.logged()
    assert "request failed" in log  # the log says that, and not what
    assert "Traceback" not in log
    assert not _found(secrets | persons, log)
    assert not _found(secrets | persons, metrics.body.decode())
    assert not _found(secrets | {ADDRESS, MAC, *story.nonces}, story.refusals())
    assert not _found(secrets | {ADDRESS, *story.nonces}, audit.body.decode())
    _check_database(_dump(service), secrets, story)


def _check_database(
    tables: dict[str, list[str]], secrets: set[str], story: Story
) -> None:
    everything = "\n".join(row for rows in tables.values() for row in rows)
    hexed = {each.encode().hex() for each in secrets}
    assert not _found(secrets | hexed, everything)
    records = "\n".join(tables["access_record"])
    assert ADDRESS in records  # which is what the record is for
    assert not _found({*FLEET, MAC, "Anna Agent", *story.nonces}, records)
    elsewhere = [
        row
        for name, rows in tables.items()
        if not name.startswith("access_record")  # nor one of its rooms
        for row in rows
    ]
    assert not _found({ADDRESS, ADDRESS.encode().hex()}, "\n".join(elsewhere))


def test_the_search_would_find_what_it_looks_for() -> None:
    nonce = make_nonce()
    assert _found({SECRET, nonce}, f"x {SECRET.upper()} {nonce}") == {SECRET, nonce}
