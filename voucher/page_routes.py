# SPDX-License-Identifier: Apache-2.0
"""The pages on which people redeem a voucher by hand."""

from flask import Blueprint

blueprint = Blueprint(
    "voucher-pages", __name__, url_prefix="/voucher", template_folder="templates"
)
