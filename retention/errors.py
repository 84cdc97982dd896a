# SPDX-License-Identifier: Apache-2.0
"""Why retention refuses something: one code for each cause."""

from fleet.errors import Conflict, NotFound, Unauthenticated, Unavailable


class RunUnderWay(Unavailable):
    """Another process seals and deletes right now."""

    code = "retention-run-under-way"
    reason = "A run of retention is under way already."


class MarksNotKept(Unavailable):
    """It was done, but that it stays done could not be written beside the database."""

    code = "marks-not-kept"
    reason = (
        "It was done, but could not be noted in the file that survives a restore. "
        "Send the same again."
    )


class UnknownRequest(NotFound):
    """Nobody has made the request with this number."""

    code = "unknown-rights-request"
    reason = "There is no such request."


class RequestClosed(Conflict):
    """The request was answered before, in another way."""

    code = "rights-request-closed"
    reason = "This request is closed."


class ExtensionTooLate(Conflict):
    """The person had to be told within the first month, or was told before."""

    code = "extension-too-late"
    reason = "The time for an answer can no longer be extended."


class ErasureEndsService(Conflict):
    """With the PBX's last data it loses its licence."""

    code = "erasure-ends-service"
    reason = (
        "The support of this PBX is over, so an erasure takes it off the registry: it "
        "then has no licence any more. Send ends_service to say that this is wanted."
    )


class UnknownShare(NotFound):
    """This PBX has shared nothing under this number."""

    code = "unknown-share"
    reason = "There is no such share."


class TooManyShares(Conflict):
    """As many third parties may read the PBX's data as may at a time."""

    code = "too-many-shares"
    reason = "This PBX shares its data with as many others as it may. End one first."


class ShareTokenRequired(Unauthenticated):
    """One answer for every read token that is not good."""

    code = "share-token-required"
    reason = "This route needs a read token that is valid."
