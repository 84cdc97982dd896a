# SPDX-License-Identifier: Apache-2.0
"""Tokens: shown once, found by digest, noted when used, gone when they end."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from fleet.database import reading
from fleet.errors import Invalid, NotFound
from fleet.ground import ground
from fleet.staff import audit, tokens
from fleet.staff.roles import Role, StaffMember

pytestmark = pytest.mark.usefixtures("app")

# What is refused before the database is asked needs only one of them.
ANY_DATABASE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BOSS = StaffMember(None, "cli:boss", Role.OPERATOR)


def make(
    owner: str = "anna",
    life: timedelta = timedelta(days=1),
    role: Role = Role.SUPPORT,
    dealer: str = "",
) -> tokens.IssuedToken:
    return tokens.issue(
        owner,
        role=role,
        dealer=dealer,
        life=life,
        reason="new colleague",
        actor=BOSS,
        keyring=ground().keyring,
        now=NOON,
    )


def find(token: str, now: datetime = NOON) -> StaffMember | None:
    return tokens.find(token, keyring=ground().keyring, now=now)


def test_a_token_says_who_calls() -> None:
    issued = make()
    assert find(issued.token) == StaffMember(issued.id, "anna", Role.SUPPORT)


def test_a_token_is_nowhere_in_the_database_or_in_logs() -> None:
    issued = make()
    assert issued.token.startswith("cht_1_")
    assert issued.token not in repr(issued)
    with reading() as session:
        for table in ("staff_token", "audit_entry"):
            rows = session.execute(text(f"SELECT * FROM {table}")).all()
            assert issued.token[6:] not in str(rows)


@ANY_DATABASE
@pytest.mark.parametrize("life", [0, -1, 3651 * 86400])
def test_a_token_lives_neither_nothing_nor_for_ever(life: int) -> None:
    with pytest.raises(Invalid):
        make(life=timedelta(seconds=life))


@ANY_DATABASE
@pytest.mark.parametrize("owner", ["", "  ", "x" * 121, "an\nna", "cli:root"])
def test_an_owner_has_a_name_that_is_not_the_command_lines(owner: str) -> None:
    with pytest.raises(Invalid):
        make(owner)


def test_a_dealers_token_says_whose_it_is() -> None:
    issued = make(role=Role.DEALER, dealer="Funk & Söhne")
    found = find(issued.token)
    assert found == StaffMember(issued.id, "anna", Role.DEALER, "Funk & Söhne")
    (entry,) = audit.entries(audit.Wanted(), limit=9).items
    assert entry.after["dealer"] == "Funk & Söhne"


@ANY_DATABASE
@pytest.mark.parametrize(
    ("role", "dealer"),
    [
        pytest.param(Role.DEALER, "", id="a dealer without a name"),
        pytest.param(Role.DEALER, "  ", id="a name of spaces"),
        pytest.param(Role.DEALER, "Funk ", id="a space at the end"),
        pytest.param(Role.DEALER, "Fu\nnk", id="two lines"),
        pytest.param(Role.DEALER, "x" * 121, id="too long a name"),
        pytest.param(Role.SUPPORT, "Funk", id="support with a dealer"),
        pytest.param(Role.AUDITOR, "Funk", id="an auditor with a dealer"),
    ],
)
def test_a_dealers_name_is_a_dealers_and_nobody_elses(role: Role, dealer: str) -> None:
    with pytest.raises(Invalid) as refused:
        make(role=role, dealer=dealer)
    assert set(refused.value.fields or ()) == {"dealer"}


@ANY_DATABASE
@pytest.mark.parametrize(
    ("role", "dealer"), [(Role.DEALER, ""), (Role.SUPPORT, "Funk")]
)
def test_there_is_no_dealer_without_a_name(role: Role, dealer: str) -> None:
    with pytest.raises(ValueError, match="dealer"):
        StaffMember(1, "anna", role, dealer)


def test_a_token_ends() -> None:
    token = make(life=timedelta(hours=1)).token
    assert find(token, NOON + timedelta(minutes=59, seconds=59)) is not None
    assert find(token, NOON + timedelta(hours=1)) is None


def test_a_revoked_token_is_refused_at_once() -> None:
    issued = make()
    tokens.revoke(issued.id, reason="left", actor=BOSS, now=NOON)
    assert find(issued.token) is None
    later = NOON + timedelta(days=1)
    again = tokens.revoke(issued.id, reason="again", actor=BOSS, now=later)
    assert again.revoked_at == NOON
    actions = [each.action for each in audit.entries(audit.Wanted(), limit=9).items]
    assert actions == ["staff-token.revoke", "staff-token.issue"]


def test_a_token_that_never_was_cannot_be_revoked() -> None:
    with pytest.raises(NotFound):
        tokens.revoke(1, reason="x", actor=BOSS, now=NOON)


def test_only_the_exact_token_is_one() -> None:
    token = make().token
    last = "A" if token[-1] != "A" else "B"
    for wrong in (
        "",
        "cht_1_",
        token[:-1],
        token + "A",
        token[:-1] + last,
        token.replace("cht_1_", "cht_2_"),
        token.replace("cht_1_", "cht_01_"),
        token.replace("cht_1_", "cht_999999999_"),
        token.upper(),
        "\u00e4" * 50,
    ):
        assert find(wrong) is None


def test_a_token_outlives_a_change_of_keys() -> None:
    older = make().token
    ground().keyring.rotate("staff-token")
    younger = make().token
    assert younger.startswith("cht_2_")
    assert find(older) is not None
    assert find(younger) is not None


def test_its_use_is_noted_at_most_once_a_minute() -> None:
    token = make().token

    def noted(seconds: int) -> datetime | None:
        find(token, NOON + timedelta(seconds=seconds))
        return tokens.listed(limit=1).items[0].last_used_at

    assert noted(1) == NOON + timedelta(seconds=1)
    assert noted(60) == NOON + timedelta(seconds=1)
    assert noted(61) == NOON + timedelta(seconds=61)
    assert noted(30) == NOON + timedelta(seconds=61)


def test_all_tokens_are_listed_page_by_page() -> None:
    ids = [make(f"person {number}").id for number in range(5)]
    first = tokens.listed(limit=3)
    rest = tokens.listed(limit=3, cursor=first.next_cursor)
    assert [each.id for each in (*first.items, *rest.items)] == ids
    assert rest.next_cursor is None
