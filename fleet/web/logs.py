# SPDX-License-Identifier: Apache-2.0
"""The application's own log: JSON lines, or plain text where somebody watches.

No line names a PBX or a person. Our own messages are written that way. Other
people's are not: gunicorn writes the address of whoever sends a bad request,
drivers put host names and values into exceptions. So of a foreign warning only
the unchanging text is kept, and of any exception its type and the places it
passed, never its words.
"""

import json
import logging
import logging.config
import re
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

from flask import g, has_app_context

from fleet.settings import Settings

# Loggers of this project: their messages are written to be logged.
OUR_PACKAGES = frozenset(
    ["fleet", "cic", "voucher", "updates", "backup", "retention", "wsgi", "callhome"]
)
# Programs that say at level INFO only what they themselves do.
TALKERS = frozenset(["gunicorn", "alembic", "apscheduler"])

MOST_PLACES = 12
log = logging.getLogger(__name__)


def configure(settings: Settings) -> None:
    """Send all logging to standard error, in our form; safe to repeat."""
    logging.config.dictConfig(configuration(settings))
    threading.excepthook = _thread_failed


def configuration(settings: Settings) -> dict[str, object]:
    """Return a ``logging.config.dictConfig`` dictionary.

    The same does for gunicorn's setting ``logconfig_dict``, so that its own
    messages take the same form. gunicorn's access log has no place in it: who
    asked when is kept in the access records, and only there.
    """
    readable = sys.stderr.isatty()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"()": TextFormatter if readable else JSONFormatter},
        },
        "filters": {"ours": {"()": ForeignDebugFilter}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["ours"],
            }
        },
        "root": {"level": settings.log_level.upper(), "handlers": ["stderr"]},
        "loggers": {
            # What these say at INFO is how they work, not what they do.
            "alembic": {"level": "WARNING"},
            "apscheduler": {"level": "WARNING"},
            "gunicorn.error": {
                "level": settings.log_level.upper(),
                "handlers": ["stderr"],
                "propagate": False,
            },
            "gunicorn.access": {
                "level": "CRITICAL",
                "handlers": [],
                "propagate": False,
            },
        },
    }


class ForeignDebugFilter(logging.Filter):
    """Drops what libraries say when debugging: it may hold anything."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep our own records, and others' from INFO on."""
        return record.levelno >= logging.INFO or _is_ours(record)


class JSONFormatter(logging.Formatter):
    """Writes a record as one line of JSON, for a log collector."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; extra facts come from ``extra={"facts": {...}}``."""
        return json.dumps(
            {
                "at": _instant(record),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": message_of(record),
                "process": record.process,
                **_facts(record),
            },
            ensure_ascii=False,
            default=str,
        )


class TextFormatter(logging.Formatter):
    """Writes a record as a line for the person at the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        facts = "".join(f" {name}={value}" for name, value in _facts(record).items())
        line = f"{_instant(record)} {record.levelname:<7} {message_of(record)}{facts}"
        # One record is one line, whatever somebody managed to put into it.
        return line.replace("\n", "\\n").replace("\r", "\\r").replace("\x1b", "\\e")


def message_of(record: logging.LogRecord) -> str:
    """Return what may be printed of a record's message."""
    talks = record.name.partition(".")[0] in TALKERS
    if _is_ours(record) or (talks and record.levelno == logging.INFO):
        return record.getMessage()
    if not isinstance(record.msg, str):
        return type(record.msg).__name__
    place = f"({record.filename}:{record.lineno})"
    if not record.args:
        return f"{_first_words(record.msg)} {place}"
    given = record.args if isinstance(record.args, tuple) else (record.args,)
    try:
        return f"{record.msg % tuple(map(_harmless, given))} {place}"
    except (TypeError, ValueError):
        return f"{record.msg} {place}"


def places(trace: TracebackType | None) -> str:
    """Return a call stack as places in files, without any value."""
    passed = []
    while trace is not None:
        file = "/".join(trace.tb_frame.f_code.co_filename.rsplit("/", 2)[-2:])
        passed.append(f"{file}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " > ".join(passed[-MOST_PLACES:])


def _first_words(message: str) -> str:
    """Return what comes before any value: "Invalid request from ip"."""
    return re.split("[^A-Za-z ,()-]", message, maxsplit=1)[0]


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in OUR_PACKAGES


def _harmless(value: object) -> object:
    """Let numbers and the names of signals through."""
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str) and re.fullmatch("SIG[A-Z]{2,8}", value):
        return value
    return type(value).__name__


def _instant(record: logging.LogRecord) -> str:
    instant = datetime.fromtimestamp(record.created, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _facts(record: logging.LogRecord) -> dict[str, object]:
    facts: dict[str, object] = {}
    if has_app_context() and (request_id := g.get("request_id")):
        facts["request_id"] = request_id
    facts.update(getattr(record, "facts", {}))
    if record.exc_info and record.exc_info[0] is not None:
        kind, _, trace = record.exc_info
        facts["exception"] = kind.__name__
        facts["places"] = places(trace)
    return facts


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    log.error(
        "a thread ended by %s at %s",
        failed.exc_type.__name__,
        places(failed.exc_traceback),
    )
