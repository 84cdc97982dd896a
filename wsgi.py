# SPDX-License-Identifier: Apache-2.0
"""The composition root: the one module that knows every feature."""

import os

from flask import Flask

import cic.feature
import retention.feature
import voucher.feature
from fleet.app import assemble
from fleet.cli import command_line
from fleet.feature import Feature
from fleet.settings import Settings

FEATURES: tuple[Feature, ...] = (
    cic.feature.FEATURE,
    voucher.feature.FEATURE,
    retention.feature.FEATURE,
)


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application; gunicorn calls this as ``wsgi:create_app()``."""
    return assemble(settings or Settings.read(os.environ), FEATURES)


callhome = command_line(create_app, FEATURES)
