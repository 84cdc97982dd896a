# SPDX-License-Identifier: Apache-2.0
"""The README says everything that a newcomer looks for, and nothing that is gone."""

import re
from pathlib import Path

import pytest

from fleet.settings import described
from wsgi import callhome

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", [name for name, _, _ in described()])
def test_every_setting_is_named(name: str) -> None:
    assert f"| `{name}` |" in README


@pytest.mark.parametrize("name", sorted(callhome.commands))
def test_every_command_is_named(name: str) -> None:
    assert f"`{name}`" in README or f"callhome {name}" in README


def test_every_path_it_names_exists() -> None:
    named = re.findall(r"`((?:fleet|cic|tests|deploy)/[\w./-]*)`", README)

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_folder_of_the_fleet_is_on_the_map() -> None:
    folders = {path.parent.name for path in (ROOT / "fleet").glob("*/__init__.py")}

    assert [name for name in sorted(folders) if f"  {name}/ " not in README] == []
