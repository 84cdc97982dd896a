# SPDX-License-Identifier: Apache-2.0
"""The many ways to hear nothing.

A call to the vendor has three outcomes: a validly signed yes, a validly signed no, or
nothing. Every class here is the third. They differ for the reader of a log and for
nobody else: none of them may ever lock, unlock, or shorten anything.
"""


class Nothing(Exception):  # noqa: N818 -- hearing nothing is an outcome, not a fault
    """No validly signed answer was heard.

    ``retry_after`` is what an overloaded server asked for, in seconds, unsigned and
    therefore bounded by whoever honours it.
    """

    def __init__(self, reason: str, *, retry_after: int | None = None) -> None:
        """Remember ``reason``, a sentence free of secrets and serial numbers."""
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Unreachable(Nothing):
    """No complete HTTP answer: name, route, TLS, time or size stood in the way."""


class Refused(Nothing):
    """An HTTP answer other than success.

    Its problem code (RFC 9457) is unsigned. It chooses what to try next, such as a new
    key after ``new-key-required``, and says nothing about the licence.
    """

    def __init__(
        self, status: int, *, code: str | None, retry_after: int | None = None
    ) -> None:
        """Remember the HTTP ``status`` and the problem ``code``, if there was one."""
        said = f"the answer was HTTP {status}" + (f" ({code})" if code else "")
        super().__init__(said, retry_after=retry_after)
        self.status = status
        self.code = code


class NotInitialised(Nothing):
    """This PBX has no certificate yet, so there is nothing it could ask."""


class Malformed(Nothing):
    """The answer or document does not have the promised shape."""


class WrongAlgorithm(Nothing):
    """The document is signed with something other than EdDSA, or with nothing."""


class WrongType(Nothing):
    """The document is of another type than the one asked for."""


class UnknownKey(Nothing):
    """No key of that ``kid`` is in the key set."""


class WrongPurpose(Nothing):
    """The key is real, but was not made for documents of this type."""


class KeyNotValid(Nothing):
    """The document was issued outside the validity of its key."""


class BadSignature(Nothing):
    """The signature is not that of the key."""


class WrongSubject(Nothing):
    """The document is about another PBX."""


class WrongNonce(Nothing):
    """The document answers another question: it is a replay."""


class WrongIssuer(Nothing):
    """The document comes from another vendor than the firmware expects."""


class Expired(Nothing):
    """The document was over before it could be used."""


class KeySetExpired(Expired):
    """The key set has certainly expired."""


class KeySetRollback(Nothing):
    """The key set is older than the one already held."""


class GenerationFell(Nothing):
    """The lease is of an earlier initialisation than the one already seen."""


class WrongCertificate(Nothing):
    """The certificate is not over our own key and serial number."""
