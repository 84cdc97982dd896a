# SPDX-License-Identifier: Apache-2.0
"""Which token makes a PBX look like two, and which lost answer does not."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from freezegun import freeze_time
from make import TestPbx, make_nonce

from cic.continuation import Continuation, draw_token, follow
from cic.models import Activation

A_DAY_LATER = datetime(2027, 3, 2, 12, tzinfo=UTC)  # after the initialisation

NONE = Continuation()
# The current token was drawn by the check with nonce "n2".
HELD = Continuation(current="t2", previous="t1", nonce="n2")
FIRST = Continuation(current="t1", previous="", nonce="n1")
NEXT = Continuation(current="new", previous="t2", nonce="n")


@pytest.mark.parametrize(
    ("held", "presented", "nonce", "after", "is_suspect"),
    [
        pytest.param(
            NONE, None, "n", Continuation("new", "", "n"), False, id="the first check"
        ),
        pytest.param(
            NONE,
            "t9",
            "n",
            Continuation("new", "", "n"),
            False,
            id="a token from before a re-initialisation",
        ),
        pytest.param(HELD, "t2", "n", NEXT, False, id="the current: a new one is made"),
        pytest.param(HELD, "t1", "n", HELD, False, id="the one before: a lost answer"),
        pytest.param(HELD, "t0", "n", HELD, True, id="an older one"),
        pytest.param(HELD, None, "n", HELD, True, id="none after one was issued"),
        pytest.param(HELD, "", "n", HELD, True, id="an empty one is none"),
        pytest.param(FIRST, "", "n", FIRST, True, id="an empty one, early on"),
        pytest.param(FIRST, None, "n", FIRST, True, id="none after the first"),
        pytest.param(FIRST, None, "n1", FIRST, False, id="the first request again"),
        pytest.param(HELD, "t1", "n2", HELD, False, id="the same request again"),
        pytest.param(HELD, "t0", "n2", HELD, False, id="an older one, same request"),
    ],
)
def test_after_a_check_with(
    held: Continuation,
    presented: str | None,
    nonce: str,
    after: Continuation,
    is_suspect: bool,
) -> None:
    remembered = follow(held, presented=presented, nonce=nonce, drawn="new")
    assert remembered == (after, is_suspect)


def test_a_pbx_that_loses_every_second_answer_is_never_suspected() -> None:
    held, shown = NONE, None
    for turn in range(20):
        held, is_suspect = follow(
            held, presented=shown, nonce=f"n{turn}", drawn=f"t{turn}"
        )
        assert not is_suspect
        if turn % 2 == 0:  # this answer arrived
            shown = held.current


def test_two_boxes_with_one_identity_are_found_out_by_their_second_checks() -> None:
    held, _ = follow(NONE, presented=None, nonce="a", drawn="t0")
    ours = theirs = held.current
    suspected = []
    for turn in range(3):
        held, suspect = follow(held, presented=ours, nonce=f"o{turn}", drawn=f"o{turn}")
        ours = held.current if not suspect else ours
        suspected.append(suspect)
        held, suspect = follow(
            held, presented=theirs, nonce=f"t{turn}", drawn=f"t{turn}"
        )
        suspected.append(suspect)
    assert suspected[:4] == [False, False, False, True]


def test_tokens_cannot_be_guessed_and_fit_their_column() -> None:
    drawn = {draw_token() for _ in range(100)}
    assert len(drawn) == 100
    assert {len(each) for each in drawn} == {22}


def test_the_first_check_may_be_repeated_any_number_of_times() -> None:
    held, shown = NONE, set()
    for turn in range(4):
        held, is_suspect = follow(held, presented=None, nonce="n1", drawn=f"t{turn}")
        assert not is_suspect
        shown.add(held.current)
    assert shown == {"t0"}


def test_a_first_check_whose_answer_was_lost_is_no_clone_when_it_is_repeated(
    pbx: TestPbx, held: Callable[[], Activation]
) -> None:
    first_nonce = make_nonce()
    with freeze_time(A_DAY_LATER):
        lost = pbx.check(nonce=first_nonce).get_json()["continuation"]
        pbx.continuation = None
        assert pbx.check(nonce=first_nonce).get_json()["continuation"] == lost
        assert pbx.check().status_code == 200
    assert held().clone_suspected_at is None


def test_a_pbx_that_repeats_its_initialisation_begins_without_a_token(
    pbx: TestPbx, held: Callable[[], Activation]
) -> None:
    with freeze_time(A_DAY_LATER):
        pbx.check()
        pbx.check()
        assert pbx.initialise().status_code == 201  # the same key: an answer was lost
        assert pbx.check().status_code == 200
        assert pbx.check().status_code == 200
    assert (held().generation, held().clone_suspected_at) == (1, None)


def test_an_initialisation_that_arrives_twice_leaves_the_token_good(
    pbx: TestPbx, held: Callable[[], Activation]
) -> None:
    with freeze_time(A_DAY_LATER):
        token = pbx.check().get_json()["continuation"]
        assert pbx.initialise().status_code == 201
        assert pbx.check(continuation=token).status_code == 200
        assert pbx.check().status_code == 200
    assert held().clone_suspected_at is None


def test_a_clone_that_repeats_the_initialisation_betrays_itself_all_the_same(
    pbx: TestPbx, held: Callable[[], Activation]
) -> None:
    with freeze_time(A_DAY_LATER):
        token = pbx.check().get_json()["continuation"]
        clone = TestPbx(pbx.client, key=pbx.key)
        assert clone.initialise().status_code == 201
        assert clone.check().status_code == 200
        assert pbx.check(continuation=token).status_code == 200
    assert held().clone_suspected_at == A_DAY_LATER


def test_a_suspicion_outlives_a_repeated_initialisation(
    pbx: TestPbx, held: Callable[[], Activation]
) -> None:
    with freeze_time(A_DAY_LATER):
        pbx.check()
        pbx.check(continuation="never issued")
        assert pbx.initialise().status_code == 201
    assert held().clone_suspected_at == A_DAY_LATER
