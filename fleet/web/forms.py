# SPDX-License-Identifier: Apache-2.0
"""Forms on pages for people: what one sends, and that it came from that page.

A page with a form gives the browser a random cookie and writes a token into the
form that is signed for that cookie, for one purpose and for a time. Another site
can make a browser send a form here, but it can neither read the token nor bring
the cookie along; where the browser says which site a form came from, that is
looked at first. Nothing is stored: any node and any worker takes any token.

    token = forms.token("redeem", now)           # into the form, as form_token
    forms.remember(response)                     # the cookie, where it is new

    @blueprint.post("/")
    @forms.accepts(RedeemForm)                   # names the fields, form_token too
    def redeem(*, code: str, form_token: str) -> Response:
        forms.check(form_token, "redeem", now)
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import wraps
from hashlib import sha256
from typing import ParamSpec, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

from flask import Response, request
from itsdangerous import BadSignature, TimestampSigner
from marshmallow import Schema

from fleet.errors import Forbidden, Invalid, TooLarge, UnsupportedMedia
from fleet.ground import ground
from fleet.web.contract import contract_of

P = ParamSpec("P")
T = TypeVar("T")

MEDIA_TYPE = "application/x-www-form-urlencoded"

# All that a person types into one of our forms is far smaller.
MOST_BYTES = 8 * 1024
MOST_FIELDS = 32

# How long a page may stay open before its form is sent.
LIFE = timedelta(days=2)
# Another node's clock may be a little ahead.
TOLERANCE = timedelta(minutes=5)

# The prefix makes browsers insist on HTTPS, on this very host and on all paths.
COOKIE = "__Host-form"
KEY_PURPOSE = "page-form"

_COOKIE_VALUE = re.compile(r"[A-Za-z0-9_-]{24}")
_COOKIE_BYTES = 18

# Where a request keeps the browser that it came from.
_BROWSER = "callhome.form_browser"


class FormExpired(Forbidden):
    """The form is older than its token lives, or the browser kept no cookie."""

    code = "form-expired"
    reason = "The page was open for too long, or the browser kept no cookie of it."


class FormFromElsewhere(Forbidden):
    """Another site made the browser send the form."""

    code = "form-from-elsewhere"
    reason = "This form was sent from another site. Open the page here, and send it."


def accepts(schema_class: type[Schema]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Hand the view the fields of a form, each as the text that was sent.

    The schema names them for the view and the OpenAPI document. What is wrong with
    one is for the view to tell a person, beside what they typed.
    """
    schema = schema_class()

    def bind(view: Callable[P, T]) -> Callable[P, T]:
        contract = contract_of(view)
        contract.body, contract.body_media_type = schema, MEDIA_TYPE

        @wraps(view)
        def loaded(*args: P.args, **kwargs: P.kwargs) -> T:
            kwargs.update(read(*schema.load_fields))
            return view(*args, **kwargs)

        return loaded

    return bind


def read(*names: str) -> dict[str, str]:
    """Return the fields ``names`` of the form in the body of the request in context.

    A field that was not sent is empty; any other field is ignored. Raises
    ``Invalid``, ``TooLarge`` or ``UnsupportedMedia``.
    """
    if (request.content_length or 0) > MOST_BYTES:
        raise TooLarge(f"The form is larger than {MOST_BYTES} bytes.")
    if request.mimetype != MEDIA_TYPE:
        raise UnsupportedMedia(f"Send the form as {MEDIA_TYPE}.")
    raw = request.stream.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise TooLarge(f"The form is larger than {MOST_BYTES} bytes.")
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        raise Invalid("The form is malformed.") from None
    return {name: _only(name, pairs) for name in names}


def token(purpose: str, now: datetime) -> str:
    """Return a token for a form of ``purpose`` in the browser that asks.

    Raises ``MissingKey`` where there is no key to sign with.
    """
    signer = _Signer.of(purpose, _browser().cookie, now)
    return signer.sign(secrets.token_hex(8)).decode()


def check(token: str, purpose: str, now: datetime) -> None:
    """Raise unless the form comes from a page of ours in this very browser.

    ``FormFromElsewhere`` where the browser names another site as its origin, and
    ``FormExpired`` where the token is not one of this browser, or too old.
    """
    if _from_elsewhere():
        raise FormFromElsewhere
    signer = _Signer.of(purpose, _browser().cookie, now)
    try:
        _, signed_at = signer.unsign(token, return_timestamp=True)
    except BadSignature:
        raise FormExpired from None
    if not -TOLERANCE <= now - signed_at <= LIFE:
        raise FormExpired


def remember(response: Response) -> None:
    """Let the browser keep the cookie that tokens of this request are bound to.

    Lax, not Strict: whoever comes by a link or a QR code keeps the cookie that
    an open form in another tab was made with.
    """
    browser = _browser()
    if browser.is_new:
        response.set_cookie(
            COOKIE, browser.cookie, secure=True, httponly=True, samesite="Lax"
        )


@dataclass(frozen=True)
class _Browser:
    """The browser that asks, by its cookie; one without gets a new one."""

    cookie: str
    is_new: bool


def _browser() -> _Browser:
    known = cast("_Browser | None", request.environ.get(_BROWSER))
    if known is not None:
        return known
    sent = request.cookies.get(COOKIE, "")
    if _COOKIE_VALUE.fullmatch(sent):
        browser = _Browser(sent, is_new=False)
    else:
        browser = _Browser(secrets.token_urlsafe(_COOKIE_BYTES), is_new=True)
    request.environ[_BROWSER] = browser
    return browser


class _Signer(TimestampSigner):
    """Signs at an instant that it is told."""

    now: datetime

    @classmethod
    def of(cls, purpose: str, cookie: str, now: datetime) -> "_Signer":
        """Sign with the newest key; believe what any of them has signed."""
        ring = ground().keyring
        versions = ring.versions(KEY_PURPOSE) or [ring.current(KEY_PURPOSE).version]
        signer = cls(
            [ring.get(KEY_PURPOSE, each).secret for each in versions],
            salt=f"{purpose}\0{cookie}",
            key_derivation="hmac",
            digest_method=sha256,
        )
        signer.now = now
        return signer

    def get_timestamp(self) -> int:
        """Return the present instant, in seconds."""
        return int(self.now.timestamp())


def _from_elsewhere() -> bool:
    """Whether the browser says that another site sent the form.

    Our pages send no referrer, and with it goes the name of the origin; so where
    a browser does not say more than "null", the token alone decides.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get("Origin", "null")
    if origin == "null":
        return False
    public = urlsplit(ground().settings.public_url).netloc
    return _host_of(origin) not in {public, request.host}


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _only(name: str, pairs: list[tuple[str, str]]) -> str:
    values = [value for each, value in pairs if each == name]
    if len(values) > 1:
        raise Invalid(fields={name: ["Given more than once."]})
    if values and "\0" in values[0]:
        raise Invalid(fields={name: ["Holds a NUL character."]})
    return values[0] if values else ""
