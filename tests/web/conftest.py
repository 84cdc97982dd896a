# SPDX-License-Identifier: Apache-2.0
"""Places: a small application with the service's own routes and a few more."""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar

import pytest
from flask import Blueprint, Flask, request
from marshmallow import Schema, ValidationError, fields, validate

from fleet import database
from fleet.database import db
from fleet.errors import Conflict, Forbidden
from fleet.keys.keyring import VersionedKey
from fleet.settings import Settings
from fleet.web import access_log, problems, routes, throttle
from fleet.web.callers import Callers, Kind, declare, open_to_all
from fleet.web.contract import (
    DeviceRequest,
    accepts,
    also_answers,
    queries,
    refuses,
    returns,
    says,
    takes,
)
from fleet.web.health import Check

PEER = "192.0.2.7"


class Sold(Conflict):
    code = "tea-is-sold"
    reason = "The tea is sold."


class TeaRequest(DeviceRequest):
    """A PBX orders tea."""

    sort = fields.String(required=True, validate=validate.Regexp(r"[a-z]{3,8}\Z"))
    cups = fields.Integer(load_default=1, validate=validate.Range(min=1, max=9))


class Name(fields.String):
    openapi: ClassVar[Mapping[str, object]] = {"pattern": "^[A-Z]+$"}


def _sober(text: str) -> None:
    if "!" in text:
        raise ValidationError("Calm down.")


class NoteRequest(Schema):
    """Somebody on the staff writes a note."""

    text = fields.String(
        required=True,
        validate=validate.And(validate.Length(min=1, max=80), _sober),
    )
    by = Name()


class TeaView(Schema):
    """What is served."""

    sort = fields.String(required=True)
    milk = fields.String(allow_none=True)


class TeaQuery(Schema):
    """Which tea."""

    sort = fields.String(load_default=None, validate=validate.OneOf(["a", "b"]))


tea = Blueprint("tea", __name__, url_prefix="/tea")


def _device(view: Callable[..., object]) -> Callable[..., object]:
    return declare(view, Callers(Kind.DEVICE))


def _staff(view: Callable[..., object]) -> Callable[..., object]:
    return declare(view, Callers(Kind.STAFF, ("support",)))


@tea.post("/orders")
@_device
@also_answers(HTTPStatus.OK)
@refuses(Sold)
@returns(TeaView, HTTPStatus.CREATED)
@accepts(TeaRequest)
def order(*, sort: str, cups: int) -> dict[str, object]:
    """Order tea.

    It is brewed for ``cups``.
    """
    return {"sort": sort, "milk": None, "cups": cups}


@tea.post("/orders/<int:number>/notes")
@_staff
@returns(None, HTTPStatus.NO_CONTENT)
@accepts(NoteRequest)
def write_note(number: int, *, text: str, by: str) -> None:
    """Write a note."""


@tea.get("/")
@open_to_all
@returns(TeaView)
@queries(TeaQuery)
def find(*, sort: str | None) -> dict[str, object]:
    """Find tea."""
    return {"sort": sort}


@tea.put("/leaves/<name>")
@open_to_all
@takes("application/octet-stream")
@says("text/plain")
def leaves(name: str) -> str:
    """Take tea leaves."""
    return f"{name}: {len(request.get_data())}"


@tea.get("/broken")
@open_to_all
@says("text/plain")
def broken() -> str:
    """Fail."""
    raise RuntimeError("serial PBX123456 at 192.0.2.7")


@tea.get("/refused")
@open_to_all
@says("text/plain")
def refused() -> str:
    """Refuse."""
    raise Forbidden


TEXTS = """
[tea-is-sold.{0}]
title = "Sold"
happened = "It was sold."
do = "Drink water.\\n\\nOr coffee."
"""


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Callable[..., Flask]]:
    """Build small applications; the defaults are one on an empty SQLite."""
    made: list[Flask] = []

    def make(
        settings: Settings | None = None,
        *,
        checks: tuple[Check, ...] = (),
        device: bool = False,
    ) -> Flask:
        texts = tmp_path / "problems.toml"
        texts.write_text("".join(map(TEXTS.format, ("de", "en", "fr"))), "utf-8")
        chosen = settings or Settings(database_url=f"sqlite:///{tmp_path}/empty")
        app = Flask("small", static_folder=None, instance_path=str(tmp_path))
        database.register(app, chosen)
        problems.register(app)
        routes.register(
            app,
            chosen,
            problem_files=[texts],
            checks=checks,
            shows_certificate=lambda: device,
        )
        access_log.register(app)
        throttle.register(app, lambda: VersionedKey(1, b"k" * 32))
        app.register_blueprint(tea)
        made.append(app)
        return app

    yield make
    for app in made:
        with app.app_context():
            access_log.flush()
            db.session.remove()
            db.engine.dispose()


@pytest.fixture
def small_app(make_app: Callable[..., Flask]) -> Flask:
    """A small application whose database is empty."""
    return make_app()


@pytest.fixture
def stored_app(make_app: Callable[..., Flask], database_url: str) -> Iterator[Flask]:
    """A small application on a migrated database of either kind, in context."""
    app = make_app(Settings(database_url=database_url))
    with app.app_context():
        yield app
