# SPDX-License-Identifier: Apache-2.0
"""How a page for people is made: frame, words, style sheet, policy.

A feature's own page extends the template ``page.html`` and is rendered by
``render``, so that all pages look alike and none forgets its policy.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import cast

from flask import Flask, Response, render_template, url_for

from fleet.web.assets import Asset
from fleet.web.languages import Language

HERE = Path(__file__).parent

# Nothing but our own style sheet and pictures, and no script.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def render(
    template: str, language: Language, *, policy: str = POLICY, **values: object
) -> Response:
    """Return a page in ``language``; a feature may hand in a ``policy`` of its own."""
    text = render_template(
        template,
        language=language,
        languages=list(Language),
        words=frame_words()[language],
        **values,
    )
    response = Response(text, mimetype="text/html")
    response.headers["Content-Language"] = language.value
    response.headers["Content-Security-Policy"] = policy
    response.headers["Referrer-Policy"] = "no-referrer"
    response.vary.update(["Accept", "Accept-Language"])
    return response


@cache
def frame_words() -> Mapping[Language, Mapping[str, str]]:
    """Return the words of the frame, by language."""
    texts = tomllib.loads((HERE / "pages.toml").read_text("utf-8"))
    return {each: cast("Mapping[str, str]", texts[each.value]) for each in Language}


@cache
def assets() -> Mapping[str, Asset]:
    """Return the files that every page may load, by name."""
    return {
        "page.css": Asset.read(HERE / "static" / "page.css", "text/css"),
        "icon.svg": Asset.read(HERE / "static" / "icon.svg", "image/svg+xml"),
    }


def register(app: Flask) -> None:
    """Let templates name the files above."""
    app.jinja_env.globals["page_asset"] = _address


def link_privacy(app: Flask, endpoint: str) -> None:
    """Let every page lead to the one that says what is stored of whoever reads it."""
    app.jinja_env.globals["privacy_page"] = endpoint


def _address(name: str) -> str:
    return url_for("web.page_asset", name=name, v=assets()[name].tag)
