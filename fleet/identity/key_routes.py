# SPDX-License-Identifier: Apache-2.0
"""HTTP face of the signing keys: what a PBX verifies by."""

from flask import Blueprint, Response, current_app

from fleet.ground import ground
from fleet.web.callers import open_to_all
from fleet.web.contract import says

jwks_blueprint = Blueprint("jwks", __name__)
keyset_blueprint = Blueprint("keyset", __name__, url_prefix="/cic/v1")

# A key is published well before its first use, so an hour in a cache harms nobody.
CACHED = "public, max-age=3600"


@jwks_blueprint.get("/.well-known/jwks.json")
@open_to_all
@says("application/jwk-set+json")
def jwks() -> Response:
    """Return the signing keys as a plain JWK set (RFC 7517)."""
    response = Response(
        current_app.json.dumps(ground().signing.key_set().jwks()),
        mimetype="application/jwk-set+json",
    )
    response.headers["Cache-Control"] = CACHED
    return response


@keyset_blueprint.get("/keyset")
@open_to_all
@says("application/jwt")
def keyset() -> Response:
    """Return the same keys in a `keyset+jwt` that the offline root has signed."""
    response = Response(ground().signing.key_set().token, mimetype="application/jwt")
    response.headers["Cache-Control"] = CACHED
    return response
