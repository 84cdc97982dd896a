# SPDX-License-Identifier: Apache-2.0
"""How things are shown: what the services return, in the schemas' words."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from voucher.functions import Stacking
from voucher.service.trade.batches import BatchFacts
from voucher.service.trade.products import FEATURE, ProductFacts, Terms
from voucher.service.trade.selections import Outcome
from voucher.service.trade.totals import Total, in_all
from voucher.states import State


def terms(  # noqa: PLR0913 -- what a version of a product says
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
) -> Terms:
    """Return what a request says of a product; a feature renews, if it is not said."""
    usual = Stacking.RENEW if unit == FEATURE else Stacking.ADD
    return Terms(
        names={language: names[language] for language in sorted(names)},
        function=function,
        unit=unit,
        quantity=quantity,
        duration_days=duration_days,
        device_types=tuple(dict.fromkeys(device_types)),
        prerequisites=tuple(dict.fromkeys(prerequisites)),
        stacking=stacking or usual,
        trial=trial,
    )


def product_view(product: ProductFacts) -> dict[str, object]:
    """Return one version, for ``ProductView``."""
    return {
        "product_number": product.product_number,
        "version": product.version,
        **asdict(product.terms),
        "created_at": product.created_at,
        "retired_at": product.retired_at,
    }


def product_detail_view(versions: Sequence[ProductFacts]) -> dict[str, object]:
    """Return a product with all its versions, for ``ProductDetailView``."""
    shown = [product_view(each) for each in versions]
    return shown[-1] | {"versions": shown}


def batch_view(batch: BatchFacts) -> dict[str, object]:
    """Return one batch, for ``BatchView``."""
    return {
        "id": batch.id,
        "product_number": batch.product.product_number,
        "product_version": batch.product.version,
        "names": batch.product.terms.names,
        "count": batch.count,
        "dealer": batch.dealer,
        "order_reference": batch.order_reference,
        "valid_until": batch.valid_until,
        "created_at": batch.created_at,
        "created_by": batch.created_by,
    }


def batch_detail_view(batch: BatchFacts, found: Sequence[Total]) -> dict[str, object]:
    """Return one batch with the totals of its vouchers, for ``BatchDetailView``."""
    return batch_view(batch) | _counted(in_all(found))


def outcome_view(outcome: Outcome) -> dict[str, object]:
    """Return what a sale has done, for ``OutcomeView``."""
    return {
        "changed": outcome.changed,
        "unchanged": outcome.unchanged,
        "refused": {state.value: count for state, count in outcome.refused.items()},
    }


def totals_view(found: Sequence[Total]) -> dict[str, object]:
    """Return totals and their sum, for ``TotalsView``."""
    items = [
        {"product_number": each.product_number, "dealer": each.dealer}
        | _counted(each.states)
        for each in found
    ]
    return _counted(in_all(found)) | {"items": items}


def _counted(states: Mapping[State, int]) -> dict[str, object]:
    return {
        "vouchers": sum(states.values()),
        "states": {state.value: states[state] for state in State},
    }
