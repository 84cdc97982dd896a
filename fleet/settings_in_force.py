# SPDX-License-Identifier: Apache-2.0
"""The settings in force, as they may be shown to anybody: without a password."""

from dataclasses import fields

from sqlalchemy.engine import make_url

from fleet.settings import PREFIX, Settings, spelled


def in_force(settings: Settings) -> dict[str, str]:
    """Return each variable's value, as it would be written in the environment."""
    values = {
        PREFIX + each.name.upper(): spelled(getattr(settings, each.name))
        for each in fields(settings)
    }
    return values | {"PBX_DATABASE_URL": _without_password(settings.database_url)}


def _without_password(database_url: str) -> str:
    if not database_url:
        return ""
    url = make_url(database_url)
    shown = {
        name: "hidden" if "pass" in name.lower() else value
        for name, value in url.query.items()
    }
    return url.set(query=shown).render_as_string(hide_password=True)
