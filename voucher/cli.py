# SPDX-License-Identifier: Apache-2.0
"""What an operator types about vouchers: the same as the staff routes.

Whoever may run this is an operator; the audit log names them as ``cli:user``.
"""

import click

from voucher.batches_cli import batch
from voucher.products_cli import product
from voucher.sales_cli import (
    activate,
    allocate,
    check_books,
    count,
    look_up,
    revoke,
)


@click.group("voucher")
def voucher() -> None:
    """Make, export, sell and look up vouchers."""


COMMANDS = (
    product,
    batch,
    activate,
    revoke,
    allocate,
    look_up,
    count,
    check_books,
)

for command in COMMANDS:
    voucher.add_command(command)
