# SPDX-License-Identifier: Apache-2.0
"""The registry of all that is stored: each column, file and log, in one category each.

What a category is for, on what ground, of whom, for how long and what becomes of it
stands in ``registry/*.toml``, with the words of the documents that promise it, or our
own decision where they are silent. From it come the policies and the inventory that
staff see, the privacy notice, what is handed out and erased on request, and what is
deleted for its age. A column that no category names does not pass the tests.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from fleet.web.languages import Language
from retention.ages import Rule, Span, rule_of

FOLDER = Path(__file__).with_name("registry")
WORDS = "words.toml"

Texts = Mapping[Language, str]


class RegistryFault(Exception):  # noqa: N818 -- a fault of the registry, in the domain's words
    """The registry contradicts itself or is incomplete; the text says where."""


class Erasure(StrEnum):
    """What an erasure does with a category (GDPR, article 17)."""

    DELETE = "delete"
    CLEAR = "clear"
    KEEP = "keep"


class Kind(StrEnum):
    """What sort of data it is, as far as its protection goes."""

    PERSONAL = "personal"
    SECRET = "secret"  # noqa: S105 -- a kind, no password
    ANONYMOUS = "anonymous"
    TECHNICAL = "technical"


@dataclass(frozen=True)
class Term:
    """A word of the registry, and how it is said to people."""

    key: str
    says: Texts


@dataclass(frozen=True)
class Quote:
    """A source document's own words, in English."""

    document: str
    words: str


@dataclass(frozen=True)
class Category:
    """Data that is stored for one reason, under one rule.

    ``columns`` are ``table.column``; ``files`` are patterns below the data directory;
    ``logs`` are names of what writes lines outside it. ``subject`` are the columns that
    say whose PBX it is: by row id, or by serial number in a column of text; empty where
    nothing does. ``start_columns`` hold the start of its age, one for each table; of
    several of one table, whichever came first. ``use_columns`` hold uses that make it
    begin anew. ``done_by`` are the jobs that keep its age. ``decision`` says what we
    chose where the sources say nothing, or each another thing. ``bytes_each`` is an
    estimate, for each entry.
    """

    name: str
    part: Term
    services: tuple[str, ...]
    kind: Kind
    title: Texts
    contents: Texts
    purpose: Texts
    basis: tuple[Term, ...]
    whose: tuple[Term, ...]
    recipients: tuple[Term, ...]
    start: Term
    age: Rule
    action: Term
    erasure: Erasure
    erasure_why: Term
    frequency: Term
    place: Term
    bytes_each: int
    exported: bool
    coming: bool = False
    columns: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    start_columns: tuple[str, ...] = ()
    use_columns: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    done_by: tuple[str, ...] = ()
    format: str = ""
    sources: tuple[Quote, ...] = ()
    decision: Texts = field(default_factory=dict)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that it has a column of."""
        return tuple(dict.fromkeys(_table(each) for each in self.columns))

    def columns_of(self, table: str) -> tuple[str, ...]:
        """Return its columns of one table, without the table's name."""
        return _of(self.columns, table)

    def start_of(self, table: str) -> tuple[str, ...]:
        """Return the columns of one table that its age may begin with."""
        return _of(self.start_columns, table)

    def subject_of(self, table: str) -> str:
        """Return the column of one table that says whose PBX it is; "" for none."""
        return next(iter(_of(self.subject, table)), "")


