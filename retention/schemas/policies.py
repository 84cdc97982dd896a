# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire about policies, and about what is stored of whom."""

from marshmallow import Schema, fields, validate

from fleet.web.languages import Language
from retention.policies import Erasure, Kind


def _texts(about: str) -> "fields.List[str]":
    return fields.List(fields.String(), required=True, metadata={"description": about})


def _text(about: str) -> fields.String:
    return fields.String(required=True, metadata={"description": about})


class LanguageQuery(Schema):
    """In which language it is wanted; without it, by Accept-Language."""

    language = fields.String(
        data_key="lang",
        load_default=None,
        validate=validate.OneOf([each.value for each in Language]),
        metadata={"description": "`de`, `en` or `fr`; over Accept-Language."},
    )


class QuoteView(Schema):
    """A source document's own words."""

    document = _text("Which document.")
    words = _text("What it says, in its English version.")


class _CategoryView(Schema):
    """What both views of a category have."""

    name = _text("The name of the category.")
    services = _texts("Whose data it is: `cic`, `voucher` and the like.")
    title = _text("What people call it.")
    contents = _text("What is stored.")
    kind = fields.String(
        required=True, validate=validate.OneOf([each.value for each in Kind])
    )
    coming = fields.Boolean(
        required=True,
        metadata={"description": "Data of a service that this program does not run."},
    )
    purpose = _text("What it is for.")
    basis = _texts("On what ground: articles of the GDPR.")
    whose = _texts("About whom it is.")
    recipients = _texts("Who sees it.")
    duration = _text("How long it is kept, and from when on.")
    erasure = fields.String(
        required=True,
        validate=validate.OneOf([each.value for each in Erasure]),
        metadata={"description": "What an erasure does with it (GDPR, article 17)."},
    )
    erasure_why = _text("What an erasure does with it, and why, in words.")


class PolicyView(_CategoryView):
    """One category and its rule, with all that it covers."""

    rule = _text("The rule of its age.")
    figures = fields.Dict(
        required=True,
        keys=fields.String(),
        values=fields.Integer(),
        metadata={"description": "The figures of the rule, such as `hours`."},
    )
    start = _text("From when on it is counted.")
    action = _text("What becomes of it then.")
    done_by = _texts("The jobs that do it; none: nothing does by age.")
    columns = _texts("The columns it covers, as `table.column`.")
    files = _texts("The files it covers, as patterns under the data directory.")
    logs = _texts("The logs it covers.")
    subject = _texts("The columns that say whose PBX it is.")
    exported = fields.Boolean(
        required=True,
        metadata={"description": "Handed out to whoever it is about (article 15)."},
    )
    sources = fields.List(
        fields.Nested(QuoteView),
        required=True,
        metadata={"description": "The documents that promise it."},
    )
    decision = _text("What was decided where the documents are silent, or differ.")


class PoliciesView(Schema):
    """All categories of what is stored, each with its rule."""

    language = _text("The language of the texts.")
    items = fields.List(fields.Nested(PolicyView), required=True)


class InventoryItemView(_CategoryView):
    """One category as the EU Data Act asks for it (article 3 (2) and (3))."""

    format = _text("In which format it is had; empty where it is not.")
    bytes_each = fields.Integer(
        required=True,
        metadata={"description": "About how many bytes one entry is; 0: none, or any."},
    )
    frequency = _text("How often an entry is made.")
    place = _text("Where it is stored.")
    access = _text("How somebody gets at it.")


class FactView(Schema):
    """One thing that is said of the installation."""

    name = _text("What it is about.")
    says = _text("What the operator has set, or a bracket that says what to set.")


class InventoryView(Schema):
    """What is stored of whom, where, why and for how long."""

    language = _text("The language of the texts.")
    responsible = fields.List(
        fields.Nested(FactView),
        required=True,
        metadata={"description": "Controller, contact, authority, where servers are."},
    )
    items = fields.List(fields.Nested(InventoryItemView), required=True)
