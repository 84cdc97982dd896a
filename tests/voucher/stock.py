# SPDX-License-Identifier: Apache-2.0
"""A service in processes of its own that has a voucher for every case."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from make import NOBODY, make_device
from making import days, make_batch, make_product, make_voucher
from service import Service
from sqlalchemy import select

from cic.service import holds
from fleet.clock import utcnow
from fleet.database import db, transaction
from fleet.devices.models import Device
from fleet.settings import Settings
from voucher.models import Product, ReleaseCode
from wsgi import create_app

MINE, OTHERS, BLOCKED, FULL = (
    "CX5000000001",
    "CX5000000002",
    "CX5000000003",
    "CX5000000004",
)
SERIALS = (MINE, OTHERS, BLOCKED, FULL)
UNKNOWN = "CX5999999999"
SHOP = "https://shop.example.com/vouchers"


@dataclass(frozen=True)
class Stock:
    """A running service, and makers of vouchers in its database."""

    service: Service

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Be in an application of our own on the service's database."""
        app = create_app(Settings(data_dir=self.service.data_dir))
        with app.app_context():
            try:
                yield
            finally:
                db.session.remove()
                db.engine.dispose()

    def make(self) -> dict[str, str]:
        """Make the PBXs, and a voucher for each case; return the codes by case."""
        with self._inside():
            for serial_number in SERIALS:
                make_device(serial_number)
            holds.block(BLOCKED, reason="stolen", by=NOBODY, now=utcnow())
            users = make_product()
            made = {
                name: make_voucher(users)[0]
                for name in ("good", "spare", "late", "one", "two", "three", "four")
            }
            made["not-sold"] = make_voucher(users, activated=False)[0]
            made["revoked"] = make_voucher(users, revoked=True)[0]
            made["expired"] = self._expired(users)
            made["a-year"] = make_voucher(_year())[0]
            made["foreign"] = make_voucher(_foreign())[0]
            made["needs-more"] = make_voucher(_demanding())[0]
            trial, feature = _trial(), _feature()
            for number in (1, 2):
                made[f"trial-{number}"] = make_voucher(trial)[0]
                made[f"feature-{number}"] = make_voucher(feature)[0]
            _use_up(FULL, users)
        return made

    def _expired(self, product: Product) -> str:
        now = utcnow()
        batch = make_batch(product, valid_until=now - days(1), now=now - days(30))
        return make_voucher(batch=batch, now=now - days(29))[0]


@contextmanager
def stocked(folder: Path) -> Iterator[Stock]:
    """Start a service that has a shop."""
    with Service(folder, PBX_SHOP_URL=SHOP) as service:
        yield Stock(service)


def _year() -> Product:
    return make_product(
        18,
        names={
            "de": "Voicemail für 10 Teilnehmer, ein Jahr",
            "en": "Voicemail for 10 users, one year",
            "fr": "Messagerie vocale pour 10 usagers, un an",
        },
        function="voicemail",
        duration_days=365,
        stacking="renew",
    )


def _foreign() -> Product:
    return make_product(19, function="channels", device_types=["COMtrexx Next"])


def _demanding() -> Product:
    return make_product(20, function="recording", prerequisites=["announcements"])


def _trial() -> Product:
    names = {
        "de": "3 Teilnehmer zum Testen",
        "en": "Trial of 3 users",
        "fr": "Essai de 3 usagers",
    }
    return make_product(21, names=names, quantity=3, duration_days=14, trial=True)


def _feature() -> Product:
    names = {
        "de": "Anrufaufzeichnung",
        "en": "Call recording",
        "fr": "Enregistrement des appels",
    }
    return make_product(
        22,
        names=names,
        function="call-recording",
        unit="feature",
        quantity=1,
        stacking="renew",
    )


def _use_up(serial_number: str, product: Product) -> None:
    """Give a PBX the last release code that there is for it."""
    with transaction() as session:
        device = session.scalars(
            select(Device).where(Device.serial_number == serial_number)
        ).one()
        session.add(
            ReleaseCode(
                device_id=device.id,
                sequence=1023,
                source="grant",
                voucher_id=None,
                product_id=product.id,
                product_number=product.product_number,
                quantity=1,
                last_day=None,
                code="0" * 25,
                released_at=utcnow() - timedelta(days=1),
            )
        )
