# SPDX-License-Identifier: Apache-2.0
"""The published contract: a change of it shows up in review."""

import json
import os
from pathlib import Path

from flask import Flask

PUBLISHED = Path(__file__).parent.parent / "openapi.json"


def test_the_document_is_the_published_one(app: Flask) -> None:
    """To publish a change: CALLHOME_PUBLISH_OPENAPI=1 make test, and commit it."""
    described = app.test_client().get("/openapi.json").json

    if os.environ.get("CALLHOME_PUBLISH_OPENAPI"):
        text = json.dumps(described, indent=1, ensure_ascii=False)
        PUBLISHED.write_text(text + "\n", encoding="utf-8")

    assert described == json.loads(PUBLISHED.read_text(encoding="utf-8"))


def test_every_staff_route_names_its_roles(app: Flask) -> None:
    described = app.test_client().get("/openapi.json").json
    assert described is not None
    operations = [
        operation
        for path in described["paths"].values()
        for name, operation in path.items()
        if name != "parameters"
    ]
    staff = [each for each in operations if each["x-callers"] == "staff"]

    assert staff
    assert all(each["x-roles"] for each in staff)
