# SPDX-License-Identifier: Apache-2.0
"""HTTP face for staff: batches."""

from flask import Blueprint

blueprint = Blueprint("voucher-batches", __name__, url_prefix="/voucher/v1")
