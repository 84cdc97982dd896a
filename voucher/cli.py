# SPDX-License-Identifier: Apache-2.0
"""What an operator types about vouchers."""

import click


@click.group("voucher")
def voucher() -> None:
    """Make, export, sell and look up vouchers."""
