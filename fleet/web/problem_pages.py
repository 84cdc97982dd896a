# SPDX-License-Identifier: Apache-2.0
"""What people are told about a problem: what happened, and what to do.

The texts of a code stand in the ``problems.toml`` of the room that refuses with
it, in German, English and French. A code without all three does not start.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

from fleet.errors import Refusal
from fleet.web.languages import Language
from fleet.web.problems import CODES

# The codes that any room may refuse with, and those of plain HTTP errors.
COMMON = Path(__file__).parent / "problems.toml"


class PagesFault(Exception):  # noqa: N818 -- a fault of the texts, in the domain's words
    """The texts of the pages are not complete; the message says where."""


@dataclass(frozen=True)
class ProblemPage:
    """What somebody is told about one code, in one language."""

    title: str
    happened: str
    do: str

    @property
    def advice(self) -> list[str]:
        """What to do, one paragraph each."""
        return [part.strip() for part in self.do.split("\n\n") if part.strip()]


@dataclass(frozen=True)
class Problems:
    """The pages of all codes."""

    pages: Mapping[str, Mapping[Language, ProblemPage]]

    @classmethod
    def load(cls, files: Iterable[Path]) -> "Problems":
        """Read the texts in ``files``.

        Raises ``PagesFault`` for a code that is explained twice, or not in all
        languages, or not completely.
        """
        pages: dict[str, Mapping[Language, ProblemPage]] = {}
        for path in files:
            for code, texts in tomllib.loads(path.read_text("utf-8")).items():
                if code in pages:
                    raise PagesFault(f"{path}: {code} is explained twice")
                pages[code] = {
                    each: _page(texts, each, f"{path}: {code}") for each in Language
                }
        return cls(dict(sorted(pages.items())))

    def find(self, code: str, language: Language) -> ProblemPage | None:
        """Return the page of ``code``, or nothing for a code that is not ours."""
        texts = self.pages.get(code)
        return None if texts is None else texts[language]

    def unexplained(self) -> list[str]:
        """Name the codes that some answer can have and no page explains."""
        return sorted(known_codes() - set(self.pages))


def known_codes() -> set[str]:
    """Return every code of a refusal that is imported, and of plain HTTP errors."""
    refusals = {each.code for each in _kinds(Refusal) if hasattr(each, "code")}
    return refusals | set(CODES.values()) | {"malformed-request"}


def _kinds(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds(each)


def _page(texts: object, language: Language, where: str) -> ProblemPage:
    given = texts.get(language.value) if isinstance(texts, dict) else None
    if not isinstance(given, dict):
        raise PagesFault(f"{where} has no text in {language.name.lower()}")
    for each in fields(ProblemPage):
        text = given.get(each.name)
        if not isinstance(text, str) or not text.strip():
            raise PagesFault(f"{where}.{language} has no text for {each.name}")
    known = {each.name for each in fields(ProblemPage)}
    if given.keys() != known:
        raise PagesFault(f"{where}.{language} has more than {', '.join(sorted(known))}")
    return ProblemPage(**cast("dict[str, str]", given))
