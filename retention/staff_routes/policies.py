# SPDX-License-Identifier: Apache-2.0
"""HTTP face for staff: the policies, and the inventory of what is stored."""

from flask import Blueprint, request

from fleet.ground import ground
from fleet.staff.guard import staff_only
from fleet.staff.roles import Role
from fleet.web.contract import Answered, queries, returns
from fleet.web.languages import Language, choose
from retention.notice import responsible
from retention.schemas.policies import InventoryView, LanguageQuery, PoliciesView
from retention.service import inventory

blueprint = Blueprint("retention-policies", __name__, url_prefix="/retention/v1")

# Everybody but a dealer, who is no staff of the vendor.
READERS = (
    Role.SUPPORT,
    Role.RELEASE_MANAGER,
    Role.PRODUCT_MANAGER,
    Role.OPERATOR,
    Role.AUDITOR,
)


@blueprint.get("/policies")
@staff_only(*READERS)
@returns(PoliciesView)
@queries(LanguageQuery)
def show_policies(*, language: str | None) -> Answered:
    """Show how long each kind of data is kept, why, and what becomes of it."""
    wanted = choose(request.accept_languages, language)
    told = {"language": wanted.value, "items": inventory.items(wanted)}
    return _in_language(told, wanted)


@blueprint.get("/inventory")
@staff_only(*READERS)
@returns(InventoryView)
@queries(LanguageQuery)
def show_inventory(*, language: str | None) -> Answered:
    """Show what is stored of whom, where, in which format and how it is had."""
    wanted = choose(request.accept_languages, language)
    told = {
        "language": wanted.value,
        "responsible": responsible(ground().settings, wanted),
        "items": inventory.items(wanted),
    }
    return _in_language(told, wanted)


def _in_language(told: object, language: Language) -> Answered:
    headers = {"Content-Language": language.value, "Vary": "Accept-Language"}
    return Answered(told, headers=headers)
