# SPDX-License-Identifier: Apache-2.0
"""A PBX written from the protocol page alone: openssl, curl, HTTPS and JSON.

It shares no code with the project and no library for JOSE. What it does not find
signed by the root key, or by a key that the root has signed, it does not believe.
"""

import base64
import hashlib
import http.client
import json
import secrets
import ssl
import subprocess
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import codes_by_the_text

# RFC 8410: what precedes the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo.
ED25519 = bytes.fromhex("302a300506032b6570032100")

DAY = timedelta(days=1)


class NotBelieved(Exception):  # noqa: N818 -- nothing is an answer, too
    """A document that is not what was asked for: nothing, to a PBX."""


class Refused(Exception):  # noqa: N818 -- a refusal is an answer
    """A problem document (RFC 9457)."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        assert headers["content-type"] == "application/problem+json"
        document = json.loads(body)
        assert document["status"] == status
        self.status = status
        self.code = document["type"].removeprefix("/problems/")
        super().__init__(f"{status} {self.code}: {document['detail']}")


def decoded(text: str) -> bytes:
    """Read base64url without padding (RFC 7515, section 2)."""
    if "=" in text:
        raise NotBelieved("padding")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def instant(text: str) -> datetime:
    """Read RFC 3339 in UTC with Z."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def openssl(*words: str, given: bytes | None = None) -> bytes:
    """Run openssl; raise ``NotBelieved`` where it fails."""
    done = subprocess.run(
        ["openssl", *words], input=given, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise NotBelieved(f"openssl {words}: {done.stderr.decode()}")
    return done.stdout


def thumbprint(jwk: dict[str, Any]) -> str:
    """Return the RFC 7638 thumbprint of an OKP key (RFC 8037, section 2)."""
    members = json.dumps(
        {name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":")
    )
    digest = hashlib.sha256(members.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass
class Trust:
    """What the firmware was built with, and what it has learned since."""

    folder: Path
    root: Path
    version: int = 0
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)

    def learn(self, token: str) -> None:
        """Take a key set that the root has signed and that is not older than ours."""
        raw = decoded(base64_of_pem(self.root))[len(ED25519) :]
        jwk = {"crv": "Ed25519", "kty": "OKP", "x": base64url(raw)}
        claims = self._verified(token, self.root, "keyset+jwt", thumbprint(jwk))
        if claims["version"] < self.version:
            raise NotBelieved("rolled back")
        assert claims["exp"] > claims["iat"]
        assert claims["iss"]
        assert claims["jti"]
        self.version = claims["version"]
        self.keys = {key["kid"]: key for key in claims["keys"]}
        for kid, key in self.keys.items():
            assert kid == thumbprint(key)
            assert (key["kty"], key["crv"], key["alg"], key["use"]) == (
                "OKP",
                "Ed25519",
                "EdDSA",
                "sig",
            )

    def read(self, token: str, typ: str, purpose: str) -> dict[str, Any]:
        """Return the claims of a document of a key that may sign such."""
        kid = json.loads(decoded(token.partition(".")[0]))["kid"]
        key = self.keys.get(kid)
        if key is None or key["purpose"] != purpose:
            raise NotBelieved("no key for this")
        pem = self.folder / "signer.pem"
        der = base64.b64encode(ED25519 + decoded(key["x"])).decode()
        pem.write_text(f"-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
        claims = self._verified(token, pem, typ, kid)
        issued_at = datetime.fromtimestamp(claims["iat"], UTC)
        if not instant(key["not_before"]) <= issued_at <= instant(key["not_after"]):
            raise NotBelieved("not the time of this key")
        return claims

    def _verified(self, token: str, key: Path, typ: str, kid: str) -> dict[str, Any]:
        head, payload, signature = token.split(".")
        header = json.loads(decoded(head))
        if (header["alg"], header["typ"], header["kid"]) != ("EdDSA", typ, kid):
            raise NotBelieved(f"not a {typ}: {header}")
        (self.folder / "signed").write_bytes(f"{head}.{payload}".encode())
        (self.folder / "signature").write_bytes(decoded(signature))
        said = openssl(
            *("pkeyutl", "-verify", "-pubin", "-inkey", str(key), "-rawin"),
            *("-in", str(self.folder / "signed")),
            *("-sigfile", str(self.folder / "signature")),
        )
        assert b"Verified Successfully" in said
        claims: dict[str, Any] = json.loads(decoded(payload))
        return claims


def base64url(raw: bytes) -> str:
    """Write base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def base64_of_pem(path: Path) -> str:
    """Return the body of a PEM file, in base64url."""
    lines = [each for each in path.read_text().splitlines() if "-----" not in each]
    return base64url(base64.b64decode("".join(lines)))


@dataclass
class PlainFirmware:
    """One PBX: a folder, a data plate, and the address of the vendor."""

    folder: Path
    serial_number: str
    device_secret: str
    address: tuple[str, int]
    ca_file: Path
    trust: Trust
    continuation: str | None = None
    generation: int = 0
    release_key: bytes = b""
    seen: set[str] = field(default_factory=set)

    @property
    def key(self) -> Path:
        return self.folder / "device.key"

    @property
    def chain(self) -> Path:
        return self.folder / "device.pem"

    @property
    def next_key(self) -> Path:
        return self.folder / "next.key"

    def new_key(self) -> None:
        """Make a key, which is used once a certificate for it has come."""
        curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        openssl("genpkey", *curve, "-out", str(self.next_key))

    def request(self, subject: str) -> str:
        """Return a certificate request for the next key."""
        words = ("req", "-new", "-key", str(self.next_key), "-subj", subject)
        return openssl(*words).decode()

    def accept(self, chain: bytes) -> None:
        """Use the next key and its certificate from now on."""
        self.chain.write_bytes(chain)
        self.key.write_bytes(self.next_key.read_bytes())

    def initialise(self, *, same_key: bool = False) -> dict[str, Any]:
        """Initialise, with a new key or the one there is; return the lease's claims.

        The server is to put the serial number into the certificate by itself.
        """
        if same_key:
            self.next_key.write_bytes(self.key.read_bytes())
        else:
            self.new_key()
        nonce = base64url(secrets.token_bytes(16))
        answer = self.call(
            "/cic/v1/initialise",
            {
                "serial_number": self.serial_number,
                "device_secret": self.device_secret,
                "csr": self.request("/CN=whatever/serialNumber=SOMEBODYELSE1"),
                "device_type": "COMtrexx VM",
                "software_version": "2.0.1",
                "nonce": nonce,
            },
            status=201,
        )
        self.trust.learn(answer["keyset"])
        claims = self.believe(answer["lease"], nonce)
        self.release_key = decoded(answer["release_key"])
        assert len(self.release_key) == 32
        self.accept(answer["certificate_chain"].encode())
        self.generation = claims["generation"]
        self.continuation = None
        return claims | {"release_key": answer["release_key"]}

    def check(self) -> dict[str, Any]:
        """Ask whether this PBX may run; return the lease's claims."""
        nonce = base64url(secrets.token_bytes(32))
        body = {
            "serial_number": self.serial_number,
            "nonce": nonce,
            "device_type": "COMtrexx VM",
            "software_version": "2.0.1",
            "a field of firmware to come": {"is": "ignored"},
        }
        if self.continuation is not None:
            body["continuation"] = self.continuation
        answer = self.call("/cic/v1/check", body, identified=True)
        claims = self.believe(answer["lease"], nonce)
        self.continuation = answer["continuation"]
        return claims

    def believe(self, lease: str, nonce: str) -> dict[str, Any]:
        """Return the claims of a lease about this PBX, over this nonce, or raise."""
        claims = self.trust.read(lease, "cic-lease+jwt", "cic-lease")
        if (claims["sub"], claims["nonce"]) != (self.serial_number, nonce):
            raise NotBelieved("about somebody else, or another question")
        if claims["jti"] in self.seen or claims["generation"] < self.generation:
            raise NotBelieved("heard before")
        self.seen.add(claims["jti"])
        issued_at = datetime.fromtimestamp(claims["iat"], UTC)
        assert abs(instant(claims["server_time"]) - issued_at) <= timedelta(seconds=1)
        assert 86400 * 0.95 <= claims["next_check_in"] <= 86400 * 1.05
        assert claims["retry_in"] == 3600
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
        if claims["verdict"] == "active":
            assert abs(expires_at - instant(claims["lock_at"])) <= timedelta(seconds=1)
        else:
            assert expires_at - issued_at == 2 * DAY
        return claims

    def redeem(self, code: str, *, status: int = 201) -> dict[str, Any]:
        """Redeem a voucher; return the answer, with what its entitlements say."""
        return self._release("redemptions", {"code": code}, status)

    def start_trial(self, product_number: int, *, status: int = 201) -> dict[str, Any]:
        """Try a product; return the answer, with what its entitlements say."""
        return self._release("trials", {"product_number": product_number}, status)

    def sync(self) -> list[dict[str, Any]]:
        """Ask which functions there are; return them, as they are signed."""
        nonce = base64url(secrets.token_bytes(16))
        answer = self.call(f"/voucher/v1/entitlements?nonce={nonce}", identified=True)
        assert 86400 * 0.95 <= answer["next_sync_in"] <= 86400 * 1.05
        functions: list[dict[str, Any]] = self.entitled(answer, nonce)["functions"]
        return functions

    def _release(self, what: str, body: dict[str, Any], status: int) -> dict[str, Any]:
        nonce = base64url(secrets.token_bytes(64))
        answer: dict[str, Any] = self.call(
            f"/voucher/v1/{what}",
            {**body, "nonce": nonce, "a field of firmware to come": []},
            identified=True,
            status=status,
        )
        assert instant(answer["redeemed_at"])
        return answer | {"functions": self.entitled(answer, nonce)["functions"]}

    def entitled(self, answer: dict[str, Any], nonce: str) -> dict[str, Any]:
        """Return the claims of entitlements of this PBX, over this nonce, or raise."""
        token = answer["entitlements"]
        claims = self.trust.read(token, "entitlements+jwt", "entitlements")
        if (claims["sub"], claims["nonce"]) != (self.serial_number, nonce):
            raise NotBelieved("about somebody else, or another question")
        if claims["jti"] in self.seen:
            raise NotBelieved("heard before")
        self.seen.add(claims["jti"])
        issued_at = datetime.fromtimestamp(claims["iat"], UTC)
        assert instant(claims["expires"]) > issued_at
        return claims

    def read(self, release_code: str) -> codes_by_the_text.Said | None:
        """Read a release code as if it was typed in; None where it is not genuine."""
        code = release_code.replace("-", "")
        return codes_by_the_text.read(code, self.serial_number, self.release_key)

    def renew(self) -> None:
        """Get a certificate for a new key by EST (RFC 7030), with curl."""
        self.new_key()
        pem = self.request(f"/serialNumber={self.serial_number}").encode()
        der = openssl("req", "-outform", "DER", given=pem)
        (self.folder / "request").write_bytes(base64.b64encode(der))
        answer = self.curl(
            "/.well-known/est/simplereenroll",
            *("--cert", str(self.chain), "--key", str(self.key)),
            *("--data-binary", f"@{self.folder / 'request'}"),
            *("-H", "Content-Type: application/pkcs10"),
        )
        self.accept(self._certificates_in(answer))

    def authorities(self) -> Path:
        """Fetch the device CAs by EST and keep them."""
        file = self.folder / "authorities.pem"
        answer = self.curl("/.well-known/est/cacerts")
        file.write_bytes(self._certificates_in(answer))
        return file

    @staticmethod
    def _certificates_in(answer: bytes) -> bytes:
        assert b"\n" not in answer.strip()
        der = base64.b64decode(answer, validate=True)
        return openssl("pkcs7", "-inform", "DER", "-print_certs", given=der)

    def curl(self, path: str, *words: str) -> bytes:
        """Ask with curl; what it asks must be answered by 200."""
        host, port = self.address
        done = subprocess.run(
            [
                *("curl", "--silent", "--show-error", "--fail", "--max-time", "20"),
                *("--cacert", str(self.ca_file), *words),
                f"https://{host}:{port}{path}",
            ],
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise ConnectionError(done.stderr.decode())
        return done.stdout

    def call(
        self,
        path: str,
        body: object = None,
        *,
        identified: bool = False,
        status: int = 200,
        headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> Any:
        """Ask for JSON over HTTPS, with the certificate if ``identified``."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if identified:
            context.load_cert_chain(self.chain, self.key)
        connection = http.client.HTTPSConnection(
            *self.address, context=context, timeout=20
        )
        with closing(connection):
            connection.request(
                method or ("GET" if body is None else "POST"),
                path,
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json"} | (headers or {}),
            )
            response = connection.getresponse()
            raw = response.read()
        found = {name.lower(): value for name, value in response.getheaders()}
        if response.status >= 400:
            raise Refused(response.status, found, raw)
        assert response.status == status
        return json.loads(raw) if "json" in found["content-type"] else raw.decode()
