# SPDX-License-Identifier: Apache-2.0
"""Every route says who may call it, and an app with one that does not won't start."""

import pytest
from flask import Blueprint, Flask

from fleet.app import assemble
from fleet.feature import Feature
from fleet.settings import Settings
from fleet.web.callers import Kind, callers_of

# All that anyone may call without showing who they are. A new line here is a
# decision, to be seen in review.
OPEN = {
    "/.well-known/est/cacerts",
    "/.well-known/jwks.json",
    "/.well-known/pbx-device-ca/<key_id>.crl",
    "/assets/<name>",
    "/cic/v1/initialise",
    "/cic/v1/keyset",
    "/docs",
    "/docs/<name>",
    "/health/live",
    "/health/ready",
    "/openapi.json",
    "/problems/",
    "/problems/<code>",
    "/retention/v1/shared/data",
    "/retention/",
    "/retention/assets/<name>",
    "/voucher/",
    "/voucher/assets/<name>",
}


def test_only_these_routes_are_open(app: Flask) -> None:
    found = set()
    for rule in app.url_map.iter_rules():
        callers = callers_of(app.view_functions[rule.endpoint])
        assert callers is not None
        if callers.kind is Kind.ANYONE:
            found.add(rule.rule)

    assert found == OPEN


def test_a_route_that_names_no_caller_stops_the_start(settings: Settings) -> None:
    careless = Blueprint("careless", __name__)
    careless.add_url_rule("/oops", "oops", lambda: "everybody may")

    with pytest.raises(RuntimeError, match=r"careless\.oops"):
        assemble(settings, [Feature("careless", blueprints=(careless,))])
