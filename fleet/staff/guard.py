# SPDX-License-Identifier: Apache-2.0
"""Says which member of the staff calls, and whether that role may.

``@staff_only(Role.SUPPORT, ...)`` stands on every route for staff. It also makes
every ``POST`` repeatable (``fleet.staff.idempotency``), so that no route can
forget to be. Whoever audits may read whatever any role may read, and change
nothing.
"""

import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, cast

from flask import Response, current_app, g, request
from flask.typing import ResponseReturnValue

from fleet.clock import utcnow
from fleet.ground import ground
from fleet.staff import idempotency, tokens
from fleet.staff.errors import NotPermitted, StaffTokenRequired
from fleet.staff.roles import Role, StaffMember
from fleet.web import throttle
from fleet.web.addresses import client_address
from fleet.web.callers import Callers, Kind, declare

P = ParamSpec("P")

READS = frozenset({"GET", "HEAD"})

STAFF_TOKEN = throttle.Guessing("staff-token")

# The scheme's name is case-insensitive (RFC 9110, section 11.1).
_BEARER = re.compile(r"bearer +([!-~]{1,512})", re.IGNORECASE)


def staff_only(
    *roles: Role,
    apart: bool = False,
) -> Callable[[Callable[P, ResponseReturnValue]], Callable[P, ResponseReturnValue]]:
    """Admit staff in one of ``roles``, and for reads whoever audits.

    The view then finds the caller in ``current_staff()``. What it does is one
    transaction with the answer to a repeated request, or done ``apart`` where it takes
    too long for one. Raises ``TypeError`` at import where no role is named.
    """
    if not roles:
        raise TypeError("a route for staff names the roles that may call it")

    def bind(
        view: Callable[P, ResponseReturnValue],
    ) -> Callable[P, ResponseReturnValue]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            token = _shown_token()
            member = _recognise(token)
            _check_role(member, roles)
            g.staff = member
            key = idempotency.given_key() if request.method == "POST" else None
            if key is None:
                return view(*args, **kwargs)
            attempt = idempotency.Attempt(
                token_id=_id_of(member), key=key, secret=token, now=utcnow()
            )

            def work() -> Response:
                return current_app.make_response(view(*args, **kwargs))

            if apart:
                return idempotency.answer_apart(attempt, work)
            return idempotency.answer_once(attempt, work)

        return declare(
            guarded, Callers(Kind.STAFF, tuple(roles), readers=(Role.AUDITOR,))
        )

    return bind


def current_staff() -> StaffMember:
    """Return the member of staff that the request in context comes from."""
    return cast("StaffMember", g.staff)


def permitted_roles(roles: tuple[str, ...], method: str) -> tuple[str, ...]:
    """Return who may call a route with ``method``: reads are the auditor's, too."""
    if method in READS and Role.AUDITOR not in roles:
        return (*roles, Role.AUDITOR)
    return roles


def _shown_token() -> str:
    shown = _BEARER.fullmatch(request.headers.get("Authorization", "").strip(" "))
    if shown is None:
        raise StaffTokenRequired
    return shown[1]


def _recognise(token: str) -> StaffMember:
    """Look a token up; a wrong one counts against the address that it came from.

    A right one is admitted whatever was guessed from there: 256 random bits need
    no lock that would shut out a whole office for one forgotten script.
    """
    now = utcnow()
    member = tokens.find(token, keyring=ground().keyring, now=now)
    if member is None:
        address = client_address()
        throttle.check(STAFF_TOKEN, address, now=now)
        throttle.wrong(STAFF_TOKEN, address, now=now)
        raise StaffTokenRequired
    return member


def _check_role(member: StaffMember, roles: tuple[Role, ...]) -> None:
    permitted = permitted_roles(roles, request.method)
    if member.role not in permitted:
        raise NotPermitted(
            f"Your role is {member.role}; this may only be done by: "
            f"{', '.join(permitted)}."
        )


def _id_of(member: StaffMember) -> int:
    if member.token_id is None:
        raise RuntimeError("somebody came by HTTP without a token")
    return member.token_id
