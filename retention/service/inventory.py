# SPDX-License-Identifier: Apache-2.0
"""What is stored of whom, where, why and for how long: the registry in one language.

It answers what articles 13 and 30 of the GDPR and article 3 (2) and (3) of the EU Data
Act ask for: type, format, volume and frequency of the data, where and for how long it
is stored, how it is had and erased, and who else gets it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.web.languages import Language
from retention.policies import Category, Kind, Quote, Registry, Term, load

# The one category that is had by telling address and time.
NOT_IDENTIFIABLE = "not-identifiable"


@dataclass(frozen=True)
class Item:
    """One category, in one language; empty texts are what the registry leaves out."""

    name: str
    part: str
    services: Sequence[str]
    kind: Kind
    coming: bool
    title: str
    contents: str
    purpose: str
    basis: Sequence[str]
    whose: Sequence[str]
    recipients: Sequence[str]
    start: str
    rule: str
    figures: Mapping[str, int]
    duration: str
    action: str
    done_by: Sequence[str]
    erasure: str
    erasure_why: str
    access: str
    exported: bool
    frequency: str
    place: str
    format: str
    bytes_each: int
    columns: Sequence[str]
    files: Sequence[str]
    logs: Sequence[str]
    subject: Sequence[str]
    sources: Sequence[Quote]
    decision: str


def items(language: Language) -> list[Item]:
    """Return all categories, in the order in which people are told of them."""
    registry = load()
    return [_item(registry, each, language) for each in registry]


def _item(registry: Registry, category: Category, language: Language) -> Item:
    return Item(
        name=category.name,
        part=category.part.key,
        services=category.services,
        kind=category.kind,
        coming=category.coming,
        title=category.title[language],
        contents=category.contents[language],
        purpose=category.purpose[language],
        basis=_said(category.basis, language),
        whose=_said(category.whose, language),
        recipients=_said(category.recipients, language),
        start=category.start.says[language],
        rule=category.age.word,
        figures=category.age.numbers,
        duration=registry.duration(category, language),
        action=category.action.says[language],
        done_by=category.done_by,
        erasure=category.erasure,
        erasure_why=category.erasure_why.says[language],
        access=registry.words["accesses"][_access(category)][language],
        exported=category.exported,
        frequency=category.frequency.says[language],
        place=category.place.says[language],
        format=category.format,
        bytes_each=category.bytes_each,
        columns=category.columns,
        files=category.files,
        logs=category.logs,
        subject=category.subject,
        sources=category.sources,
        decision=category.decision.get(language, ""),
    )


def _access(category: Category) -> str:
    """Return how somebody gets at it: a word of the registry."""
    if category.coming:
        return "elsewhere"
    if category.exported:
        return "exported"
    if category.erasure_why.key == NOT_IDENTIFIABLE:
        return "by-address"
    kinds = {Kind.SECRET: "secret", Kind.PERSONAL: "copy"}
    return kinds.get(category.kind, "not-about-you")


def _said(terms: Sequence[Term], language: Language) -> list[str]:
    return [each.says[language] for each in terms]
