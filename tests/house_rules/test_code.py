# SPDX-License-Identifier: Apache-2.0
"""Rules about the code itself that no linter knows."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.web.problem_pages import Problems
from wsgi import FEATURES

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("fleet", "cic", "voucher", "updates", "backup", "retention")
TOP_LEVEL = {
    *PACKAGES,
    "tests",
    "deploy",
    "wsgi.py",
    "pyproject.toml",
    "requirements.lock",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
    "Makefile",
}

# What tools and runs leave behind; none of it is committed.
LEFT_BEHIND = {"var", "build", "callhome.egg-info", "__pycache__"}


def sources() -> Iterator[Path]:
    """Yield every Python file of the product."""
    yield ROOT / "wsgi.py"
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def test_nothing_stands_at_the_top_but_what_belongs_there() -> None:
    found = {
        each.name
        for each in ROOT.iterdir()
        if not each.name.startswith(".") and each.name not in LEFT_BEHIND
    }

    assert found == TOP_LEVEL


def test_only_the_transaction_helper_commits() -> None:
    committing = [
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if re.search(r"\.commit\(", path.read_text("utf-8"))
    ]

    assert committing == ["fleet/database.py"]


def test_every_file_says_its_licence() -> None:
    without = [
        path.relative_to(ROOT).as_posix()
        for folder in (*PACKAGES, "tests", "deploy")
        for path in (ROOT / folder).rglob("*.py")
        if not path.read_text("utf-8").startswith("# SPDX-License-Identifier: Apache-2")
    ]

    assert without == []


def test_no_module_is_longer_than_one_can_read() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): count
        for path in sources()
        if (count := len(path.read_text("utf-8").splitlines())) > 400
    }

    assert long == {}


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: path.stem)
def test_a_log_line_never_carries_the_text_of_a_fault(path: Path) -> None:
    """``log.exception`` and ``%r`` of an error could show what was sent."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            is_log = isinstance(owner, ast.Name) and owner.id in {"log", "logger"}
            assert not (is_log and node.func.attr == "exception"), path


def test_every_feature_brings_its_problem_pages() -> None:
    for feature in FEATURES:
        assert feature.problems is not None
        assert Problems.load([feature.problems])


def test_the_lock_file_pins_every_dependency_with_hashes() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    for requirement in wanted["dependencies"]:
        name = re.split(r"[\[<>=]", requirement)[0]
        assert re.search(rf"^{name}==\S+ \\\n    --hash=sha256:", lock, re.MULTILINE)
