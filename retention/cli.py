# SPDX-License-Identifier: Apache-2.0
"""``callhome retention``: what is kept of whom, and for how long."""

import click

from retention.policies_cli import inventory, notice, policies
from retention.rights_cli import COMMANDS as RIGHTS
from retention.runs_cli import COMMANDS
from retention.statistics_cli import statistics


@click.group("retention")
def retention() -> None:
    """Seal, delete, prove; and answer those whose data it is."""


retention.add_command(statistics)
for each in COMMANDS:
    retention.add_command(each)
for each in RIGHTS:
    retention.add_command(each)
retention.add_command(policies)
retention.add_command(inventory)
retention.add_command(notice)
