# SPDX-License-Identifier: Apache-2.0
"""Assembles an application out of features it is handed, knowing none."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface, SessionMixin

import fleet.identity.key_routes
import fleet.identity.routes
import fleet.staff.routes
import fleet.web.routes
from fleet import database, ground, migrations
from fleet.clock import utcnow
from fleet.database import db
from fleet.feature import Feature, Gauge
from fleet.ground import Ground
from fleet.identity import authorities
from fleet.identity.authorities import Authorities
from fleet.identity.guard import shows_certificate
from fleet.server import job_runs, pulse
from fleet.settings import Settings
from fleet.web import access_log, health, problems, throttle
from fleet.web.callers import callers_of

ROOMS_WITH_PROBLEMS = ("devices",)


class _NoSessions(SessionInterface):
    """Keeps nothing of a client between two requests: no cookie is ever read."""

    def open_session(self, app: Flask, request: Request) -> NullSession:  # noqa: ARG002 -- Flask's signature
        """Return the one session there is, which refuses to keep anything."""
        return _NO_SESSION

    def save_session(
        self, app: Flask, session: SessionMixin, response: Response
    ) -> None:
        """Do nothing: there is nothing to save."""


_NO_SESSION = NullSession()

F = TypeVar("F", bound=Callable[..., Any])


class _Application(Flask):
    """Flask without what no view here has use for, and each request would pay for."""

    session_interface = _NoSessions()

    def ensure_sync(self, func: F) -> F:
        """Return ``func``: that it is no coroutine need not be asked each time."""
        return func


def assemble(settings: Settings, features: Sequence[Feature]) -> Flask:
    """Return an app that serves ``features``, each route of which names its callers.

    Raises ``RuntimeError`` for a route that names none.
    """
    # The database library makes the instance folder, wherever that would be.
    instance = str(settings.data_dir.absolute())
    app = _Application("callhome", static_folder=None, instance_path=instance)
    app.json.sort_keys = False  # type: ignore[attr-defined] # of the default provider
    app.json.compact = True  # type: ignore[attr-defined] # of the default provider
    database.register(app, settings)
    found = ground.register(app, settings)
    cas = authorities.register(app, settings)
    pulse.register(app, tolerance=timedelta(seconds=settings.clock_tolerance_seconds))
    throttle.register(app, lambda: found.keyring.current("throttle"))
    access_log.register(app)
    problems.register(app)
    fleet.web.routes.register(
        app,
        settings,
        problem_files=_problem_files(features),
        checks=[*_readiness(app, found, cas), *_advice(features)],
        gauges=_gauges(features),
        shows_certificate=shows_certificate,
    )
    app.register_blueprint(fleet.identity.key_routes.jwks_blueprint)
    app.register_blueprint(fleet.identity.key_routes.keyset_blueprint)
    app.register_blueprint(fleet.identity.routes.blueprint)
    app.register_blueprint(fleet.staff.routes.blueprint)
    for feature in features:
        for blueprint in feature.blueprints:
            app.register_blueprint(blueprint)
    for feature in features:
        if feature.prepare is not None:
            feature.prepare(app)
    _refuse_unguarded_routes(app)
    return app


def _problem_files(features: Sequence[Feature]) -> list[Path]:
    here = Path(__file__).parent
    rooms = [here / room / "problems.toml" for room in ROOMS_WITH_PROBLEMS]
    return [*rooms, *(each.problems for each in features if each.problems)]


def _readiness(app: Flask, found: Ground, cas: Authorities) -> list[health.Check]:
    """Return what must be right before this process takes requests."""
    with app.app_context():
        engine = db.engine
    return [
        health.database_answers(engine),
        health.migrations_done(
            engine, wanted=migrations.head, current=migrations.current
        ),
        health.works(
            "signing",
            lambda: found.signing.self_test(utcnow()),
            says="Signs and verifies.",
            otherwise="Cannot sign; run: callhome doctor",
            warnings=lambda: found.signing.warnings(utcnow()),
        ),
        health.works(
            "device-ca",
            lambda: (cas.issuing.key_id, cas.trust.certificates()),
            says="Issues and is trusted.",
            otherwise="Unusable; run: callhome doctor",
            warnings=lambda: cas.issuing.warnings(utcnow()),
        ),
        health.works(
            "clock",
            lambda: pulse.timekeeper().now(),
            says="Agrees with what was served before.",
            otherwise="Not trusted; nothing is signed. Run: callhome doctor",
        ),
    ]


def _advice(features: Sequence[Feature]) -> list[health.Check]:
    """Return what features would have somebody see to, although this process serves."""
    return [
        health.advice(each.name, each.warnings)
        for each in features
        if each.warnings is not None
    ]


def _gauges(
    features: Sequence[Feature],
) -> dict[str, Callable[[], Iterable[Gauge]]]:
    """Return who offers numbers that are read from the data."""
    offered = {each.name: each.gauges for each in features if each.gauges is not None}
    return {"jobs": job_runs.gauges, **offered}


def _refuse_unguarded_routes(app: Flask) -> None:
    for endpoint, view in app.view_functions.items():
        if callers_of(view) is None:
            raise RuntimeError(f"{endpoint} does not say who may call it")
