# SPDX-License-Identifier: Apache-2.0
"""HTTP face for staff: products."""

from flask import Blueprint

blueprint = Blueprint("voucher-products", __name__, url_prefix="/voucher/v1")
