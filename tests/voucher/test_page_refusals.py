# SPDX-License-Identifier: Apache-2.0
"""What the page says where a voucher cannot be redeemed, and what it counts."""

import html
import re
import shutil
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from freezegun import freeze_time
from make import make_device
from making import days, make_batch, make_product, make_voucher, mistyped
from sqlalchemy import func, select
from visiting import HERE, MINE, NOW, OTHERS, Person, headings, release_code, typed

from fleet.database import reading
from fleet.ground import ground
from fleet.web.models import GuessCount
from voucher import codes


def _elsewhere(person: Person) -> str:
    code, _ = make_voucher()
    person.redeem(code, OTHERS)
    return code


def _without_effect(person: Person) -> str:
    product = make_product(stacking="renew")
    person.redeem(make_voucher(product)[0])
    return make_voucher(product)[0]


def _second_trial(person: Person) -> str:
    product = make_product(trial=True, duration_days=14)
    person.redeem(make_voucher(product)[0])
    return make_voucher(product)[0]


def _expired(_: Person) -> str:
    batch = make_batch(make_product(), valid_until=NOW - days(1), now=NOW - days(9))
    return make_voucher(batch=batch, now=NOW - days(8))[0]


REFUSALS: list[tuple[str, int, str, Callable[[Person], str]]] = [
    ("mistyped-code", 400, "The code is mistyped", lambda _: mistyped(codes.draw())),
    (
        "voucher-not-valid",
        404,
        "There is no valid voucher with this code",
        lambda _: codes.draw(),
    ),
    (
        "voucher-not-valid",
        404,
        "There is no valid voucher with this code",
        lambda _: make_voucher(revoked=True)[0],
    ),
    (
        "voucher-already-redeemed",
        409,
        "This voucher was already redeemed, for another PBX",
        _elsewhere,
    ),
    (
        "voucher-not-activated",
        409,
        "This voucher has not been sold yet",
        lambda _: make_voucher(activated=False)[0],
    ),
    ("voucher-expired", 409, "This voucher has expired", _expired),
    (
        "voucher-not-for-this-device",
        409,
        "This voucher is for another type of PBX",
        lambda _: make_voucher(make_product(device_types=["COMtrexx Next"]))[0],
    ),
    (
        "prerequisite-missing",
        409,
        "The PBX lacks a function that this one builds on",
        lambda _: make_voucher(make_product(prerequisites=["recording"]))[0],
    ),
    (
        "voucher-without-effect",
        409,
        "It would change nothing on this PBX",
        _without_effect,
    ),
    ("trial-already-used", 409, "This PBX has had its trial", _second_trial),
]


@pytest.mark.parametrize(("problem", "status", "title", "make"), REFUSALS)
def test_each_refusal_has_words_of_its_own_on_the_same_form(
    app: Flask,
    problem: str,
    status: int,
    title: str,
    make: Callable[[Person], str],
) -> None:
    with freeze_time(NOW):
        make_device(MINE)
        make_device(OTHERS)
        person = Person(app)
        code = make(person)
        person.open()
        answer = person.redeem(code)

        assert answer.status_code == status
        assert answer.mimetype == "text/html"
        assert headings(answer) == ["Redeem a voucher", title]
        assert f"<title>Problem: {title} · " in answer.text
        assert typed(answer) == {"code": codes.shown(code), "serial_number": MINE}
        assert f'href="/problems/{problem}?lang=en"' in answer.text
        # From there one can go on: the form that came back is a good one.
        good, _ = make_voucher(make_product(99))
        assert release_code(person.redeem(good))


def test_a_serial_number_is_looked_at_once_the_code_is_good(person: Person) -> None:
    code, _ = make_voucher()

    assert person.redeem(codes.draw(), "CX9999999999").status_code == 404
    assert headings(person.page)[1] == "There is no valid voucher with this code"
    assert person.redeem(code, "CX9999999999").status_code == 404
    assert headings(person.page)[1] == "There is no PBX with this serial number"
    assert release_code(person.redeem(code))


