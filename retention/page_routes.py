# SPDX-License-Identifier: Apache-2.0
"""The page on which people read what is stored of them: the privacy notice."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, request, url_for

from fleet.errors import NotFound
from fleet.ground import ground
from fleet.web import pages
from fleet.web.assets import Asset
from fleet.web.callers import open_to_all
from fleet.web.contract import queries, refuses, refuses_by_page, says
from fleet.web.languages import choose
from fleet.web.schemas import PageQuery
from retention.notice import notice

blueprint = Blueprint(
    "retention-pages", __name__, url_prefix="/retention", template_folder="templates"
)


@blueprint.get("/")
@open_to_all
@says("text/html")
@refuses_by_page
@queries(PageQuery)
def show_notice(*, lang: str | None) -> Response:
    """Show the privacy notice."""
    language = choose(request.accept_languages, lang)
    told = notice(ground().settings, language)
    return pages.render("notice.html", language, told=told, asset=_address)


@blueprint.get("/assets/<name>")
@open_to_all
@says("*/*")
@refuses(NotFound)
def asset(name: str) -> Response:
    """Return a file that the page loads."""
    found = assets().get(name)
    if found is None:
        raise NotFound
    return found.answer()


@cache
def assets() -> Mapping[str, Asset]:
    """Return the files that the page loads beside those of every page."""
    static = Path(__file__).parent / "static"
    return {"notice.css": Asset.read(static / "notice.css", "text/css")}


def _address(name: str) -> str:
    return url_for(".asset", name=name, v=assets()[name].tag)
