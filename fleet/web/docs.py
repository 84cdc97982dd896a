# SPDX-License-Identifier: Apache-2.0
"""The page that shows the OpenAPI document: Swagger UI, served from here.

The program comes with the package flask-swagger-ui, whose own routes are not
used: they put the configuration into an inline script, which our content
security policy forbids, and leave on a badge that is loaded from another host.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from flask import Flask, url_for

from fleet.web.assets import Asset

PROGRAM = Path(str(files("flask_swagger_ui"))) / "dist"
OWN = Path(__file__).parent / "static"

# Swagger UI's icons are data: addresses, and it fetches the document.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def assets() -> Mapping[str, Asset]:
    """Return the files that the page loads, by name."""
    return {
        "swagger-ui.css": Asset.read(PROGRAM / "swagger-ui.css", "text/css"),
        "swagger-ui-bundle.js": Asset.read(
            PROGRAM / "swagger-ui-bundle.js", "text/javascript"
        ),
        "docs.css": Asset.read(OWN / "docs.css", "text/css"),
        "docs.js": Asset.read(OWN / "docs.js", "text/javascript"),
    }


def register(app: Flask) -> None:
    """Let templates name the files above."""
    app.jinja_env.globals["docs_asset"] = _address


def _address(name: str) -> str:
    return url_for("web.docs_asset", name=name, v=assets()[name].tag)
