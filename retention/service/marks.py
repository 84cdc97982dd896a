# SPDX-License-Identifier: Apache-2.0
"""What was erased, objected to or restricted is marked, so that it stays so.

Each mark is kept twice: as a row, in the transaction of what it stands for, and as a
line of a file beside the database (``mark_file``), once that transaction is committed
and before anybody is answered. After a restore of an older dump the file knows of
marks that the table does not: those are done again (``repeating``).
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.database import afterwards, reading
from fleet.ground import ground
from fleet.keys.keyring import VersionedKey, keyed_digest
from retention.errors import MarksNotKept
from retention.models import RightsMark
from retention.service.mark_file import Line, MarkFile

PURPOSE = "rights-mark"


class Mark(StrEnum):
    """What a mark stands for."""

    ERASED = "erased"
    ERASED_WHOLLY = "erased-wholly"
    OBJECTED = "objected"
    OBJECTION_WITHDRAWN = "objection-withdrawn"
    RESTRICTED = "restricted"
    RESTRICTION_LIFTED = "restriction-lifted"


def mark(session: Session, kind: Mark, serial_number: str, *, now: datetime) -> str:
    """Mark what is being done to a PBX, in its transaction; return the mark's id.

    The commit of that transaction raises ``MarksNotKept`` where the file cannot be
    written. What was done is done then: said again, it is marked again.
    """
    key = ground().keyring.current(PURPOSE)
    line = Line(
        id=uuid.uuid4().hex,
        kind=kind.value,
        happened_at=now,
        serial_digest=digest(key, serial_number),
        key_version=key.version,
    )
    session.add(row_of(line))
    session.flush()
    file = mark_file()
    afterwards(session, lambda: _add(file, [line]))
    return line.id


def mark_file() -> MarkFile:
    """Return the file of the application in context."""
    return MarkFile(ground().settings.data_dir)


def keep_all() -> int:
    """Add to the file the marks that another node made, or that it could not take.

    Returns how many. Raises ``MarksNotKept``.
    """
    file = mark_file()
    known = {each.id for each in file.lines()}
    with reading() as session:
        rows = session.scalars(select(RightsMark).order_by(RightsMark.happened_at))
        missing = [_line_of(each) for each in rows if each.id not in known]
    _add(file, missing)
    return len(missing)


def digest(key: VersionedKey, serial_number: str) -> bytes:
    """Return what a mark knows a PBX by, 32 bytes."""
    return keyed_digest(key, serial_number.encode("ascii"))


def row_of(line: Line) -> RightsMark:
    """Return a mark as a row that is not in the table yet."""
    return RightsMark(
        id=line.id,
        kind=line.kind,
        happened_at=line.happened_at,
        serial_digest=line.serial_digest,
        key_version=line.key_version,
    )


def _add(file: MarkFile, lines: Sequence[Line]) -> None:
    try:
        file.add(lines)
    except OSError:
        raise MarksNotKept from None


def _line_of(row: RightsMark) -> Line:
    return Line(row.id, row.kind, row.happened_at, row.serial_digest, row.key_version)
