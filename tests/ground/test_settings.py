# SPDX-License-Identifier: Apache-2.0
"""Settings are read once, checked, and say what is wrong with them by name."""

from pathlib import Path

import pytest

from fleet.settings import (
    Networks,
    Settings,
    SettingsError,
    described,
    unknown_settings,
)


def test_the_defaults_serve_one_person_on_loopback() -> None:
    settings = Settings.read({})

    assert settings.bind == "127.0.0.1:8443"
    assert settings.sqlite
    assert settings.tls
    assert not settings.trusted_proxies
    assert settings.outage_credit


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PBX_GRACE_DAYS", "thirty", "PBX_GRACE_DAYS is not a whole number"),
        ("PBX_GRACE_DAYS", "0", "PBX_GRACE_DAYS must lie between 1 and 3650"),
        ("PBX_GRACE_DAYS", "-3", "PBX_GRACE_DAYS is not a whole number"),
        ("PBX_GRACE_DAYS", "٣", "PBX_GRACE_DAYS is not a whole number"),
        ("PBX_OUTAGE_CREDIT", "yes", "PBX_OUTAGE_CREDIT is neither on nor off"),
        ("PBX_TRUSTED_PROXIES", "10.0.0.1, nginx", "no address or network: 'nginx'"),
        ("PBX_PUBLIC_URL", "callhome.example.com", "PBX_PUBLIC_URL is no URL"),
        ("PBX_PUBLIC_URL", "https://a/?b", "must not have a query"),
        ("PBX_DATABASE_URL", "mysql://u:secret@h/d", "PBX_DATABASE_URL must begin"),
        ("PBX_DATA_DIR", "", "PBX_DATA_DIR is empty"),
        ("PBX_LOG_LEVEL", "loud", "PBX_LOG_LEVEL is none of"),
        ("PBX_TLS", "off", "PBX_TRUSTED_PROXIES is empty"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({name: value})

    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / "callhome.env"
    file.write_text(
        '# comment\n\nPBX_GRACE_DAYS=10\nPBX_SHOP_URL="https://shop.test"\n'
    )

    settings = Settings.read({"PBX_SETTINGS_FILE": str(file), "PBX_GRACE_DAYS": "20"})

    assert settings.grace_days == 20
    assert settings.shop_url == "https://shop.test"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("GRACE=1\n", "line 1"),
        ("PBX_GRACE_DAYS 3\n", "line 1"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "callhome.env"
    if content is not None:
        file.write_text(content)

    with pytest.raises(SettingsError) as refused:
        Settings.read({"PBX_SETTINGS_FILE": str(file)})

    assert str(file) in str(refused.value)
    assert said in str(refused.value)


def test_a_typing_error_in_a_name_is_found() -> None:
    found = unknown_settings({"PBX_GRACE_DAY": "3", "PBX_DATA_DIR": "x", "HOME": "y"})

    assert found == ["PBX_GRACE_DAY; did you mean PBX_GRACE_DAYS?"]


def test_every_setting_says_what_it_is_for() -> None:
    assert all(about for _, _, about in described())


@pytest.mark.parametrize(
    ("text", "address", "inside"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "nonsense", False),
        ("127.0.0.1", "", False),
        ("unix", "", True),
        ("unix", "127.0.0.1", False),
        ("", "127.0.0.1", False),
    ],
)
def test_who_is_in_a_network(text: str, address: str, inside: bool) -> None:
    assert (address in Networks.of(text)) is inside
