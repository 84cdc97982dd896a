# SPDX-License-Identifier: Apache-2.0
"""The pages on which people redeem a voucher by hand.

One form, which works without script. Whatever goes wrong is told on the same
form, beside what was typed, in words of its own and with the next step; the status
stays that of the problem. Nothing that is typed is ever in an address.
"""

from collections.abc import Mapping
from datetime import UTC
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import cast

import segno
from flask import Blueprint, Response, current_app, g, request, url_for

from fleet.clock import utcnow
from fleet.devices import registry
from fleet.devices.errors import UnknownDevice
from fleet.errors import NotFound, Refusal, TooMany
from fleet.ground import ground
from fleet.identity.guard import DeviceNotPermitted
from fleet.server.pulse import ClockNotTrusted, timekeeper
from fleet.web import forms, pages
from fleet.web.access_log import leave_out, note
from fleet.web.addresses import client_address
from fleet.web.assets import Asset
from fleet.web.callers import open_to_all
from fleet.web.contract import queries, refuses, refuses_by_page, says
from fleet.web.forms import FormExpired, FormFromElsewhere
from fleet.web.languages import Language, choose
from fleet.web.routes import Web
from fleet.web.schemas import PageQuery
from voucher import codes
from voucher.errors import (
    MistypedCode,
    PrerequisiteMissing,
    ReleaseCodesExhausted,
    TrialAlreadyUsed,
    VoucherAlreadyRedeemed,
    VoucherExpired,
    VoucherNotActivated,
    VoucherNotForThisDevice,
    VoucherNotValid,
    WithoutEffect,
)
from voucher.page_words import Fault, Typed, day_in_words, fault_of, words
from voucher.schemas.pages import RedemptionForm
from voucher.service import redemptions
from voucher.service.redemptions import Redeemed, Way
from voucher.service.trade.products import FEATURE

blueprint = Blueprint(
    "voucher-pages", __name__, url_prefix="/voucher", template_folder="templates"
)

# As every page, and our own script besides.
POLICY = f"{pages.POLICY}; script-src 'self'"

# What a token of this form is good for.
PURPOSE = "redeem a voucher"

# The form is asked for as it was typed, without anything to tell.
ONLY_THE_FORM = "form"


@blueprint.before_request
def forget() -> None:
    """Begin with nothing typed."""
    g.typed = None


@blueprint.get("/")
@open_to_all
@says("text/html")
@refuses_by_page
@queries(PageQuery)
def show(*, lang: str | None) -> Response:
    """Show the form with which a person redeems a voucher."""
    return _form(choose(request.accept_languages, lang))


@blueprint.post("/")
@open_to_all
@says("text/html")
@refuses_by_page
@refuses(
    FormExpired,
    FormFromElsewhere,
    MistypedCode,
    TooMany,
    VoucherNotValid,
    VoucherAlreadyRedeemed,
    VoucherExpired,
    VoucherNotActivated,
    VoucherNotForThisDevice,
    UnknownDevice,
    DeviceNotPermitted,
    PrerequisiteMissing,
    TrialAlreadyUsed,
    WithoutEffect,
    ReleaseCodesExhausted,
    ClockNotTrusted,
)
@queries(PageQuery)
@forms.accepts(RedemptionForm)
def redeem(
    *, lang: str | None, code: str, serial_number: str, form_token: str, shown: str
) -> Response:
    """Redeem a voucher by hand, and show its release code.

    The same again gives the same answer. With ``shown`` nothing is redeemed: the
    form comes back as it was, in another language.
    """
    language = choose(request.accept_languages, lang)
    g.typed = Typed(code, serial_number)
    forms.check(form_token, PURPOSE, utcnow())
    if shown:
        return _form(language, fault=_fault(shown, language))
    done = redemptions.redeem(
        code,
        serial_number=serial_number,
        way=Way.BROWSER,
        address=client_address(),
        now=timekeeper().now(),
    )
    if registry.is_left_out(done.serial_number):
        leave_out()
    note("voucher")
    return _result(done, language)


@blueprint.get("/assets/<name>")
@open_to_all
@says("*/*")
@refuses(NotFound)
def asset(name: str) -> Response:
    """Return a file that the pages load."""
    found = assets().get(name)
    if found is None:
        raise NotFound
    return found.answer()


@blueprint.after_request
def tell(response: Response) -> Response:
    """Tell a person what went wrong on the form, in the place of a document."""
    is_problem = response.mimetype == "application/problem+json"
    if not is_problem or request.endpoint == f"{blueprint.name}.asset":
        return response
    document = cast("Mapping[str, str]", response.get_json())
    problem = document["type"].rpartition("/")[2]
    if problem == FormFromElsewhere.code:
        g.typed = None  # it was not this person who typed it
    language = choose(request.accept_languages, request.args.get("lang"))
    after = response.headers.get("Retry-After")
    fault = _fault(
        problem,
        language,
        status=response.status_code,
        retry_after=int(after) if after else None,
    )
    try:
        page = _form(language, fault=fault)
    except Refusal:  # without its key there is no form
        return response
    page.status_code = response.status_code
    if after:
        page.headers["Retry-After"] = after
    return page


@cache
def assets() -> Mapping[str, Asset]:
    """Return the files that the pages load beside those of every page."""
    static = Path(__file__).parent / "static"
    return {
        "redeem.css": Asset.read(static / "redeem.css", "text/css"),
        "redeem.js": Asset.read(static / "redeem.js", "text/javascript"),
    }


def _form(language: Language, *, fault: Fault | None = None) -> Response:
    typed = g.typed or Typed()
    return _render("voucher_form.html", language, typed=typed, fault=fault)


def _result(done: Redeemed, language: Language) -> Response:
    said = words(language)
    code = codes.shown(done.release_code)
    picture = segno.make(code, error="m", micro=False).svg_data_uri(
        scale=1, border=4, dark="#000", light="#fff", omitsize=True
    )
    until = done.expires_on and said["until"].format(
        day=day_in_words(done.expires_on, said)
    )
    return _render(
        "voucher_redeemed.html",
        language,
        typed=g.typed,
        done=done,
        product=done.names[language.value],
        counts=done.unit != FEATURE,
        last_four=codes.canonical(g.typed.code)[-4:],
        release_code=code,
        picture=picture,
        until=until or said["for_ever"],
        redeemed_on=day_in_words(done.redeemed_at.astimezone(UTC).date(), said),
    )


def _render(template: str, language: Language, **values: object) -> Response:
    now = utcnow()
    response = pages.render(
        template,
        language,
        policy=POLICY,
        said=words(language),
        posted=request.method == "POST",
        action=url_for(".redeem", lang=language.value),
        actions={each: url_for(".redeem", lang=each.value) for each in Language},
        asset=_address,
        form_token=forms.token(PURPOSE, now),
        shop_url=ground().settings.shop_url,
        only_the_form=ONLY_THE_FORM,
        **values,
    )
    forms.remember(response)
    return response


def _fault(
    problem: str,
    language: Language,
    *,
    status: int = HTTPStatus.OK,
    retry_after: int | None = None,
) -> Fault | None:
    """Return how a problem is told; nothing for what is no problem of ours."""
    web = cast("Web", current_app.extensions["web"])
    page = web.problems.find(problem, language)
    if page is None:
        return None
    return fault_of(
        problem,
        status=status,
        typed=g.typed,
        retry_after=retry_after,
        said=words(language),
        page=page,
    )


def _address(name: str) -> str:
    return url_for(".asset", name=name, v=assets()[name].tag)
