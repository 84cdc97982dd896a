# SPDX-License-Identifier: Apache-2.0
"""HTTP face for staff: vouchers."""

from flask import Blueprint

blueprint = Blueprint("voucher-vouchers", __name__, url_prefix="/voucher/v1")
