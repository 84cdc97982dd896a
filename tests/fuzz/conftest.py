# SPDX-License-Identifier: Apache-2.0
"""A place to send bad things to."""

import pytest
from flask import Flask
from fuzz.journeys import Place


@pytest.fixture
def place(proxied_app: Flask) -> Place:
    return Place(proxied_app)
