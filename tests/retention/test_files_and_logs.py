# SPDX-License-Identifier: Apache-2.0
"""Each file that the service leaves, and each log around it, has its category."""

import re
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import pytest
from service import Service

from fleet.keys.files import PRIVATE_FILES
from fleet.keys.keyring import SECRET_PURPOSES
from fleet.settings import Settings
from fleet.web import forms, logs
from retention.ages import Rotation
from retention.policies import Category, Kind, load

ROOT = Path(__file__).resolve().parents[2]

# What only some installations, or some moments, have.
NOW_AND_THEN = {"*.sqlite3-journal", "retention/marks.jsonl"}


def matches(path: str, pattern: str) -> bool:
    """Whether a pattern covers a path; as in a shell, ``*`` stays in its folder."""
    parts, wanted = PurePosixPath(path).parts, PurePosixPath(pattern).parts
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def categories_of(path: str) -> list[str]:
    return [each.name for each in load() for glob in each.files if matches(path, glob)]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What an installation has after people and PBXs have been there."""
    folder = tmp_path_factory.mktemp("left")
    with Service(folder) as service:
        service.import_devices([("CX1000000001", "a device secret of the list")])
        service.staff("operator")
        assert service.request("GET", "/voucher/").status == 200
        assert service.request("GET", "/retention/").status == 200
        running = [each for each in service.data_dir.rglob("*") if each.is_file()]
        service.run("retention", "run")
        running += [each for each in service.data_dir.rglob("*") if each.is_file()]
    stopped = [each for each in service.data_dir.rglob("*") if each.is_file()]
    found = {each.relative_to(service.data_dir) for each in (*running, *stopped)}
    return sorted(each.as_posix() for each in found)


def test_every_file_is_in_exactly_one_category(left: list[str]) -> None:
    assert len(left) > 20
    assert {each: categories_of(each) for each in left if not_one(each)} == {}


def not_one(path: str) -> bool:
    return len(categories_of(path)) != 1


def test_no_category_covers_files_that_there_are_not(left: list[str]) -> None:
    patterns = {glob for each in load() for glob in each.files}
    used = {glob for glob in patterns for path in left if matches(path, glob)}

    assert patterns - used <= NOW_AND_THEN


@pytest.mark.parametrize(
    "path",
    [
        "callhome.sqlite3-journal",
        "retention/marks.jsonl",
        *(f"keys/{purpose}/2.key" for purpose in SECRET_PURPOSES),
    ],
)
def test_what_is_there_only_at_times_has_its_category_too(path: str) -> None:
    assert len(categories_of(path)) == 1


@pytest.mark.parametrize("path", ["notes.txt", "keys/dump.sql", "export.csv", "core"])
def test_a_file_that_nobody_foresaw_has_none(path: str) -> None:
    assert categories_of(path) == []


def test_private_files_are_told_as_secret() -> None:
    for pattern in PRIVATE_FILES:
        path = pattern.replace("**/", "purpose/").replace("*", "1")
        [name] = categories_of(path)
        assert load()[name].kind is Kind.SECRET


# --- logs ---------------------------------------------------------------------------


def logged() -> Counter[str]:
    return Counter(name for each in load() for name in each.logs)


def category_of(log: str) -> Category:
    [found] = [each for each in load() if log in each.logs]
    return found


def test_no_log_is_in_two_categories() -> None:
    assert set(logged().values()) == {1}


def test_every_logger_with_a_handler_of_its_own_has_a_category() -> None:
    said = logs.configuration(Settings())
    loggers = said["loggers"]
    assert isinstance(loggers, dict)
    own = {name for name, each in loggers.items() if "handlers" in each}

    assert own == {"gunicorn.error", "gunicorn.access"}
    assert own | {"callhome"} <= set(logged())


def test_everything_else_goes_to_standard_error() -> None:
    """No handler writes to a file that the registry would have to name."""
    said = logs.configuration(Settings())
    handlers = said["handlers"]
    assert isinstance(handlers, dict)

    assert [each["class"] for each in handlers.values()] == ["logging.StreamHandler"]


@pytest.mark.parametrize(
    ("file", "directive", "name"),
    [
        ("nginx.conf", "error_log", "nginx-error"),
        ("nginx.conf", "access_log", "nginx-access"),
        ("haproxy.cfg", "log", "haproxy"),
    ],
)
def test_each_log_of_the_servers_in_front_has_its_category(
    file: str, directive: str, name: str
) -> None:
    text = (ROOT / "deploy" / file).read_text("utf-8")

    assert re.search(rf"^\s*{directive}\s", text, re.MULTILINE)
    assert isinstance(category_of(name).age, Rotation)


def test_the_servers_in_front_keep_no_access_log() -> None:
    nginx = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")

    assert re.findall(r"access_log\s+(\S+);", nginx) == ["off"]
    assert re.findall(r"error_log\s+\S+\s+(\w+);", nginx) == ["crit"]


@pytest.mark.parametrize(
    "name",
    [
        "callhome",
        "journal",
        "postgresql-log",
        "postgresql-wal",
        "database-dump",
        "base-backup",
        "wal-archive",
        "browser-cookie",
        "voucher-export",
    ],
)
def test_what_lies_outside_is_named(name: str) -> None:
    assert logged()[name] == 1


def test_a_log_that_could_hold_an_address_is_rotated_away_in_time() -> None:
    for each in load():
        if each.logs and isinstance(each.age, Rotation):
            assert each.age.hours <= 336
            assert each.age.files_kept() == 13


def test_the_cookie_is_the_one_that_forms_set() -> None:
    contents = load()["form-cookie"].contents.values()

    assert all(f"({forms.COOKIE})" in each for each in contents)
