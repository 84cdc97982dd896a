# SPDX-License-Identifier: Apache-2.0
"""A room for each hour of access records, on PostgreSQL.

DELETE leaves the bytes of a row in its file; DROP does not. So access records are
kept in a partition for each UTC hour, which goes as a whole when its hour is over
its age, and is written anew without what is too old while it is only half so:
nothing waits for the end of its hour.

There is no default partition, where something could be forgotten. Whoever writes
asks for the hour's room first (``access_record_room``), or learns that there is none
and asks somebody else to (``access_record_add``, for the licence check, which no
record may hold up). What makes and forgets rooms runs as the owner of the tables, so
that the service itself need own nothing; it may be called by those who may write
access records, and by nobody else. No statistics are gathered of addresses:
``pg_stats`` would tell them to everybody who may read the table, and for longer.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = "id, service, accessed_at, address, device_type, software_version"

# "access" in ASCII: nobody else in this database locks this number.
LOCK = 0x616363657373

ROOM = """
    CREATE FUNCTION access_record_room(at timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp
    SET lock_timeout = '5s' AS $$
    DECLARE
      begins timestamptz := date_trunc('hour', at, 'UTC');
      room text := 'access_record_'
        || to_char(begins AT TIME ZONE 'UTC', 'YYYYMMDDHH24');
    BEGIN
      IF to_regclass(quote_ident(room)) IS NOT NULL THEN RETURN; END IF;
      PERFORM pg_advisory_xact_lock({lock});
      IF to_regclass(quote_ident(room)) IS NOT NULL THEN RETURN; END IF;
      EXECUTE format(
        'CREATE TABLE %I (LIKE access_record INCLUDING DEFAULTS INCLUDING INDEXES)',
        room);
      EXECUTE format('ALTER TABLE %I ALTER address SET STATISTICS 0', room);
      -- Attached rather than made as a partition: that would stop every writer.
      EXECUTE format(
        'ALTER TABLE access_record ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        room, begins, begins + interval '1 hour');
    END $$
"""

# What is too old, or after ``ceiling``: no clock that is right has been there yet.
# Writers queue behind a lock that waits, so it waits for no longer than they may.
EXPIRE = """
    CREATE FUNCTION access_record_expire(
      at timestamptz, cutoff timestamptz, ceiling timestamptz)
    RETURNS TABLE (of_service varchar, misdated boolean, expired bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp
    SET lock_timeout = '300ms' AS $$
    DECLARE
      begins timestamptz := date_trunc('hour', at, 'UTC');
      ends timestamptz := begins + interval '1 hour';
      room text := 'access_record_'
        || to_char(begins AT TIME ZONE 'UTC', 'YYYYMMDDHH24');
      rest text := room || '_rest';
      anything boolean;
    BEGIN
      IF to_regclass(quote_ident(room)) IS NULL THEN RETURN; END IF;
      EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', room);
      RETURN QUERY EXECUTE format(
        'SELECT service, accessed_at > $2, count(*) FROM %I
         WHERE accessed_at <= $1 OR accessed_at > $2 GROUP BY 1, 2', room)
        USING cutoff, ceiling;
      anything := FOUND;
      IF ends <= cutoff THEN
        EXECUTE format('DROP TABLE %I', room);
      ELSIF anything THEN
        EXECUTE format(
          'CREATE TABLE %I (LIKE access_record INCLUDING DEFAULTS INCLUDING INDEXES)',
          rest);
        EXECUTE format('ALTER TABLE %I ALTER address SET STATISTICS 0', rest);
        EXECUTE format(
          'INSERT INTO %I SELECT * FROM %I
           WHERE accessed_at > $1 AND accessed_at <= $2', rest, room)
          USING cutoff, ceiling;
        EXECUTE format('DROP TABLE %I', room);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', rest, room);
        EXECUTE format(
          'ALTER TABLE access_record ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
          room, begins, ends);
      END IF;
    END $$
"""

# Says whether there was room; what else goes on in the caller's transaction stays.
ADD = """
    CREATE FUNCTION access_record_add(records json) RETURNS boolean
    LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
    BEGIN
      INSERT INTO access_record
        (service, accessed_at, address, device_type, software_version)
      SELECT * FROM json_to_recordset(records) AS new (
        service text, accessed_at timestamptz, address text, device_type text,
        software_version text);
      RETURN true;
    EXCEPTION WHEN check_violation OR lock_not_available THEN
      RETURN false;
    END $$
"""

# Whoever could write access records still can.
GRANT = """
    DO $$
    DECLARE
      who text;
    BEGIN
      REVOKE EXECUTE ON FUNCTION access_record_room(timestamptz),
        access_record_expire(timestamptz, timestamptz, timestamptz) FROM PUBLIC;
      FOR who IN
        SELECT DISTINCT grantee::regrole::text FROM pg_class, aclexplode(relacl)
        WHERE pg_class.oid = 'access_record_before'::regclass
          AND privilege_type = 'INSERT' AND grantee NOT IN (0, relowner)
      LOOP
        EXECUTE format(
          'GRANT SELECT, INSERT, UPDATE, DELETE ON access_record TO %s', who);
        EXECUTE format(
          'GRANT EXECUTE ON FUNCTION access_record_room(timestamptz),
             access_record_expire(timestamptz, timestamptz, timestamptz) TO %s', who);
      END LOOP;
    END $$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("ALTER SEQUENCE access_record_id_seq OWNED BY NONE")
    _rename("access_record", "access_record_before")
    op.execute("""
        CREATE TABLE access_record (
          id bigint NOT NULL DEFAULT nextval('access_record_id_seq'),
          service varchar(16) NOT NULL,
          accessed_at timestamptz NOT NULL,
          address varchar(45) NOT NULL,
          device_type varchar(64),
          software_version varchar(64)
        ) PARTITION BY RANGE (accessed_at)
    """)
    op.execute("ALTER TABLE access_record ALTER address SET STATISTICS 0")
    op.execute(
        "CREATE INDEX ix_access_record_accessed_at ON access_record (accessed_at)"
    )
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    for function in (ROOM, EXPIRE, ADD):
        op.execute(function.format(schema=schema, lock=LOCK))
    op.execute(GRANT)
    op.execute("""
        SELECT access_record_room(hour) FROM (
          SELECT DISTINCT date_trunc('hour', accessed_at, 'UTC') AS hour
          FROM access_record_before) AS hours
    """)
    _move("access_record_before", "access_record")


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute(
        "DROP FUNCTION access_record_expire(timestamptz, timestamptz, timestamptz)"
    )
    op.execute("DROP FUNCTION access_record_room(timestamptz)")
    op.execute("DROP FUNCTION access_record_add(json)")
    _rename("access_record", "access_record_rooms")
    op.execute("""
        CREATE TABLE access_record (
          id bigint NOT NULL DEFAULT nextval('access_record_id_seq'),
          service varchar(16) NOT NULL,
          accessed_at timestamptz NOT NULL,
          address varchar(45) NOT NULL,
          device_type varchar(64),
          software_version varchar(64),
          CONSTRAINT pk_access_record PRIMARY KEY (id)
        )
    """)
    op.execute("ALTER SEQUENCE access_record_id_seq OWNED BY access_record.id")
    op.execute(
        "CREATE INDEX ix_access_record_accessed_at ON access_record (accessed_at)"
    )
    _move("access_record_rooms", "access_record")


def _rename(table: str, other: str) -> None:
    """Get ``table`` and its index out of the way."""
    op.execute(f"ALTER TABLE {table} RENAME TO {other}")
    op.execute(f"ALTER INDEX ix_{table}_accessed_at RENAME TO ix_{other}_accessed_at")
    op.execute(f"ALTER TABLE {other} ALTER id DROP DEFAULT")


def _move(source: str, target: str) -> None:
    op.execute(f"INSERT INTO {target} ({COLUMNS}) SELECT {COLUMNS} FROM {source}")  # noqa: S608 -- our own names
    op.execute(f"DROP TABLE {source}")
