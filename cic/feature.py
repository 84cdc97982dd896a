# SPDX-License-Identifier: Apache-2.0
"""What the licence check plugs into the house."""

from pathlib import Path

from flask import Flask

import cic.routes
import cic.staff_routes
from cic.cli import cic as command
from cic.service import checks, forgetting, policies
from cic.service.standings import standing_of, standings_among
from cic.service.vocabulary import confirmed
from fleet.devices.forgetting import on_forgetting
from fleet.devices.vocabulary import on_vocabulary
from fleet.feature import Feature
from fleet.identity import guard


def prepare(app: Flask) -> None:
    """Let the application answer checks, and lend it standings to guard by.

    And the versions that enough PBXs run, for whoever counts them.
    """
    policies.register(app)
    checks.register(app)
    guard.lend_standing(app, standing_of)
    guard.lend_standings(app, standings_among)
    on_vocabulary(app, confirmed)
    on_forgetting(app, forgetting.forget)


FEATURE = Feature(
    name="cic",
    blueprints=(cic.routes.blueprint, cic.staff_routes.blueprint),
    commands=(command,),
    problems=Path(__file__).with_name("problems.toml"),
    prepare=prepare,
)
