# SPDX-License-Identifier: Apache-2.0
"""Every error leaves this service as ``application/problem+json`` (RFC 9457).

``type`` is ``/problems/<code>``, and that address is a page for people, in
German, English and French (``fleet.web.pages``). What is not a refusal becomes
``internal-error`` with nothing of the fault in it; the log has the request id.
"""

import logging
import random
from collections.abc import Mapping
from http import HTTPStatus
from typing import cast

from flask import Flask, Response, current_app, g
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException, RequestedRangeNotSatisfiable

from fleet import errors
from fleet.errors import Refusal
from fleet.web.logs import places

log = logging.getLogger(__name__)

STATUS: Mapping[type[Refusal], HTTPStatus] = {
    errors.Invalid: HTTPStatus.BAD_REQUEST,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMedia: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.Unprocessable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

# Seconds after which to come again, where a refusal does not say; drawn for each
# answer, so that those who were turned away together do not come back together.
COME_AGAIN = range(20, 60)

# The one refusal that a bearer token would help against (RFC 9110, section 11.6.1).
STAFF_TOKEN_REQUIRED = "staff-token-required"  # noqa: S105 -- a code, no token

# Where an application keeps the English titles of its problem pages, by code.
TITLES = "problem_titles"

BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class DatabaseUnavailable(errors.Unavailable):
    """The database does not answer, or not in time."""

    code = "database-unavailable"
    reason = "The service cannot reach its database right now. Try again shortly."


def register(app: Flask) -> None:
    """Teach ``app`` to answer errors in this one format."""
    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(DBAPIError, _database_failed)
    app.register_error_handler(PoolTimeoutError, _database_busy)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unforeseen)


def status_of(refusal: type[Refusal]) -> HTTPStatus:
    """Return the HTTP status of a kind of refusal."""
    return next(STATUS[kind] for kind in refusal.mro() if kind in STATUS)


def problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    fields: Mapping[str, object] | None = None,
    retry_after: int | None = None,
) -> Response:
    """Return a problem document."""
    document: dict[str, object] = {
        "type": f"/problems/{code}",
        "title": _title(code) or status.phrase,
        "status": int(status),
        "detail": detail,
    }
    if fields:
        document["fields"] = fields
    if request_id := g.get("request_id"):
        document["instance"] = f"urn:request:{request_id}"
    response = Response(
        current_app.json.dumps(document),
        status,
        content_type="application/problem+json",
    )
    response.headers["Cache-Control"] = "no-store"
    if retry_after is None and status in BUSY:
        retry_after = random.choice(COME_AGAIN)  # noqa: S311 -- spreads a load, guards nothing
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    if code == STAFF_TOKEN_REQUIRED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="staff"'
    return response


def _title(code: str) -> str | None:
    """Return the title of the code's page, the same for each occurrence."""
    titles = cast("Mapping[str, str]", current_app.extensions.get(TITLES, {}))
    return titles.get(code)


def _refused(refusal: Refusal) -> Response:
    return problem(
        status_of(type(refusal)),
        refusal.code,
        refusal.detail,
        fields=refusal.fields,
        retry_after=refusal.retry_after,
    )


def _database_failed(fault: DBAPIError) -> Response:
    if not (isinstance(fault, OperationalError) or fault.connection_invalidated):
        return _unforeseen(fault)
    # The driver's text can name a host or an address: only its kind is logged.
    log.error("database unavailable: %s", type(fault.orig).__name__)
    return _refused(DatabaseUnavailable())


def _database_busy(_fault: PoolTimeoutError) -> Response:
    log.error("database unavailable: no free connection")
    return _refused(DatabaseUnavailable())


def _http_error(fault: HTTPException) -> Response:
    status = HTTPStatus(fault.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    response = problem(
        status, CODES.get(status, "malformed-request"), SAID.get(status, status.phrase)
    )
    for name, value in fault.get_headers():
        if name in {"Allow", "Location"}:
            response.headers[name] = value
    if isinstance(fault, RequestedRangeNotSatisfiable) and fault.length is not None:
        response.headers["Content-Range"] = f"bytes */{fault.length}"
    if (
        fault.response is not None
        and HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
    ):
        return Response(status=status, headers=dict(fault.response.headers))
    return response


def _unforeseen(fault: Exception) -> Response:
    # Only where, never what: the text of a fault may hold what was sent.
    log.error("unforeseen %s at %s", type(fault).__name__, places(fault.__traceback__))
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal-error",
        "Something went wrong here. It was logged under the request's id.",
    )


CODES = {
    HTTPStatus.NOT_FOUND: "not-found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method-not-allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request-too-large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported-media-type",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "range-not-satisfiable",
    HTTPStatus.NOT_ACCEPTABLE: "not-acceptable",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal-error",
}

SAID = {
    HTTPStatus.NOT_FOUND: "There is nothing at this address.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not know that method.",
    HTTPStatus.BAD_REQUEST: "The request could not be understood.",
}
