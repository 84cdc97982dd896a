# SPDX-License-Identifier: Apache-2.0
"""Programs of other projects that tests need: the one list of them.

``python tests/programs.py --install`` installs the missing ones on Debian, as
root. A test says what it needs by ``@pytest.mark.foreign("nginx")``; where that is
missing the test is skipped and named at the end of the run. With ``CI=true`` or
``CALLHOME_REQUIRE_ALL=1`` in the environment it fails instead.

As a pytest plugin: ``pytest_plugins = ["programs"]``.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Program:
    """A program, the Debian packages that it comes from, and its plugins' files."""

    name: str
    packages: tuple[str, ...]
    plugins: tuple[Path, ...] = ()

    def path(self) -> Path | None:
        """Return where it is; None where it, or a plugin of it, is not installed."""
        # Those of the administrator are not on everybody's path.
        places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
        found = shutil.which(self.name, path=places)
        if found is None or not all(plugin.exists() for plugin in self.plugins):
            return None
        return Path(found)


STRONGSWAN = Path("/usr/lib/ipsec/plugins")

PROGRAMS = {
    program.name: program
    for program in (
        Program("age", ("age",)),
        Program("chromedriver", ("chromium-driver",)),
        Program("chromium", ("chromium",)),
        Program("curl", ("curl",)),
        Program("gcc", ("gcc", "libc6-dev")),
        Program("haproxy", ("haproxy",)),
        Program("nginx", ("nginx-light",)),
        Program("openssl", ("openssl",)),
        Program("pdffonts", ("poppler-utils",)),
        Program("pdftoppm", ("poppler-utils",)),
        Program("pdftotext", ("poppler-utils",)),
        Program(
            "pki",
            (
                "strongswan-pki",
                "libstrongswan-standard-plugins",
                "libstrongswan-extra-plugins",
            ),
            (STRONGSWAN / "libstrongswan-curl.so",),
        ),
        Program("zbarimg", ("zbar-tools",)),
    )
}


def installed(name: str) -> bool:
    """Whether the program ``name`` of the list can be run."""
    return PROGRAMS[name].path() is not None


def path_of(name: str) -> str:
    """Return the path of the program ``name``, which must be installed."""
    path = PROGRAMS[name].path()
    if path is None:
        raise AssertionError(f"{name} is not installed; see tests/programs.py")
    return str(path)


def missing() -> list[Program]:
    """Return the programs of the list that are not installed."""
    return [each for each in PROGRAMS.values() if each.path() is None]


def all_are_required() -> bool:
    """Whether a missing program is a failure."""
    environ = os.environ
    wanted = environ.get("CALLHOME_REQUIRE_ALL", ""), environ.get("CI", "")
    return any(each.lower() in {"1", "true"} for each in wanted)


LEFT_OUT = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_OUT] = Counter()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, before any fixture of the test is made."""
    wanted = [name for mark in item.iter_markers("foreign") for name in mark.args]
    for name in wanted:
        if installed(name):
            continue
        item.config.stash[LEFT_OUT][name] += 1
        if all_are_required():
            pytest.fail(f"{name} is not installed", pytrace=False)
        pytest.skip(f"{name} is not installed")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name what was not run, where nobody overlooks it."""
    for name, tests in sorted(config.stash[LEFT_OUT].items()):
        packages = " ".join(PROGRAMS[name].packages)
        terminalreporter.write_line(
            f"not run for want of {name}: {tests} tests (apt-get install {packages})",
            yellow=True,
        )


def main() -> int:
    """List the programs, or install the missing ones."""
    parser = argparse.ArgumentParser(description="Programs that tests need.")
    parser.add_argument(
        "--install", action="store_true", help="install what is missing (Debian, root)"
    )
    if parser.parse_args().install:
        return _install()
    for program in PROGRAMS.values():
        print(f"{program.name:10} {program.path() or 'missing'}")
    return 0


def _install() -> int:
    wanted = [package for each in missing() for package in each.packages]
    if not wanted:
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"Not installed; tests that need them are left out: {' '.join(wanted)}")
        return 0
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    options = ["-qq", "--no-install-recommends", "--yes"]
    with _no_service_starts():
        for command in (["update", "-qq"], ["install", *options, *wanted]):
            done = subprocess.run(
                ["apt-get", *command],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                print(f"apt-get {command[0]} failed: {done.stderr.strip()}")
                return 1
    print(f"installed: {' '.join(wanted)}")
    return 0


@contextmanager
def _no_service_starts() -> Iterator[None]:
    # Debian starts a service as soon as it is installed; the tests start their
    # own, with other settings. Exit code 101 forbids it (policy-rc.d, Debian
    # Policy 9.3.3).
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


if __name__ == "__main__":
    sys.exit(main())
