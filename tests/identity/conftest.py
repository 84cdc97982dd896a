# SPDX-License-Identifier: Apache-2.0
"""Places and strangers for the tests of certificates."""

from pathlib import Path

import pytest
from identity.anything_goes import NOON, AnythingGoes

from fleet.identity import authority


@pytest.fixture(scope="session")
def anything_goes() -> AnythingGoes:
    return AnythingGoes()


@pytest.fixture(scope="session")
def another_ca() -> AnythingGoes:
    return AnythingGoes("Another")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a device CA."""
    folder = tmp_path / "device-ca"
    authority.create(folder, now=NOON)
    return folder
