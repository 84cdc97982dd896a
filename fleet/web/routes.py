# SPDX-License-Identifier: Apache-2.0
"""HTTP face of the service itself: description, problem pages, health, metrics."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import cast

from flask import Blueprint, Flask, Response, current_app, render_template, request

from fleet.errors import NotFound
from fleet.feature import Gauge
from fleet.settings import Settings
from fleet.web import (
    addresses,
    docs,
    health,
    hooks,
    metrics,
    operators,
    pages,
    problems,
)
from fleet.web.assets import Asset
from fleet.web.callers import open_to_all
from fleet.web.contract import (
    Answered,
    also_answers,
    queries,
    refuses,
    returns,
    says,
)
from fleet.web.languages import Language, choose
from fleet.web.openapi import document
from fleet.web.operators import operator_network_only
from fleet.web.problem_pages import COMMON, ProblemPage, Problems
from fleet.web.schemas import LivenessView, PageQuery, ReadinessView

TITLE = "PBX services"

blueprint = Blueprint("web", __name__, template_folder="templates")


@dataclass
class Web:
    """What the routes below show, for one application."""

    app: Flask
    problems: Problems

    @cached_property
    def description(self) -> Asset:
        """The OpenAPI document; made when it is first asked for."""
        described = document(self.app, title=TITLE)
        content = json.dumps(described, ensure_ascii=False).encode()
        return Asset(content, "application/json", sha256(content).hexdigest()[:16])


def register(
    app: Flask,
    settings: Settings,
    *,
    problem_files: Iterable[Path] = (),
    checks: Sequence[health.Check] = (),
    gauges: Mapping[str, Callable[[], Iterable[Gauge]]] = MappingProxyType({}),
    shows_certificate: Callable[[], bool],
) -> None:
    """Give ``app`` its hooks and the routes below; to be called before all others.

    ``problem_files`` are the rooms' ``problems.toml`` beyond the common one.
    Raises ``PagesFault`` where their texts are not complete.
    """
    addresses.register(app, settings)
    hooks.register(app, settings)
    health.register(app, checks)
    metrics.register(app, gauges)
    operators.register(app, settings, shows_certificate)
    pages.register(app)
    docs.register(app)
    explained = Problems.load([COMMON, *problem_files])
    app.extensions["web"] = Web(app, explained)
    app.extensions[problems.TITLES] = {
        code: texts[Language.ENGLISH].title for code, texts in explained.pages.items()
    }
    app.register_blueprint(blueprint)


@blueprint.get("/openapi.json")
@open_to_all
@says("application/json")
def openapi_document() -> Response:
    """Describe every route (OpenAPI 3.1)."""
    return _web().description.answer()


@blueprint.get("/docs")
@open_to_all
@says("text/html")
def docs_page() -> Response:
    """Show the description of every route."""
    response = Response(render_template("docs.html"), mimetype="text/html")
    response.headers["Content-Security-Policy"] = docs.POLICY
    return response


@blueprint.get("/docs/<name>")
@open_to_all
@says("*/*")
def docs_asset(name: str) -> Response:
    """Return a file that the page at ``/docs`` loads."""
    return _asset(docs.assets().get(name))


@blueprint.get("/assets/<name>")
@open_to_all
@says("*/*")
def page_asset(name: str) -> Response:
    """Return a style sheet or picture of the pages for people."""
    return _asset(pages.assets().get(name))


@blueprint.get("/problems/")
@open_to_all
@says("text/html", "application/json")
@queries(PageQuery)
def problem_list(*, lang: str | None) -> Response:
    """List the problem pages.

    HTML, or JSON where ``Accept`` prefers it.
    """
    language = choose(request.accept_languages, lang)
    found = _web().problems.pages.items()
    listed = [(code, texts[language]) for code, texts in found]
    if _wants_json():
        items = [_told(code, language, page) for code, page in listed]
        return _json({"items": items}, language)
    return pages.render("problems.html", language, pages=listed)


@blueprint.get("/problems/<code>")
@open_to_all
@says("text/html", "application/json")
@refuses(NotFound)
@queries(PageQuery)
def problem_page(code: str, *, lang: str | None) -> Response:
    """Say what a problem means and what to do, in German, English or French.

    HTML, or JSON where ``Accept`` prefers it.
    """
    language = choose(request.accept_languages, lang)
    problems = _web().problems
    page = problems.find(code, language)
    if page is not None and _wants_json():
        return _json(_told(code, language, page), language)
    if page is not None:
        return pages.render("problem.html", language, code=code, page=page)
    if _wants_json():
        raise NotFound
    unknown = problems.find(NotFound.code, language)
    response = pages.render("problem.html", language, code=NotFound.code, page=unknown)
    response.status_code = HTTPStatus.NOT_FOUND
    return response


@blueprint.get("/health/live")
@open_to_all
@returns(LivenessView)
def live() -> dict[str, str]:
    """Answer as long as the process runs."""
    return {"status": "alive"}


@blueprint.get("/health/ready")
@open_to_all
@also_answers(HTTPStatus.SERVICE_UNAVAILABLE)
@returns(ReadinessView)
def ready() -> Answered:
    """Say whether this process can serve, and what is missing."""
    report = health.readiness().report()
    status = HTTPStatus.OK if report.ready else HTTPStatus.SERVICE_UNAVAILABLE
    return Answered(report.document(), status)


@blueprint.get("/metrics")
@operator_network_only
@says("text/plain")
def metric_values() -> Response:
    """Return the numbers of all web processes and of the data, for Prometheus."""
    numbers = metrics.exposition() + metrics.gauges()
    return Response(numbers, content_type=metrics.CONTENT_TYPE)


def _web() -> Web:
    return cast("Web", current_app.extensions["web"])


def _asset(found: Asset | None) -> Response:
    if found is None:
        raise NotFound
    return found.answer()


def _wants_json() -> bool:
    """Whether JSON is preferred; who takes anything gets the page."""
    offered = ["text/html", "application/json"]
    return request.accept_mimetypes.best_match(offered) == "application/json"


def _told(code: str, language: Language, page: ProblemPage) -> dict[str, str]:
    return {
        "code": code,
        "language": language.value,
        "title": page.title,
        "happened": page.happened,
        "do": page.do,
    }


def _json(value: object, language: Language) -> Response:
    response = Response(current_app.json.dumps(value), mimetype="application/json")
    response.headers["Content-Language"] = language.value
    response.vary.update(["Accept", "Accept-Language"])
    return response
