# SPDX-License-Identifier: Apache-2.0
"""Who the staff are: their roles, and the person or tool behind a request."""

import getpass
from dataclasses import dataclass
from enum import StrEnum

# The audit log tells by it who came by the command line; no token can claim it.
CLI_PREFIX = "cli:"


class Role(StrEnum):
    """What a token is for (protocol, section 1)."""

    SUPPORT = "support"
    RELEASE_MANAGER = "release-manager"
    PRODUCT_MANAGER = "product-manager"
    OPERATOR = "operator"
    AUDITOR = "auditor"


@dataclass(frozen=True)
class StaffMember:
    """Who acts; ``token_id`` is empty for somebody at the command line."""

    token_id: int | None
    owner: str
    role: Role


def cli_actor() -> StaffMember:
    """Return the person at the command line: whoever may run it is an operator."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return StaffMember(None, f"{CLI_PREFIX}{user}"[:120], Role.OPERATOR)
