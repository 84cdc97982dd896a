# SPDX-License-Identifier: Apache-2.0
"""The privacy notice, made from the registry: nothing else says what is stored.

It is put together as plain parts (``Chapter``), from which a page and a Markdown text
are made alike. What only the operator knows comes from the settings; where they say
nothing, a bracket says what is to be filled in.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fleet.settings import PREFIX, Settings
from fleet.web.languages import Language
from retention.policies import load
from retention.service.inventory import Item, items

WORDS = Path(__file__).with_name("notice.toml")

# Marks of Markdown that would turn into something else than what they are.
_MARKS = re.compile(r"([\\`*_\[\]<>#|])")


@dataclass(frozen=True)
class Fact:
    """One thing that is said of something, under a word of its own."""

    name: str
    says: str


@dataclass(frozen=True)
class Group:
    """One category, as people are told of it."""

    key: str
    title: str
    duration: str
    facts: Sequence[Fact]


@dataclass(frozen=True)
class Section:
    """Groups that belong together."""

    title: str
    text: Sequence[str]
    groups: Sequence[Group]


@dataclass(frozen=True)
class Chapter:
    """One heading of the notice, and what stands under it."""

    key: str
    title: str
    facts: Sequence[Fact] = ()
    items: Sequence[str] = ()
    text: Sequence[str] = ()
    sections: Sequence[Section] = ()


@dataclass(frozen=True)
class Notice:
    """The whole notice in one language."""

    language: Language
    title: str
    lead: str
    chapters: Sequence[Chapter]


@cache
def words() -> Mapping[Language, Mapping[str, Any]]:
    """Return the words of the notice that no category says, by language."""
    said = tomllib.loads(WORDS.read_text("utf-8"))
    return {each: said[each.value] for each in Language}


def notice(settings: Settings, language: Language) -> Notice:
    """Return the notice of this installation in ``language``."""
    said = words()[language]
    return Notice(
        language, said["title"], said["lead"], list(_chapters(settings, language))
    )


def responsible(settings: Settings, language: Language) -> list[Fact]:
    """Return who answers for the data, and where it is; brackets where unsaid."""
    said = words()[language]
    return [
        Fact(said["controller"], _filled(settings, "controller", said)),
        Fact(said["contact"], _filled(settings, "privacy_contact", said)),
        Fact(said["authority"], _filled(settings, "supervisory_authority", said)),
        Fact(said["location"], _filled(settings, "server_location", said)),
    ]


def group(item: Item, language: Language) -> Group:
    """Return what people are told of one category."""
    said = words()[language]
    size = said["volume"].format(bytes=item.bytes_each) if item.bytes_each else ""
    told = {
        "contents": item.contents,
        "purpose": item.purpose,
        "basis": "; ".join(item.basis),
        "whose": "; ".join(item.whose),
        "recipients": "; ".join(item.recipients),
        "duration": item.duration,
        "action": item.action,
        "erasure": item.erasure_why,
        "access": item.access,
        "frequency": item.frequency,
        "place": item.place,
        "volume": size,
        "decision": item.decision,
    }
    facts = [Fact(said["facts"][key], text) for key, text in told.items() if text]
    return Group(item.name, item.title, item.duration, facts)


def markdown(told: Notice) -> str:
    """Return the notice as Markdown."""
    return "\n".join(_lines(told))


def _chapters(settings: Settings, language: Language) -> Iterator[Chapter]:
    said = words()[language]
    yield Chapter("glance", said["glance"], items=said["glance_items"])
    yield Chapter(
        "responsible", said["responsible"], facts=responsible(settings, language)
    )
    # By itself, before all else about rights, as article 21 (4) demands.
    yield Chapter("object", said["object"], text=said["object_text"])
    yield Chapter(
        "rights", said["rights"], items=said["rights_items"], text=said["rights_text"]
    )
    yield Chapter(
        "stored",
        said["stored"],
        text=[said["stored_lead"]],
        sections=list(_sections(language)),
    )
    yield Chapter("data_act", said["data_act"], text=said["data_act_text"])
    yield Chapter("decisions", said["decisions"], text=[said["decisions_text"]])
    yield Chapter("duty", said["duty"], text=said["duty_text"])
    yield Chapter("origin", said["origin"], text=[said["origin_text"]])
    yield Chapter("abroad", said["abroad"], text=[said["abroad_text"]])


def _sections(language: Language) -> Iterator[Section]:
    lead = words()[language]["coming_lead"]
    stored = items(language)
    for key, title in load().words["parts"].items():
        groups = [group(each, language) for each in stored if each.part == key]
        yield Section(title[language], [lead] if key == "coming" else [], groups)


def _filled(settings: Settings, name: str, said: Mapping[str, Any]) -> str:
    value: str = getattr(settings, name)
    bracket: str = said["to_fill_in"].format(setting=f"{PREFIX}{name.upper()}")
    return value or bracket


def _lines(told: Notice) -> Iterator[str]:
    yield f"# {_plain(told.title)}\n"
    yield f"{_plain(told.lead)}\n"
    for chapter in told.chapters:
        yield f"## {_plain(chapter.title)}\n"
        yield from _body(chapter)
        for section in chapter.sections:
            yield f"### {_plain(section.title)}\n"
            yield from (f"{_plain(each)}\n" for each in section.text)
            for each in section.groups:
                yield f"#### {_plain(each.title)}\n"
                yield from _facts(each.facts)


def _body(chapter: Chapter) -> Iterator[str]:
    yield from _facts(chapter.facts)
    for each in chapter.items:
        yield f"- {_plain(each)}"
    if chapter.items:
        yield ""
    yield from (f"{_plain(each)}\n" for each in chapter.text)


def _facts(facts: Sequence[Fact]) -> Iterator[str]:
    for each in facts:
        yield f"- **{_plain(each.name)}:** {_plain(each.says)}"
    if facts:
        yield ""


def _plain(text: str) -> str:
    return _MARKS.sub(r"\\\1", text)
