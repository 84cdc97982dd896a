# SPDX-License-Identifier: Apache-2.0
"""What retention plugs into the house."""

from datetime import timedelta
from pathlib import Path
from typing import cast

from flask import Flask

import retention.page_routes
import retention.routes
import retention.staff_routes.policies
import retention.staff_routes.rights
import retention.staff_routes.runs
import retention.staff_routes.statistics
from fleet.clock import utcnow
from fleet.devices.succession import on_succession
from fleet.feature import Feature, Job, KeyUse
from fleet.ground import Ground
from fleet.web import pages
from retention import countries
from retention.cli import retention as command
from retention.models import DataShare, RightsMark
from retention.service import (
    forgetting,
    marks,
    objections,
    repeating,
    sharing,
    watching,
)
from retention.service.asked import EVERY, run_by_job

PRIVACY_PAGE = "retention-pages.show_notice"


def prepare(app: Flask) -> None:
    """Let the application look countries up, and its pages lead to the notice.

    And let what somebody objected to or restricted hold for the PBX that comes after.
    """
    settings = cast("Ground", app.extensions["ground"]).settings
    countries.register(app, settings.country_database)
    pages.link_privacy(app, PRIVACY_PAGE)
    on_succession(app, objections.hand_down)


def before_serving() -> None:
    """Do again what an older database, brought back by a restore, has forgotten."""
    repeating.repeat(utcnow())


FEATURE = Feature(
    name="retention",
    blueprints=(
        retention.routes.blueprint,
        retention.page_routes.blueprint,
        retention.staff_routes.policies.blueprint,
        retention.staff_routes.rights.blueprint,
        retention.staff_routes.runs.blueprint,
        retention.staff_routes.statistics.blueprint,
    ),
    commands=(command,),
    jobs=(
        Job("retention", EVERY, run_by_job),
        Job(forgetting.JOB, timedelta(hours=1), forgetting.forget),
        Job("repeat-rights", EVERY, repeating.repeat, everywhere=True),
    ),
    key_uses=(
        KeyUse(marks.PURPOSE, RightsMark.key_version),
        KeyUse(sharing.PURPOSE, DataShare.key_version),
    ),
    before_serving=before_serving,
    problems=Path(__file__).with_name("problems.toml"),
    prepare=prepare,
    warnings=watching.warnings,
    gauges=watching.gauges,
)
