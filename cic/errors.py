# SPDX-License-Identifier: Apache-2.0
"""The ways the licence check turns a request down."""

from fleet.errors import Conflict, NotFound


class NewKeyRequired(Conflict):
    """The key of a certificate that has ended cannot be certified again."""

    code = "new-key-required"
    reason = (
        "This key was certified before and its certificate has ended, or the PBX is "
        "not active. Make a new key and initialise again."
    )


class InitialisationLimitReached(Conflict):
    """The PBX has re-initialised itself as often as it may by itself."""

    code = "initialisation-limit-reached"
    reason = (
        "This PBX has re-initialised itself 3 times in 30 days. Support must open "
        "the next one."
    )


class HoldConflict(Conflict):
    """A PBX that was replaced can be neither blocked nor unblocked, nor given away."""

    code = "hold-conflict"
    reason = "This PBX was replaced by another one, for good. That cannot be undone."


class UnknownAmnesty(NotFound):
    """There is no amnesty with this number."""

    code = "unknown-amnesty"
    reason = "There is no amnesty with this number."
