# SPDX-License-Identifier: Apache-2.0
"""The PBXs of these tests, and what is done with all of them."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from faults.moved_clock import MovedClock
from service import Service
from wire.plain_firmware import PlainFirmware, Refused

FIRST, SECOND = "CX3000000001", "CX3000000002"
SECRETS = {FIRST: "correct horse battery staple", SECOND: "a secret of the second"}

Make = Callable[[str], PlainFirmware]


def later(service: Service, clock: MovedClock, by: timedelta) -> None:
    """Let time pass without anybody serving: it is the PBX's silence all the same."""
    service.stop()
    clock.move(by)
    service.start()


def refusal_of(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.status, refused.value.code
