# SPDX-License-Identifier: Apache-2.0
"""A simulated vendor: in memory, with real keys, real signatures, real certificates.

It answers as the protocol page says and knows nothing of our server. What a hostile
network would do to its answers is a function that a test puts in ``meddler``.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7
from cryptography.x509.oid import NameOID
from pbx.simulated_center import RELEASE_KEY, SimulatedCenter

from fleet.pbx.documents import thumbprint
from fleet.pbx.errors import Unreachable
from fleet.pbx.transport import Answer, Request

SERIAL = "A1B2C3D4E5"
SECRET = "factory-written-secret"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
DAY = timedelta(days=1)
JSON = {"content-type": "application/json"}
PROBLEM = {"content-type": "application/problem+json"}

Meddler = Callable[[Request, Callable[[], Answer]], Answer]


def rfc3339(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def encode(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def sign(
    claims: dict[str, Any], key: Ed25519PrivateKey, *, typ: str, **header: str
) -> str:
    """RFC 7515 by hand, so that a test can also sign what no library would."""
    kid = thumbprint(key.public_key())
    head = {"alg": "EdDSA", "kid": kid, "typ": typ, **header}
    signed = f"{encode(head)}.{encode(claims)}"
    signature = key.sign(signed.encode())
    return signed + "." + base64.urlsafe_b64encode(signature).decode().rstrip("=")


@dataclass
class SimulatedVendor:
    true_time: Callable[[], datetime]
    root: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    signer: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    entitler: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    verdict: str = "active"
    grace: timedelta = timedelta(days=30)
    minimum_attempts: int = 360
    amnesty_until: datetime | None = None
    key_set_version: int = 1
    key_set_lasts: timedelta = YEAR
    keys_from: datetime = NOON - YEAR
    certificate_lasts: timedelta = YEAR
    clock_error: timedelta = timedelta(0)
    generation: int = 0
    meddler: Meddler | None = None
    requests: list[tuple[Request, dict[str, Any]]] = field(default_factory=list)
    certified: dict[bytes, str] = field(default_factory=dict)
    continuation: int = 0
    purpose: str = "cic-lease"
    retry_in: int = 3600
    center: SimulatedCenter = field(default_factory=lambda: SimulatedCenter(SERIAL))

    def __post_init__(self) -> None:
        self.ca_key = ec.generate_private_key(ec.SECP256R1())

    @property
    def now(self) -> datetime:
        return self.true_time() + self.clock_error

    def send(self, request: Request) -> Answer:
        def honestly() -> Answer:
            return self._answer(request)

        is_json = request.headers.get("Content-Type") == "application/json"
        body = json.loads(request.body) if is_json else {}
        self.requests.append((request, body))
        if self.meddler is not None:
            return self.meddler(request, honestly)
        return honestly()

    def close(self) -> None:
        pass

    def asked(self, path: str) -> list[dict[str, Any]]:
        """Return the bodies that were sent to a path, whatever the query."""
        return [
            body
            for request, body in self.requests
            if request.path.partition("?")[0] == path
        ]

    def _answer(self, request: Request) -> Answer:
        routes = {
            "/voucher/v1/entitlements": self._entitlements,
            "/voucher/v1/redemptions": self._redeem,
            "/voucher/v1/trials": self._try,
            "/cic/v1/initialise": self._initialise,
            "/cic/v1/check": self._check,
            "/cic/v1/keyset": self._keyset,
            "/.well-known/est/simplereenroll": self._reenroll,
        }
        return routes[request.path.partition("?")[0]](request)

    def _initialise(self, request: Request) -> Answer:
        body = json.loads(request.body)
        if (body["serial_number"], body["device_secret"]) != (SERIAL, SECRET):
            return problem(403, "device-not-recognised")
        csr = x509.load_pem_x509_csr(body["csr"].encode())
        key = csr.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        if key in self.certified and self.verdict != "active":
            return problem(409, "new-key-required")
        if key not in self.certified:
            self.certified.clear()  # the earlier certificate is revoked
            self.generation += 1
            self.certified[key] = self.certificate(csr)
            if self.verdict == "locked":
                self.verdict = "active"
        document = {
            "certificate_chain": self.certified[key],
            "release_key": base64.urlsafe_b64encode(RELEASE_KEY).decode().rstrip("="),
            "keyset": self.key_set(),
            "lease": self.lease(body["nonce"]),
        }
        return Answer(status=201, headers=JSON, body=json.dumps(document).encode())

    def _refused(self, request: Request, *standings: str) -> Answer | None:
        """Look at the certificate, and at whether the standing allows it."""
        assert request.credentials is not None
        chain = request.credentials.chain
        if chain not in self.certified.values():
            return problem(403, "device-not-recognised")
        leaf = x509.load_pem_x509_certificate(chain.encode())
        if leaf.not_valid_after_utc < self.true_time():
            raise Unreachable("certificate expired")
        if standings and self.verdict not in standings:
            return problem(403, "device-not-permitted")
        return None

    def _check(self, request: Request) -> Answer:
        body = json.loads(request.body)
        if refused := self._refused(request):
            return refused
        self.continuation += 1
        document = {
            "lease": self.lease(body["nonce"]),
            "continuation": f"token-{self.continuation}",
        }
        return Answer(status=200, headers=JSON, body=json.dumps(document).encode())

    def _keyset(self, request: Request) -> Answer:
        assert request.credentials is None
        jwt = {"content-type": "application/jwt"}
        return Answer(status=200, headers=jwt, body=self.key_set().encode())

    def _reenroll(self, request: Request) -> Answer:
        csr = x509.load_der_x509_csr(base64.b64decode(request.body))
        chain = self.certificate(csr)
        self.certified[csr.tbs_certrequest_bytes] = chain
        leaf = x509.load_pem_x509_certificates(chain.encode())
        body = base64.b64encode(pkcs7.serialize_certificates(leaf, Encoding.DER))
        headers = {"content-type": "application/pkcs7-mime; smime-type=certs-only"}
        return Answer(status=200, headers=headers, body=body)

    def _entitlements(self, request: Request) -> Answer:
        if refused := self._refused(request, "active"):
            return refused
        nonce = parse_qs(urlsplit(request.path).query)["nonce"][0]
        document = {
            "entitlements": self.entitlements(nonce),
            "next_sync_in": self.center.next_sync_in,
        }
        return Answer(status=200, headers=JSON, body=json.dumps(document).encode())

    def _redeem(self, request: Request) -> Answer:
        if refused := self._refused(request, "active", "locked"):
            return refused
        body = json.loads(request.body)
        release_code = self.center.redeem(body["code"])
        if release_code is None:
            return problem(404, "voucher-not-valid")
        return self._released(body, release_code)

    def _try(self, request: Request) -> Answer:
        if refused := self._refused(request, "active"):
            return refused
        body = json.loads(request.body)
        offer = self.center.trials.pop(body["product_number"], None)
        if offer is None:
            return problem(409, "trial-already-used")
        return self._released(body, self.center.release(offer))

    def _released(self, body: dict[str, Any], release_code: str) -> Answer:
        document = {
            "product_number": 17,
            "quantity": 10,
            "release_code": release_code,
            "redeemed_at": rfc3339(self.now),
            "entitlements": self.entitlements(body["nonce"]),
        }
        return Answer(status=201, headers=JSON, body=json.dumps(document).encode())

    def entitlements_claims(self, nonce: str) -> dict[str, Any]:
        return {
            "iss": "https://vendor.example",
            "sub": SERIAL,
            "jti": f"entitlements-{len(self.requests)}",
            "nonce": nonce,
            "iat": int(self.now.timestamp()),
            **self.center.claims(self.now),
        }

    def entitlements(self, nonce: str) -> str:
        claims = self.entitlements_claims(nonce)
        return sign(claims, self.entitler, typ="entitlements+jwt")

    def lease_claims(self, nonce: str) -> dict[str, Any]:
        now = self.now
        locks_at = now + DAY + self.grace
        active = self.verdict == "active"
        claims = {
            "iss": "https://vendor.example",
            "sub": SERIAL,
            "jti": f"lease-{len(self.requests)}",
            "nonce": nonce,
            "iat": int(now.timestamp()),
            "exp": int((locks_at if active else now + 2 * DAY).timestamp()),
            "verdict": self.verdict,
            "reason": "in-good-standing" if active else self.verdict,
            "server_time": rfc3339(now),
            "next_check_in": 86400,
            "retry_in": self.retry_in,
            "lock_at": rfc3339(locks_at),
            "warn_at": [rfc3339(locks_at - timedelta(days=d)) for d in (14, 7, 3, 1)],
            "minimum_attempts": self.minimum_attempts,
            "generation": self.generation,
        }
        if self.amnesty_until:
            claims["amnesty_until"] = rfc3339(self.amnesty_until)
        return claims

    def lease(self, nonce: str) -> str:
        return sign(self.lease_claims(nonce), self.signer, typ="cic-lease+jwt")

    def key_set_claims(self) -> dict[str, Any]:
        return {
            "iss": "https://vendor.example",
            "jti": f"keys-{self.key_set_version}",
            "iat": int(self.keys_from.timestamp()),
            "exp": int((self.keys_from + YEAR + self.key_set_lasts).timestamp()),
            "version": self.key_set_version,
            "keys": [
                {"kty": "AKP", "kid": "of-a-later-kind", "alg": "ML-DSA-44"},
                self._jwk(self.signer, self.purpose),
                self._jwk(self.entitler, "entitlements"),
            ],
        }

    def _jwk(self, key: Ed25519PrivateKey, purpose: str) -> dict[str, str]:
        raw = key.public_key().public_bytes_raw()
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": base64.urlsafe_b64encode(raw).decode().rstrip("="),
            "kid": thumbprint(key.public_key()),
            "use": "sig",
            "alg": "EdDSA",
            "purpose": purpose,
            "not_before": rfc3339(self.keys_from),
            "not_after": rfc3339(self.keys_from + 20 * YEAR),
        }

    def key_set(self) -> str:
        return sign(self.key_set_claims(), self.root, typ="keyset+jwt")

    def certificate(self, csr: x509.CertificateSigningRequest) -> str:
        now = self.true_time()
        serial = x509.NameAttribute(NameOID.SERIAL_NUMBER, SERIAL)
        issuer = x509.NameAttribute(NameOID.COMMON_NAME, "Device CA")
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([serial]))
            .issuer_name(x509.Name([issuer]))
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + self.certificate_lasts)
            .sign(self.ca_key, SHA256())
        )
        return certificate.public_bytes(Encoding.PEM).decode()


def problem(status: int, code: str, **headers: str) -> Answer:
    body = json.dumps({"type": f"/problems/{code}", "status": status}).encode()
    return Answer(status=status, headers={**PROBLEM, **headers}, body=body)


def lose(_: Request, honestly: Callable[[], Answer]) -> Answer:
    honestly()
    raise Unreachable("lost on the way back")


def silence(_request: Request, _honestly: Callable[[], Answer]) -> Answer:
    raise Unreachable("no route")


def tampered(answer: Answer, **changed: Any) -> Answer:
    document = {**json.loads(answer.body), **changed}
    return replace(answer, body=json.dumps(document).encode())
