# SPDX-License-Identifier: Apache-2.0
"""The languages that people are spoken to in, and which one somebody wants."""

from enum import StrEnum

from werkzeug.datastructures import LanguageAccept


class Language(StrEnum):
    """A language of the pages; the value is its BCP 47 tag."""

    GERMAN = "de"
    ENGLISH = "en"
    FRENCH = "fr"

    @property
    def own_name(self) -> str:
        """What its speakers call it."""
        return _OWN_NAMES[self]


_OWN_NAMES = {
    Language.GERMAN: "Deutsch",
    Language.ENGLISH: "English",
    Language.FRENCH: "Français",
}


def choose(accepted: LanguageAccept, asked: str | None = None) -> Language:
    """Return the language that was ``asked`` for, else the best that is accepted.

    A language that we do not speak counts as not asked for; who accepts none of
    ours gets English.
    """
    # werkzeug's own match prefers "en" to "de" for "de-CH, en;q=0.5".
    liked = (tag.partition("-")[0].lower() for tag, quality in accepted if quality)
    for tag in (asked, *liked):
        if tag in _OWN_NAMES:
            return Language(tag)
    return Language.ENGLISH
