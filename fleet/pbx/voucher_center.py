# SPDX-License-Identifier: Apache-2.0
"""The calls a PBX makes about its functions, and what it takes from their answers.

Of each answer only the signed entitlements are believed. The release code beside them
proves itself, and serves the admin, who may write it down; whatever else is in the
answer is of no use to a PBX.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from fleet.pbx.answers import json_object
from fleet.pbx.channel import Channel, Held
from fleet.pbx.documents import KeySet, Question, verify_entitlements
from fleet.pbx.functions import Entitlements
from fleet.pbx.lease import text, whole_number
from fleet.pbx.transport import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """Verified entitlements, and in how many seconds to ask again."""

    entitlements: Entitlements
    key_set: KeySet
    next_sync_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Verified entitlements, and the release code beside them as it came.

    That one is not signed but proves itself: ``release_codes`` reads it.
    """

    entitlements: Entitlements
    key_set: KeySet
    release_code: str | None


class VoucherCenter:
    """The vendor's Voucher Center as one PBX meets it."""

    def __init__(self, channel: Channel) -> None:
        """Ask through ``channel``."""
        self._channel = channel

    def redeem(self, code: str, *, held: Held) -> Released:
        """Redeem a voucher. After a lost answer, the same again is harmless."""
        return self._release("/voucher/v1/redemptions", {"code": code}, held)

    def start_trial(self, product_number: int, *, held: Held) -> Released:
        """Try a product, once. While it runs, the same again is harmless."""
        fields = {"product_number": product_number}
        return self._release("/voucher/v1/trials", fields, held)

    def entitlements(self, *, held: Held) -> Synced:
        """Ask which functions this PBX has."""
        question = self._channel.question(held)
        query = urlencode({"nonce": question.nonce})
        answer = self._channel.send(
            Request(
                method="GET",
                path=f"/voucher/v1/entitlements?{query}",
                headers={"Accept": "application/json"},
                credentials=held.credentials,
                dates_matter=held.dates_matter,
            )
        )
        document = json_object(answer.body)
        entitlements, key_set = self._believed(document, question, held)
        return Synced(
            entitlements=entitlements,
            key_set=key_set,
            next_sync_in=whole_number(document, "next_sync_in"),
        )

    def _release(self, path: str, fields: Mapping[str, object], held: Held) -> Released:
        question = self._channel.question(held)
        answer = self._channel.post(
            path,
            {**fields, "nonce": question.nonce},
            held=held,
            shown=held.credentials,
        )
        entitlements, key_set = self._believed(answer, question, held)
        return Released(
            entitlements=entitlements,
            key_set=key_set,
            release_code=text(answer, "release_code"),
        )

    def _believed(
        self, answer: Mapping[str, object], question: Question, held: Held
    ) -> tuple[Entitlements, KeySet]:
        token = text(answer, "entitlements")
        return self._channel.believed(
            lambda keys: verify_entitlements(token, key_set=keys, question=question),
            held=held,
        )