@dataclass(frozen=True)
class Registry:
    """All categories, and the words that they are told with."""

    categories: Mapping[str, Category]
    words: Mapping[str, Mapping[str, Texts]]
    documents: Mapping[str, str]

    def __iter__(self) -> Iterator[Category]:
        """Yield the categories, in the order in which people are told of them."""
        return iter(self.categories.values())

    def __getitem__(self, name: str) -> Category:
        """Return one category; raise ``KeyError`` for a name that is none's."""
        return self.categories[name]

    @property
    def by_column(self) -> Mapping[str, Category]:
        """Each ``table.column`` with its category."""
        return {column: each for each in self for column in each.columns}

    def of_table(self, table: str) -> list[Category]:
        """Return the categories that have a column of ``table``."""
        return [each for each in self if table in each.tables]

    def exported_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Return what is handed out of each table (GDPR, article 15)."""
        found: dict[str, tuple[str, ...]] = {}
        for each in self:
            for table in each.tables if each.exported else ():
                found[table] = found.get(table, ()) + each.columns_of(table)
        return found

    def subject_of(self, table: str) -> str:
        """Return the column of ``table`` that says whose PBX a row is; "" for none."""
        found = (each.subject_of(table) for each in self.of_table(table))
        return next(filter(None, found), "")

    def duration(self, category: Category, language: Language) -> str:
        """Return how long a category is kept, and from when on, for people."""
        age = category.age
        said = self.words["ages"][_form(age)][language].format(**age.numbers)
        if not isinstance(age, Span):
            return said  # it says itself from when on
        return f"{said} {category.start.says[language]}"


@cache
def load() -> Registry:
    """Return the registry; raise ``RegistryFault`` where it is incomplete.

    It is a part of the program, and read once.
    """
    paths = sorted(FOLDER.glob("*.toml"))
    return read({each.name: each.read_text("utf-8") for each in paths})


def read(files: Mapping[str, str]) -> Registry:
    """Return the registry that these files make up, by name.

    Raises ``RegistryFault`` for a category that is there twice, or lacks a field or a
    language, or has a field or word that nobody knows.
    """
    said = tomllib.loads(files[WORDS])
    documents = said.pop("documents")
    words = {
        group: {
            key: _texts(texts, f"{WORDS}: {group}.{key}") for key, texts in of.items()
        }
        for group, of in said.items()
    }
    found: dict[str, Category] = {}
    for file, text in files.items():
        for name, fields_of in tomllib.loads(text).items() if file != WORDS else ():
            if name in found:
                raise RegistryFault(f"{file}: {name} is there twice")
            try:
                found[name] = _category(name, fields_of, words, documents)
            except (KeyError, TypeError, ValueError) as fault:
                raise RegistryFault(f"{file}: {name}: {_why(fault)}") from None
    in_order = sorted(found.values(), key=lambda each: _rank(each, words))
    return Registry(
        MappingProxyType({each.name: each for each in in_order}), words, documents
    )


_GROUPS = {
    "part": "parts",
    "basis": "bases",
    "whose": "people",
    "recipients": "recipients",
    "start": "starts",
    "action": "actions",
    "erasure_why": "erasures",
    "frequency": "frequencies",
    "place": "places",
}
_TEXTS = frozenset({"title", "contents", "purpose", "decision"})
_BY_TABLE = frozenset({"columns", "start_columns", "use_columns", "subject"})


def _category(
    name: str,
    said: Mapping[str, Any],
    words: Mapping[str, Mapping[str, Texts]],
    documents: Mapping[str, str],
) -> Category:
    values: dict[str, Any] = {"name": name}
    for key, value in said.items():
        if key in _GROUPS:
            values[key] = _terms(_GROUPS[key], value, words)
        elif key in _TEXTS:
            values[key] = _texts(value, key)
        elif key in _BY_TABLE:
            values[key] = tuple(_columns(value))
        elif key == "sources":
            values[key] = tuple(_quotes(value, documents))
        else:
            values[key] = _plain(key, value)
    unknown = values.keys() - {each.name for each in fields(Category)}
    if unknown:
        raise RegistryFault(f"nobody knows {', '.join(sorted(unknown))}")
    category = Category(**values)
    if not category.sources and not category.decision:
        raise RegistryFault("it has neither a source nor a decision of ours")
    return category


def _plain(key: str, value: object) -> object:
    if key == "age":
        return rule_of(value)
    if key == "kind":
        return Kind(str(value))
    if key == "erasure":
        return Erasure(str(value))
    return tuple(value) if isinstance(value, list) else value


def _terms(
    group: str, said: object, words: Mapping[str, Mapping[str, Texts]]
) -> Term | tuple[Term, ...]:
    if isinstance(said, list):
        return tuple(Term(key, words[group][key]) for key in said)
    key = cast("str", said)
    return Term(key, words[group][key])


def _texts(said: object, where: str) -> Texts:
    given = said if isinstance(said, dict) else {}
    if given.keys() != {each.value for each in Language}:
        raise RegistryFault(f"{where} is not in German, English and French")
    for text in given.values():
        if not isinstance(text, str) or not text or text != text.strip():
            raise RegistryFault(f"{where} has a text that is none")
    return {each: given[each.value] for each in Language}


def _columns(said: Mapping[str, Iterable[str]]) -> Iterator[str]:
    for table, columns in said.items():
        for column in [columns] if isinstance(columns, str) else columns:
            yield f"{table}.{column}"


def _quotes(
    said: Iterable[Mapping[str, str]], documents: Mapping[str, str]
) -> Iterator[Quote]:
    for each in said:
        yield Quote(documents[each["document"]], each["words"])


def _rank(category: Category, words: Mapping[str, Mapping[str, Texts]]) -> int:
    return list(words["parts"]).index(category.part.key)


def _why(fault: Exception) -> str:
    if isinstance(fault, KeyError):
        return f"nobody knows {fault.args[0]}"
    return str(fault)


def _form(age: Rule) -> str:
    """Return the sentence of a rule: one hour and one day have their own."""
    numbers = age.numbers
    if numbers.get("days") == 1:
        return f"{age.word}-day"
    if "days" in numbers:
        return f"{age.word}-days"
    return f"{age.word}-hour" if numbers.get("hours") == 1 else age.word


def _table(column: str) -> str:
    return column.partition(".")[0]


def _of(columns: Iterable[str], table: str) -> tuple[str, ...]:
    return tuple(each.partition(".")[2] for each in columns if _table(each) == table)