@pytest.mark.parametrize(
    ("code", "serial_number", "title", "said"),
    [
        (
            "",
            "",
            "Something is still missing",
            ["Enter the voucher code.", "Enter the serial"],
        ),
        ("good", "", "Something is still missing", ["Enter the serial number."]),
        ("good", "12", "The serial number cannot be right", ["6 to 32 letters"]),
        (
            "bad",
            "12",
            "Something is still missing",
            ["Look at group 2 of 4", "6 to 32"],
        ),
        ("short", MINE, "The code is mistyped", ["Symbols are missing: 3 of 20."]),
        ("release", MINE, "This is not the voucher code", ["This is a release code"]),
        ("swapped", "good", "The two are mixed up", ["stand in each other"]),
        (
            "U",
            MINE,
            "The code is mistyped",
            ["no U; perhaps it is a V.", "group 1 of 4"],
        ),
        ("§", MINE, "The code is mistyped", ["only digits and letters"]),
    ],
)
def test_all_that_is_wrong_is_said_at_once_beside_its_field(
    person: Person, code: str, serial_number: str, title: str, said: list[str]
) -> None:
    good = codes.draw()
    spelt = {
        "good": good,
        "bad": mistyped(good),
        "short": good[:17],
        "release": codes.with_checks(range(23)),
        "swapped": MINE,
        "U": "U" + good[1:],
        "§": "§" + good[1:],
    }

    answer = person.redeem(
        spelt.get(code, code), spelt.get(serial_number, serial_number)
    )

    assert answer.status_code == 400
    assert headings(answer)[1] == title
    text = html.unescape(answer.text)
    for each in said:
        assert text.count(each) == 2  # at the top, and at its field
    # The first field that is wrong is gone to, and is described by what is wrong.
    [focused] = re.findall(r'id="(\w+)"[^>]*? autofocus', answer.text)
    assert (
        f'aria-describedby="{focused}-wrong {focused}-hint" aria-invalid' in answer.text
    )


def test_slips_of_the_pen_are_never_counted(person: Person) -> None:
    for _ in range(100):
        assert person.redeem(mistyped(codes.draw())).status_code == 400

    with reading() as session:
        assert session.scalar(select(func.count()).select_from(GuessCount)) == 0


def test_a_nat_of_honest_people_is_not_throttled(app: Flask, person: Person) -> None:
    """Mistyped, redeemed elsewhere, not sold, and repeats: none is a guess."""
    elsewhere, unsold = _elsewhere(person), make_voucher(activated=False)[0]
    for _ in range(40):
        assert person.redeem(elsewhere).status_code == 409
        assert person.redeem(unsold).status_code == 409
        assert person.redeem(elsewhere, OTHERS).status_code == 200

    assert release_code(Person(app).redeem(make_voucher()[0]))


def test_who_guesses_is_told_when_to_come_back(app: Flask) -> None:
    with freeze_time(NOW) as clock:
        make_device(MINE)
        make_device(OTHERS)
        person = Person(app)
        code, _ = make_voucher()
        for _ in range(10):
            assert person.redeem(codes.draw()).status_code == 404

        wrong = codes.draw()
        answer = person.redeem(wrong)

        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) == 601
        assert headings(answer)[1] == "Too many codes that do not exist"
        assert "Come back in 10 minutes" in answer.text
        assert typed(answer)["code"] == codes.shown(wrong)
        # Neither a code that exists is concerned, nor another PBX, nor another place.
        assert release_code(person.redeem(code))
        assert release_code(person.redeem(make_voucher()[0], OTHERS))
        assert release_code(Person(app, address="192.0.2.8").redeem(code))
        clock.tick(timedelta(minutes=10))
        assert person.redeem(wrong).status_code == 404


def test_while_something_is_missing_here_nobody_loses_anything(
    person: Person,
) -> None:
    code, _ = make_voucher()
    keys = ground().settings.data_dir / "keys" / "release-master"
    shutil.move(keys, keys.with_name("gone"))

    answer = person.redeem(code)

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert headings(answer)[1] == "The service is busy"
    assert "Your voucher is safe" in answer.text
    assert typed(answer)["code"] == codes.shown(code)
    shutil.move(keys.with_name("gone"), keys)
    assert release_code(person.redeem(code))


def test_without_the_key_of_forms_there_is_a_problem_document(app: Flask) -> None:
    shutil.rmtree(ground().settings.data_dir / "keys" / "page-form")

    answer = app.test_client().get("/voucher/", base_url=HERE)

    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")


# --- another language, after something was sent -------------------------------


def test_a_refusal_is_told_in_another_language_without_trying_again(
    person: Person,
) -> None:
    code = codes.draw()
    person.redeem(code)
    assert '<button class="link" formaction="/voucher/?lang=fr"' in person.page.text
    [shown] = re.findall('name="shown" value="([^"]+)"', person.page.text)

    answer = person.send(
        "/voucher/?lang=fr", code=code, serial_number=MINE, shown=shown
    )

    assert answer.status_code == 200
    assert headings(answer)[1] == "Aucun bon valable ne porte ce code"
    assert typed(answer) == {"code": codes.shown(code), "serial_number": MINE}
    with reading() as session:
        assert set(session.scalars(select(GuessCount.wrong))) == {1}
