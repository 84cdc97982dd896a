# SPDX-License-Identifier: Apache-2.0
"""A product manager with nothing but HTTP and Debian's age."""

import csv
import io
import subprocess
import uuid
from pathlib import Path
from typing import Any

from service import Service


class Shop:
    """Makes products and sells vouchers of them."""

    def __init__(self, service: Service, folder: Path) -> None:
        """Make a key pair for the codes, and get a token."""
        self._service = service
        self._identity = folder / "identity.txt"
        _run("age-keygen", "-o", str(self._identity))
        self._recipient = _run("age-keygen", "-y", str(self._identity)).decode().strip()
        self._token = service.staff("product-manager")

    def product(self, number: int, function: str, **more: Any) -> None:
        """Make a product; without more, ten for ever, that add up."""
        names = dict.fromkeys(("de", "en", "fr"), function)
        wanted = {"product_number": number, "names": names, "function": function}
        usual = {"unit": "user", "quantity": 10}
        self._post("products", {**wanted, **usual, **more}, status=201)

    def make(self, number: int, count: int) -> list[str]:
        """Make vouchers; return their codes, out of the encrypted export."""
        body = {"product": number, "count": count}
        batch = self._post("batches", body, status=201).json["id"]
        exported = self._post(
            f"batches/{batch}/export",
            {"format": "csv", "recipient": self._recipient},
            key=uuid.uuid4().hex,
        )
        assert b"code" not in exported.body
        plain = _run("age", "-d", "-i", str(self._identity), given=exported.body)
        rows = list(csv.DictReader(io.StringIO(plain.decode())))
        assert len(rows) == count
        return [row["code"] for row in rows]

    def sell(self, *codes: str) -> None:
        """Activate vouchers, as at the till."""
        for code in codes:
            said = self._post("activations", {"code": code, "reason": "sold"})
            assert said.json["changed"] == 1

    def _post(
        self, path: str, body: dict[str, Any], *, status: int = 200, key: str = ""
    ) -> Any:
        headers = self._token | ({"Idempotency-Key": key} if key else {})
        reply = self._service.request(
            "POST", f"/voucher/v1/{path}", json=body, headers=headers
        )
        assert reply.status == status, reply.body
        return reply


def _run(*words: str, given: bytes | None = None) -> bytes:
    return subprocess.run(
        words, input=given, capture_output=True, check=True, timeout=60
    ).stdout
