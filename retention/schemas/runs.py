# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire about runs: how things stand, what was done, what would be."""

from marshmallow import Schema, fields

from fleet.web.fields import Instant, optional_reason
from fleet.web.paging import PageView


def _said(text: str) -> dict[str, str]:
    return {"description": text}


class CategoryStatusView(Schema):
    """One category of the registry, in one table."""

    name = fields.String(required=True, metadata=_said("As in `/policies`."))
    table = fields.String(required=True)
    oldest = Instant(required=True, allow_none=True)
    cutoff = Instant(required=True, metadata=_said("What began then is too old now."))
    overdue = fields.Integer(
        required=True,
        metadata=_said("How many are too old, counted to 100000. Nobody can read one."),
    )
    late = fields.Boolean(
        required=True, metadata=_said("The run that should have deleted them did not.")
    )


class TotalsView(Schema):
    """What has gone amiss in all, by the seals."""

    late = fields.Integer(
        required=True, metadata=_said("Came after the seal of their day; not counted.")
    )
    lost = fields.Integer(
        required=True, metadata=_said("Were too old before they could be counted.")
    )
    unbalanced = fields.Integer(
        required=True,
        metadata=_said("Of the last weeks: those whose counters are not as sealed."),
    )


class StatusView(Schema):
    """How things stand."""

    at = Instant(required=True, metadata=_said("The instant that it is judged by."))
    healthy = fields.Boolean(required=True, metadata=_said("Nobody need see to it."))
    overdue = fields.Boolean(
        required=True, metadata=_said("Something is kept for longer than promised.")
    )
    clock = fields.String(required=True, metadata=_said("`ok`, or what is wrong."))
    last_success_at = Instant(
        required=True,
        allow_none=True,
        metadata=_said("When a run last did all there was to do."),
    )
    silent_since = Instant(
        required=True,
        allow_none=True,
        metadata=_said("Set where no run has succeeded for over an hour."),
    )
    misdated = fields.Integer(
        required=True,
        metadata=_said("Access records from later than now: a clock ran ahead."),
    )
    categories = fields.List(fields.Nested(CategoryStatusView), required=True)
    totals = fields.Nested(TotalsView, required=True)


class DueDayView(Schema):
    """A day that is over, and not yet sealed."""

    day = fields.Date(required=True)
    records = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata=_said("How many, by service."),
    )


class PlanView(Schema):
    """What a run would do now."""

    cutoff = Instant(required=True, metadata=_said("What began then is too old."))
    clock = fields.String(required=True, metadata=_said("`ok`, or what is wrong."))
    to_seal = fields.List(fields.Nested(DueDayView), required=True)
    to_close = fields.List(
        fields.Date(),
        required=True,
        metadata=_said("Mondays of weeks that are over and whose quiet days wait."),
    )
    too_old = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata=_said("Access records that would be deleted, by service."),
    )
    misdated = fields.Integer(
        required=True, metadata=_said("Those from later than now, which would be, too.")
    )


class RunRequest(Schema):
    """Somebody on the staff wants a run now."""

    dry_run = fields.Boolean(
        load_default=False,
        truthy={True},
        falsy={False},
        metadata=_said("Only say what would be done; see `/plan` for more of it."),
    )
    reason = optional_reason()


class RunView(Schema):
    """What a run did, or would do."""

    number = fields.Integer(
        required=True,
        allow_none=True,
        metadata=_said("In the ledger; null: there was nothing to be written down."),
    )
    state = fields.String(
        required=True,
        metadata=_said("`ok`, `idle`, `partial`, or `planned` for a dry run."),
    )
    began_at = Instant(required=True)
    ended_at = Instant(required=True)
    cutoff = Instant(required=True, metadata=_said("What began then is too old."))
    sealed_days = fields.Integer(required=True)
    sealed_records = fields.Integer(required=True)
    deleted = fields.Integer(required=True, metadata=_said("All that went."))
    late = fields.Integer(required=True, metadata=_said("Of these, after their seal."))
    lost = fields.Integer(required=True, metadata=_said("Of these, never counted."))
    misdated = fields.Integer(
        required=True, metadata=_said("Of these, from later than now.")
    )
    overdue = fields.Integer(required=True, metadata=_said("Left although too old."))
    clock = fields.String(required=True, metadata=_said("`ok`, or what is wrong."))


class LedgerRunView(Schema):
    """A run, as the ledger has it."""

    number = fields.Integer(required=True)
    state = fields.String(
        required=True,
        metadata=_said(
            "`ok`, `idle`, `partial`, `failed`, or `broken-off`, which a run is until "
            "it has ended."
        ),
    )
    began_at = Instant(required=True)
    ended_at = Instant(required=True, allow_none=True)
    facts = fields.Dict(
        keys=fields.String(),
        required=True,
        metadata=_said("Counts, instants, who began it; more may be added."),
    )


class LedgerPage(PageView):
    """Runs, newest first."""

    items = fields.List(fields.Nested(LedgerRunView), required=True)
