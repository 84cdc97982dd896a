# SPDX-License-Identifier: Apache-2.0
"""Who the staff are: their roles, and the person or tool behind a request."""

import getpass
from dataclasses import dataclass
from enum import StrEnum

# The audit log tells by it who came by the command line; no token can claim it.
CLI_PREFIX = "cli:"


class Role(StrEnum):
    """What a token is for (protocol, section 1); a dealer's is for their own only."""

    SUPPORT = "support"
    RELEASE_MANAGER = "release-manager"
    PRODUCT_MANAGER = "product-manager"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    DEALER = "dealer"


@dataclass(frozen=True)
class StaffMember:
    """Who acts; ``token_id`` is empty for somebody at the command line.

    ``dealer`` names whom a dealer's token acts for: its holder sees nothing but
    what is that dealer's. It is empty for everybody else, and sees all; so that
    nobody sees all by a slip, there is no dealer without a name.
    """

    token_id: int | None
    owner: str
    role: Role
    dealer: str = ""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a dealer without a name, or a name without one."""
        if (self.role is Role.DEALER) != bool(self.dealer):
            raise ValueError("a dealer has a name, and nobody else has one")


def cli_actor() -> StaffMember:
    """Return the person at the command line: whoever may run it is an operator."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return StaffMember(None, f"{CLI_PREFIX}{user}"[:120], Role.OPERATOR)
