# SPDX-License-Identifier: Apache-2.0
"""How a PBX comes by its certificate and by the next one, told as stories."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from pbx.simulated import DAY, lose, problem, silence
from pbx.world import make_running, make_world

from fleet.pbx.errors import Unreachable
from fleet.pbx.lease import Lease
from fleet.pbx.life import Notice, Standing
from fleet.pbx.transport import Answer, Request

HOUR = timedelta(hours=1)
CHECK = "/cic/v1/check"
INITIALISE = "/cic/v1/initialise"


def test_a_lost_answer_to_initialise_is_repeated_with_the_same_key() -> None:
    world = make_world()
    world.vendor.meddler = lose
    assert isinstance(world.pbx.initialise(), Unreachable)
    world.vendor.meddler = None
    world.reboot()
    world.pbx.live_for(HOUR)

    assert world.stands() is Standing.RUNNING
    assert world.vendor.generation == 1
    assert len(world.vendor.certified) == 1


def test_a_server_that_wants_a_new_key_gets_one_at_once() -> None:
    world = make_world()
    world.vendor.meddler = lambda _, honestly: (honestly(), silence(_, honestly))[1]
    world.pbx.initialise()
    world.vendor.meddler = None
    world.vendor.verdict = "locked"

    assert isinstance(world.pbx.initialise(), Lease)

    requests = world.vendor.asked(INITIALISE)
    assert len(requests) == 3
    assert requests[0]["csr"] != requests[2]["csr"]
    assert world.stands() is Standing.RUNNING


def test_a_wrong_secret_is_nothing_and_is_tried_again_hourly() -> None:
    world = make_world()
    world.vendor.meddler = lambda _, __: problem(403, "device-not-recognised")

    world.pbx.live_for(DAY)

    assert world.stands() is Standing.UNINITIALISED
    assert 20 <= len(world.vendor.asked(INITIALISE)) <= 26


def test_the_certificate_is_renewed_with_a_new_key_after_two_thirds_of_its_life() -> (
    None
):
    world = make_running(certificate_lasts=timedelta(days=30))
    before = world.pbx.record.credentials

    world.pbx.live_for(20 * DAY)
    assert world.pbx.record.credentials == before
    world.pbx.live_for(DAY)
    after = world.pbx.record.credentials
    world.pbx.live_for(40 * DAY)

    assert before is not None
    assert after is not None
    assert after.private_key != before.private_key
    assert world.stands() is Standing.RUNNING
    assert world.notices.count(Notice.CERTIFICATE_RENEWED) == 3


def test_a_lost_answer_to_renewal_is_repeated_with_the_same_key() -> None:
    world = make_running()
    world.vendor.meddler = silence
    assert isinstance(world.pbx.renew(), Unreachable)
    waiting = world.pbx.record.renewing_key
    world.vendor.meddler = None

    world.pbx.renew()

    assert world.pbx.record.credentials is not None
    assert world.pbx.record.credentials.private_key == waiting
    assert world.pbx.record.renewing_key is None


def test_a_failed_renewal_means_nothing_for_the_licence() -> None:
    world = make_running(certificate_lasts=timedelta(days=30))

    def refuse_renewal(request: Request, honestly: Callable[[], Answer]) -> Answer:
        if request.path.endswith("simplereenroll"):
            return problem(503, "busy")
        return honestly()

    world.vendor.meddler = refuse_renewal
    world.pbx.live_for(25 * DAY)

    assert world.stands() is Standing.RUNNING
    assert world.pbx.state.failed_attempts == 0
    assert Notice.RENEWAL_FAILED in world.notices


@pytest.mark.parametrize("verdict", ["blocked", "replaced"])
def test_a_pbx_without_rights_does_not_ask_for_a_certificate(verdict: str) -> None:
    world = make_running(certificate_lasts=timedelta(days=30))
    world.vendor.verdict = verdict

    world.pbx.live_for(25 * DAY)

    assert world.vendor.asked("/.well-known/est/simplereenroll") == []


def test_a_pbx_whose_certificate_ran_out_on_the_shelf_initialises_again() -> None:
    world = make_running()

    world.reboot(off_for=timedelta(days=800)).live_for(DAY)

    assert world.stands() is Standing.RUNNING
    assert world.vendor.generation == 2
    assert len(world.vendor.asked(CHECK)) == 3


def test_no_certificate_is_shown_on_open_routes() -> None:
    world = make_running()
    world.pbx.live_for(10 * DAY)
    world.pbx.initialise()

    shown = {
        request.path.partition("?")[0]: request.credentials is not None
        for request, _ in world.vendor.requests
    }
    assert shown == {
        INITIALISE: False,
        CHECK: True,
        "/cic/v1/keyset": False,
        "/voucher/v1/entitlements": True,
    }
