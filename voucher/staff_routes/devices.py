# SPDX-License-Identifier: Apache-2.0
"""HTTP face for staff: devices."""

from flask import Blueprint

blueprint = Blueprint("voucher-devices", __name__, url_prefix="/voucher/v1")
