# SPDX-License-Identifier: Apache-2.0
"""HTTP face of the Voucher Center for PBXs: redeem, try, sync."""

from flask import Blueprint

blueprint = Blueprint("voucher", __name__, url_prefix="/voucher/v1")
