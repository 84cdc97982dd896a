# SPDX-License-Identifier: Apache-2.0
"""One clear sentence for each thing that a PBX announces, in English.

A product says the same in the language of its admin: ``Notice`` is the code for that.
"""

from datetime import timedelta
from typing import Final

from fleet.pbx.life import Announce, Notice

SENTENCES: Final = {
    Notice.BOOTED: "Power is on.",
    Notice.CLOCK_BEHIND: (
        "The clock is far behind the latest time known: it is not believed."
    ),
    Notice.CLOCK_AHEAD: (
        "The clock is far ahead of the latest time known: it is not believed "
        "until the vendor confirms it."
    ),
    Notice.INITIALISED: "Initialised: a certificate and a signed lease are here.",
    Notice.ACTIVE: "The vendor says, signed: active.",
    Notice.UNLOCKED: "The vendor says, signed: active. The functions are back.",
    Notice.NOTHING: "No signed answer.",
    Notice.WARNING: "No signed answer for a long time. Please look at the network.",
    Notice.LOCKED_BY_ITSELF: (
        "Silent for too long: the licensed functions are locked. "
        "Emergency calls, admin pages and data stay."
    ),
    Notice.LOCKED: (
        "The vendor says, signed: locked. Please initialise again. "
        "Emergency calls, admin pages and data stay."
    ),
    Notice.BLOCKED: (
        "The vendor says, signed: blocked. Please ask your dealer. "
        "Emergency calls, admin pages and data stay."
    ),
    Notice.REPLACED: (
        "The vendor says, signed: replaced by another PBX. "
        "Emergency calls, admin pages and data stay."
    ),
    Notice.CERTIFICATE_RENEWED: "The certificate was renewed, with a new key.",
    Notice.RENEWAL_FAILED: "The certificate could not be renewed; that can wait.",
    Notice.KEYS_REFRESHED: "The vendor's key set is fresh.",
    Notice.KEYS_NOT_REFRESHED: "The key set could not be refreshed; that can wait.",
    Notice.ENTITLED: "The vendor has signed which functions this PBX has.",
    Notice.NOT_SYNCED: "The vendor has signed no functions now: they stay as they are.",
    Notice.NOT_REDEEMED: "The voucher was not redeemed.",
    Notice.CODE_ENTERED: "The release code is genuine and was entered.",
    Notice.FUNCTION_ENDED: "A function has come to its last day.",
}
BAD_NEWS: Final = frozenset(
    {
        Notice.LOCKED_BY_ITSELF,
        Notice.LOCKED,
        Notice.BLOCKED,
        Notice.REPLACED,
        Notice.NOT_REDEEMED,
    }
)
GOOD_NEWS: Final = frozenset(
    {
        Notice.INITIALISED,
        Notice.ACTIVE,
        Notice.UNLOCKED,
        Notice.ENTITLED,
        Notice.CODE_ENTERED,
    }
)
WHAT_IS_DUE: Final = {
    Notice.WARNING: "Locks",
    Notice.NOTHING: "Tries again",
    Notice.NOT_SYNCED: "Tries again",
}
WHAT_IS_TOLD: Final = {
    Notice.ENTITLED: "Functions",
    Notice.CODE_ENTERED: "Functions",
    Notice.FUNCTION_ENDED: "Now",
}


def sentence(announced: Announce) -> str:
    """Return what a person reads."""
    said = SENTENCES[announced.notice]
    if announced.detail:
        told = WHAT_IS_TOLD.get(announced.notice, "Why")
        said += f" {told}: {announced.detail}."
    if announced.due_in is not None:
        due = WHAT_IS_DUE.get(announced.notice, "Asks")
        said += f" {due} in {in_words(announced.due_in)}."
    return said


def in_words(duration: timedelta) -> str:
    """Return ``duration`` in the one or two units that matter."""
    minutes, seconds = divmod(max(0, round(duration.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"
