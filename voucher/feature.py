# SPDX-License-Identifier: Apache-2.0
"""What the Voucher Center plugs into the house."""

from datetime import timedelta
from pathlib import Path

from flask import Flask

import voucher.page_routes
import voucher.routes
import voucher.staff_routes.batches
import voucher.staff_routes.devices
import voucher.staff_routes.products
import voucher.staff_routes.vouchers
from fleet.devices.forgetting import on_forgetting
from fleet.devices.succession import on_succession
from fleet.feature import Feature, Job, KeyUse
from voucher.cli import voucher as command
from voucher.models import Voucher
from voucher.service import forgetting, redemptions, refusals
from voucher.service.desk.succession import take_over

# What voucher codes are digested under (``fleet.keys.keyring``).
CODE_KEY = "voucher-code"


def prepare(app: Flask) -> None:
    """Let the application redeem, and take part in replacements."""
    redemptions.register(app)
    on_succession(app, take_over)
    on_forgetting(app, forgetting.forget)


FEATURE = Feature(
    name="voucher",
    blueprints=(
        voucher.routes.blueprint,
        voucher.page_routes.blueprint,
        voucher.staff_routes.products.blueprint,
        voucher.staff_routes.batches.blueprint,
        voucher.staff_routes.vouchers.blueprint,
        voucher.staff_routes.devices.blueprint,
    ),
    commands=(command,),
    jobs=(Job("forget-refusals", timedelta(hours=1), refusals.forget),),
    problems=Path(__file__).with_name("problems.toml"),
    key_uses=(KeyUse(CODE_KEY, Voucher.key_version),),
    prepare=prepare,
)
