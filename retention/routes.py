# SPDX-License-Identifier: Apache-2.0
"""HTTP face for a PBX, and for whom it lets read: what is stored about it."""

import re
from http import HTTPStatus

from flask import Blueprint, Response, request

from fleet.clock import utcnow
from fleet.errors import TooMany
from fleet.identity.guard import ACTIVE, LOCKED, current_device, device_only
from fleet.web.addresses import client_address
from fleet.web.callers import open_to_all
from fleet.web.contract import accepts, queries, refuses, returns, says
from fleet.web.languages import choose
from fleet.web.paging import Page, PageQuery
from retention.errors import (
    MarksNotKept,
    ShareTokenRequired,
    TooManyShares,
    UnknownShare,
)
from retention.schemas.rights import (
    ExportView,
    FormatQuery,
    ObjectionRequest,
    ObjectionView,
    SharedView,
    ShareRequest,
    SharesPage,
    ShareView,
)
from retention.service import gathering, objections, requests, sharing
from retention.service.gathering import Audience, Export
from retention.service.sharing import Shared, ShareFacts
from retention.views import csv_answer, export_view, objection_view

blueprint = Blueprint("retention", __name__, url_prefix="/retention/v1")

JSON = "application/json"
CSV = "text/csv"
ID = "int(max=9223372036854775807)"

# The scheme's name is case-insensitive (RFC 9110, section 11.1).
_BEARER = re.compile(r"bearer +([!-~]{1,512})", re.IGNORECASE)


@blueprint.get("/device/data")
@device_only(ACTIVE, LOCKED)
@says(JSON, CSV)
@returns(ExportView)
@queries(FormatQuery)
def own_data(*, format: str | None) -> Response | dict[str, object]:  # noqa: A002 -- the query's name
    """Hand out all that is stored about this PBX, what for, and how long.

    JSON, or CSV with the columns category, record, field and value; there a text that
    begins like a formula has an apostrophe before it.
    """
    device, now = current_device(), utcnow()
    requests.note_access(device.device_id, now=now)
    return answer(gathering.gather(device.serial_number, now=now), format)


@blueprint.post("/device/objection")
@device_only(ACTIVE, LOCKED)
@refuses(TooMany, MarksNotKept)
@returns(ObjectionView)
@accepts(ObjectionRequest)
def object_to_statistics(*, withdraw: bool) -> dict[str, object]:
    """Leave this PBX out of statistics: no request of it is recorded from now on.

    Again, it changes nothing; with `withdraw` it is taken back.
    """
    since = objections.object_for_itself(
        current_device().serial_number, withdraw=withdraw, now=utcnow()
    )
    return objection_view(since)


@blueprint.get("/device/shares")
@device_only(ACTIVE, LOCKED)
@returns(SharesPage)
@queries(PageQuery)
def list_own_shares(*, limit: int, cursor: str | None) -> Page[ShareFacts]:
    """List who may read what is stored about this PBX, and who no longer may."""
    serial_number = current_device().serial_number
    return sharing.listed(serial_number, limit=limit, cursor=cursor)


@blueprint.post("/device/shares")
@device_only(ACTIVE, LOCKED)
@refuses(TooManyShares, TooMany)
@returns(SharedView, HTTPStatus.CREATED)
@accepts(ShareRequest)
def share_own_data(*, recipient: str, expires_in_days: int) -> Shared:
    """Let somebody read what is stored about this PBX, by a token shown once.

    Again for the same recipient, the token before is good no more.
    """
    return sharing.share_by_itself(
        current_device().serial_number,
        recipient=recipient,
        days=expires_in_days,
        now=utcnow(),
    )


@blueprint.delete(f"/device/shares/<{ID}:share_id>")
@device_only(ACTIVE, LOCKED)
@refuses(UnknownShare)
@returns(ShareView)
def end_own_share(share_id: int) -> ShareFacts:
    """Let somebody read no more, from the next request on."""
    serial_number = current_device().serial_number
    return sharing.revoke(serial_number, share_id, by=None, now=utcnow())


@blueprint.get("/shared/data")
@open_to_all
@refuses(ShareTokenRequired, TooMany)
@says(JSON, CSV)
@returns(ExportView)
@queries(FormatQuery)
def shared_data(*, format: str | None) -> Response | dict[str, object]:  # noqa: A002 -- the query's name
    """Hand out what a PBX has shared, to whoever holds a read token of it.

    The token is sent as `Authorization: Bearer`. What is about people is left out.
    """
    shown = _BEARER.fullmatch(request.headers.get("Authorization", "").strip(" "))
    if shown is None:
        raise ShareTokenRequired
    now = utcnow()
    serial_number = sharing.serial_of(shown[1], address=client_address(), now=now)
    export = gathering.gather(serial_number, audience=Audience.THIRD_PARTY, now=now)
    return answer(export, format)


def answer(export: Export, form: str | None) -> Response | dict[str, object]:
    """Return an export as the query says, or else as the client likes best."""
    if form is None:
        best = request.accept_mimetypes.best_match([JSON, CSV], default=JSON)
        form = "csv" if best == CSV else "json"
    if form == "csv":
        return csv_answer(export, choose(request.accept_languages, None))
    return export_view(export)
