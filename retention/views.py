# SPDX-License-Identifier: Apache-2.0
"""How what the services return is told: in the schemas' words, and as a table."""

import csv
import io
from collections.abc import Mapping
from datetime import datetime

from flask import Response

from fleet.clock import rfc3339
from fleet.web.languages import Language
from fleet.web.tables import harmless
from retention.policies import Texts, load
from retention.service.fulfilling import Fulfilled
from retention.service.gathering import Audience, Export, Gathered, spelled

COLUMNS = ("category", "record", "field", "value")


def export_view(export: Export) -> dict[str, object]:
    """Return all that is stored about a PBX, for ``ExportView``."""
    return {
        "serial_number": export.serial_number,
        "gathered_at": export.gathered_at,
        "about": _spoken(about(export.audience)),
        "categories": [_gathered(each) for each in export.categories],
    }


def about(audience: Audience) -> Texts:
    """Say what is not in an export, and why (GDPR, article 11)."""
    said = load().words["exports"]
    return said["third-party" if audience is Audience.THIRD_PARTY else "about"]


def export_csv(export: Export, language: Language = Language.ENGLISH) -> str:
    """Return the same as a CSV (RFC 4180): a line for each field.

    A text that begins like a formula gets an apostrophe before it: others chose it, and
    a spreadsheet would compute it. JSON has it exactly as it is stored.
    """
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(COLUMNS)
    head = ("about", "export-1")
    writer.writerow([*head, "serial_number", export.serial_number])
    writer.writerow([*head, "gathered_at", rfc3339(export.gathered_at)])
    writer.writerow([*head, "about", about(export.audience)[language]])
    for each in export.categories:
        name = each.category.name
        writer.writerow([name, "category", "purpose", each.category.purpose[language]])
        writer.writerow([name, "category", "kept", each.kept[language]])
        for record in each.records:
            for field, value in record.fields.items():
                cell = harmless(value) if isinstance(value, str) else spelled(value)
                writer.writerow([name, record.name, field, cell])
    return lines.getvalue()


def csv_answer(export: Export, language: Language) -> Response:
    """Return the CSV as a file to be saved."""
    response = Response(
        export_csv(export, language), content_type="text/csv; charset=utf-8"
    )
    name = f"pbx-data-{export.serial_number}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def fulfilled_view(done: Fulfilled) -> dict[str, object]:
    """Return what was done about a request, for ``FulfilledView``."""
    return {
        "request": done.request,
        "data": None if done.data is None else export_view(done.data),
        "token": done.token,
    }


def objection_view(objected_at: datetime | None) -> dict[str, object]:
    """Return whether a PBX is left out of statistics, for ``ObjectionView``."""
    said = load().words["effects"]
    effect = said["counted" if objected_at is None else "left-out"]
    return {"objected_at": objected_at, "effect": _spoken(effect)}


def _gathered(each: Gathered) -> dict[str, object]:
    category = each.category
    return {
        "category": category.name,
        "title": _spoken(category.title),
        "purpose": _spoken(category.purpose),
        "basis": [_spoken(term.says) for term in category.basis],
        "recipients": [_spoken(term.says) for term in category.recipients],
        "kept": _spoken(each.kept),
        "records": [
            {"record": record.name, "fields_": record.fields} for record in each.records
        ],
    }


def _spoken(texts: Texts | Mapping[Language, str]) -> dict[str, str]:
    return {language.value: text for language, text in texts.items()}
