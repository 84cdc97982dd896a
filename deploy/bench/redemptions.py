# SPDX-License-Identifier: Apache-2.0
"""Redemptions beside licence checks: vouchers that were sold, and who redeems them.

Each voucher is redeemed once, so each request is a new binding, a release code and
an entry in the ledger. Many PBXs take turns on each connection, as behind a proxy:
none of them collects more releases than one would in its life.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import count, cycle

from sqlalchemy import insert

from deploy.bench.load import Broken, Lines, Trust, is_whole
from deploy.bench.measure import Plan, Table, in_turns
from deploy.bench.pbxs import Pbx
from deploy.bench.places import Place
from fleet.clock import utcnow
from fleet.database import db, transaction
from fleet.settings import Settings
from voucher import codes
from voucher.models import Batch, Product, Voucher
from voucher.service.digests import digest_of
from wsgi import create_app

CREATED = b"HTTP/1.1 201"

# More than any machine redeems in a second.
MOST_PER_SECOND = 4_000

_nonces = count(10**31)


def sell(settings: Settings, plan: Plan) -> list[str]:
    """Make as many vouchers as can be redeemed in all turns; return their codes."""
    number = round(MOST_PER_SECOND * (plan.rounds * plan.seconds + 1))
    sold = [codes.draw() for _ in range(number)]
    now = utcnow()
    with create_app(settings).app_context():
        with transaction() as session:
            product = Product(
                product_number=1,
                version=1,
                names={"de": "Teilnehmer", "en": "Users", "fr": "Usagers"},
                function="users",
                unit="users",
                quantity=10,
                duration_days=365,
                device_types=[],
                prerequisites=[],
                stacking="add",
                trial=False,
                created_at=now,
            )
            session.add(product)
            session.flush()
            batch = Batch(
                product_id=product.id,
                count=number,
                valid_until=None,
                order_reference="",
                dealer="",
                created_at=now,
                created_by="bench",
            )
            session.add(batch)
            session.flush()
            rows = [_row(code, place) for place, code in enumerate(sold, 1)]
            stamps = {"batch_id": batch.id, "exported_at": now, "activated_at": now}
            session.connection().execute(insert(Voucher), [r | stamps for r in rows])
        db.session.remove()
        db.engine.dispose()
    return sold


def _row(code: str, number: int) -> dict[str, object]:
    version, digest = digest_of(code)
    return {
        "number": number,
        "digest": digest,
        "key_version": version,
        "last_four": code[-4:],
        "dealer": "",
        "order_reference": "",
    }


class Redeemer:
    """Writes the redemptions of many PBXs, one voucher after another."""

    def __init__(self, pbxs: Iterator[Pbx], sold: list[str]) -> None:
        """Redeem for the next of ``pbxs`` the last of ``sold``."""
        self._pbxs = pbxs
        self._sold = sold

    def request(self) -> bytes:
        """Return the next request."""
        body = b'{"code":"%b","nonce":"%032d"}' % (
            self._sold.pop().encode(),
            next(_nonces),
        )
        head = (
            "POST /voucher/v1/redemptions HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Type: application/json\r\n"
            f"Client-Cert: {next(self._pbxs).client_cert}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def take(self, answer: bytes) -> bool:
        """Say whether an answer is whole; raise ``Broken`` unless it is a 201."""
        if not is_whole(answer):
            return False
        if not answer.startswith(CREATED):
            raise Broken(answer.decode("latin-1"))
        return True


def beside_checks(
    title: str,
    place: Place,
    pbxs: Sequence[Pbx],
    sold: list[str],
    *,
    plan: Plan,
    database: Callable[[], float],
) -> Table:
    """Measure redemptions and checks in turns, on one server behind a proxy."""
    kept = plan.behind_proxy(pbxs)
    everybody = cycle(pbxs)
    lines = {
        "check": Lines(place.port, kept, Trust(None)),
        "redemption": Lines(
            place.port, kept, Trust(None), writer=lambda _: Redeemer(everybody, sold)
        ),
    }
    table = Table(title, reference="check")
    both = [(name, place, each) for name, each in lines.items()]
    return in_turns(table, both, plan=plan, database=database)
