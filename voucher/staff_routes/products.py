# SPDX-License-Identifier: Apache-2.0
"""HTTP face for staff: products."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from flask import Blueprint

from fleet.clock import utcnow
from fleet.staff.guard import current_staff, staff_only
from fleet.staff.roles import Role
from fleet.web.contract import (
    Answered,
    accepts,
    also_answers,
    queries,
    refuses,
    returns,
)
from fleet.web.paging import Page, PageQuery
from voucher.errors import ProductAlreadyExists, ProductRetired, UnknownProduct
from voucher.functions import Stacking
from voucher.schemas.trade import (
    ProductDetailView,
    ProductRequest,
    ProductsPage,
    ProductView,
    RetirementQuery,
    VersionRequest,
)
from voucher.service.trade import products
from voucher.service.trade.products import Made
from voucher.views import product_detail_view, product_view, terms

blueprint = Blueprint("voucher-products", __name__, url_prefix="/voucher/v1")

MANAGERS = (Role.PRODUCT_MANAGER,)
READERS = (Role.PRODUCT_MANAGER, Role.SUPPORT, Role.OPERATOR)


@blueprint.post("/products")
@staff_only(*MANAGERS)
@refuses(ProductAlreadyExists)
@also_answers(HTTPStatus.OK)
@returns(ProductView, HTTPStatus.CREATED)
@accepts(ProductRequest)
def add_product(  # noqa: PLR0913 -- what a product is
    *,
    product_number: int,
    names: Mapping[str, str],
    function: str,
    unit: str,
    quantity: int,
    duration_days: int | None,
    device_types: Sequence[str],
    prerequisites: Sequence[str],
    stacking: Stacking | None,
    trial: bool,
    reason: str,
) -> Answered:
    """Make a product; the very same again changes nothing."""
    said = terms(
        names=names,
        function=function,
        unit=unit,
        quantity=quantity,
        duration_days=duration_days,
        device_types=device_types,
        prerequisites=prerequisites,
        stacking=stacking,
        trial=trial,
    )
    return _made(
        products.add(
            product_number, said, reason=reason, by=current_staff(), now=utcnow()
        )
    )


@blueprint.get("/products")
@staff_only(*READERS)
@returns(ProductsPage)
@queries(PageQuery)
def list_products(*, limit: int, cursor: str | None) -> Page[dict[str, object]]:
    """List the present version of each product, by number."""
    page = products.listed(limit=limit, cursor=cursor)
    return Page([product_view(each) for each in page.items], page.next_cursor)


@blueprint.get("/products/<int(max=16383):product_number>")
@staff_only(*READERS)
@refuses(UnknownProduct)
@returns(ProductDetailView)
def show_product(product_number: int) -> dict[str, object]:
    """Show one product and all its versions."""
    return product_detail_view(products.versions(product_number))


@blueprint.post("/products/<int(max=16383):product_number>/versions")
@staff_only(*MANAGERS)
@refuses(UnknownProduct, ProductRetired)
@also_answers(HTTPStatus.OK)
@returns(ProductView, HTTPStatus.CREATED)
@accepts(VersionRequest)
def add_version(  # noqa: PLR0913 -- what a product is
    product_number: int,
    *,
    names: Mapping[str, str],
    function: str,
    unit: str,
    quantity: int,
    duration_days: int | None,
    device_types: Sequence[str],
    prerequisites: Sequence[str],
    stacking: Stacking | None,
    trial: bool,
    reason: str,
) -> Answered:
    """Change a product from now on; what was sold of it keeps its version."""
    said = terms(
        names=names,
        function=function,
        unit=unit,
        quantity=quantity,
        duration_days=duration_days,
        device_types=device_types,
        prerequisites=prerequisites,
        stacking=stacking,
        trial=trial,
    )
    return _made(
        products.add_version(
            product_number, said, reason=reason, by=current_staff(), now=utcnow()
        )
    )


@blueprint.delete("/products/<int(max=16383):product_number>")
@staff_only(*MANAGERS)
@refuses(UnknownProduct)
@returns(ProductView)
@queries(RetirementQuery)
def retire_product(product_number: int, *, reason: str) -> dict[str, object]:
    """Retire a product: nothing new is made of it, and what was sold stays."""
    return product_view(
        products.retire(product_number, reason=reason, by=current_staff(), now=utcnow())
    )


def _made(made: Made) -> Answered:
    status = HTTPStatus.CREATED if made.is_new else HTTPStatus.OK
    place = f"{blueprint.url_prefix}/products/{made.product.product_number}"
    return Answered(product_view(made.product), status, {"Location": place})
