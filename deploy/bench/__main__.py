# SPDX-License-Identifier: Apache-2.0
"""Measures licence checks against a bare route, redemptions against checks, retention.

Every server has one process on one core, the client has another core, and a
database server is on the client's. All servers run all the time and take turns,
a few seconds each, so that whatever else the machine does meets all of them. A
ratio compares neighbours in one round; the median of the rounds is what counts.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.bench import measure, redemptions, report, retention
from deploy.bench.load import Trust
from deploy.bench.pbxs import Pbx, enrol
from deploy.bench.places import CLIENT_CORE, Place, Postgres, on_core, start
from fleet.settings import Settings

SERVE = ["-c", "from wsgi import callhome; callhome()", "serve"]
BARE = ["-m", "deploy.bench.bare"]
KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
RESULT = Path(__file__).parent.parent / "benchmarks.md"


class Stage:
    """Two installations with their PBXs, and servers over them."""

    def __init__(self, folder: Path, stack: ExitStack, *, pbxs: int) -> None:
        """Set up under ``folder``; ``stack`` ends what is started."""
        self._folder = folder
        self._stack = stack
        self._base = folder / "base"
        self.postgres = Postgres(folder / "postgres")
        stack.callback(self.postgres.stop)
        sqlite = Settings(data_dir=self._base)
        postgresql = Settings(
            data_dir=self._base, database_url=self.postgres.create_database("bench")
        )
        self.settings = {"sqlite": sqlite, "postgresql": postgresql}
        self.pbxs: dict[str, list[Pbx]] = {
            "sqlite": enrol(sqlite, folder / "pbxs-sqlite", pbxs),
            "postgresql": enrol(postgresql, folder / "pbxs-postgresql", pbxs),
        }
        self.pbxs["bare"] = self.pbxs["sqlite"]
        self.authority = self._base / "tls" / "ca.pem"

    def start(self, name: str, *, tls: bool) -> Place:
        """Start the server ``name`` with a data directory of its own."""
        data_dir = self._folder / f"{name}-{'tls' if tls else 'plain'}"
        shutil.copytree(
            self._base, data_dir, ignore=shutil.ignore_patterns("*.sqlite3*")
        )
        settings = {"PBX_DATA_DIR": str(data_dir)}
        if not tls:
            settings |= {"PBX_TLS": "off", "PBX_TRUSTED_PROXIES": "127.0.0.1"}
        if name in self.settings:
            url = self.settings[name].effective_database_url
            settings["PBX_DATABASE_URL"] = url
        place = start(name, BARE if name == "bare" else SERVE, settings)
        self._stack.callback(place.stop)
        return place


@contextmanager
def _stage(pbxs: int) -> Iterator[Stage]:
    # Not in a folder that others cannot enter: PostgreSQL runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="callhome-bench-"))
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield Stage(folder, stack, pbxs=pbxs)


def _measured(stage: Stage, plan: measure.Plan) -> list[measure.Table]:
    names = ("bare", "sqlite", "postgresql")
    plain = [stage.start(name, tls=False) for name in names]
    secure = [stage.start(name, tls=True) for name in names]
    trust = Trust(stage.authority)
    database = stage.postgres.cpu_seconds
    return [
        measure.keep_alive(
            "keep-alive, behind a proxy (plain HTTP)",
            plain,
            {name: plan.behind_proxy(stage.pbxs[name]) for name in names},
            Trust(None),
            plan=plan,
            database=database,
        ),
        measure.keep_alive(
            "keep-alive, mutual TLS",
            secure,
            {name: plan.over_tls(stage.pbxs[name]) for name in names},
            trust,
            plan=plan,
            database=database,
        ),
        measure.visits(
            "one new mutual-TLS connection for each request",
            secure,
            {name: plan.visitors(stage.pbxs[name]) for name in names},
            trust,
            plan=plan,
            database=database,
        ),
        *(
            redemptions.beside_checks(
                f"redemption, behind a proxy, {KINDS[place.name]}",
                place,
                stage.pbxs[place.name],
                redemptions.sell(stage.settings[place.name], plan),
                plan=plan,
                database=database,
            )
            for place in plain
            if place.name in KINDS
        ),
    ]


def main() -> None:
    """Measure, print the table, and write it to ``deploy/benchmarks.md``."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="for each turn")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--visits", type=int, default=120, help="for each turn")
    parser.add_argument("--output", type=Path, default=RESULT)
    chosen = parser.parse_args()
    plan = measure.Plan(
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        connections=chosen.connections,
        visits=chosen.visits,
    )
    with on_core(CLIENT_CORE), _stage(plan.pbxs) as stage:
        tables = _measured(stage, plan)
    kept = retention.Plan()
    text = report.as_markdown(tables, plan)
    text += f"\n{retention.section(retention.measured(kept), kept)}"
    print(text)
    chosen.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
