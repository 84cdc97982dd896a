# SPDX-License-Identifier: Apache-2.0
"""Real proxies, run from the very configurations in ``deploy/``.

Only ports, addresses and paths are put in; each that is must occur, so that a
configuration cannot change without its tests.
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from programs import path_of
from service import ROOT, end, free_port, wait_for_port

# The proxies call from this address, and only this one is trusted.
PROXY = "127.0.0.2"
HOST = "127.0.0.1"


@dataclass
class Front:
    """A proxy in front of a service; ``devices`` and ``people`` are its ports."""

    name: str
    process: subprocess.Popen[bytes]
    log_file: Path
    devices: int
    people: int

    def stop(self) -> None:
        end(self.process)

    def logged(self) -> str:
        return self.log_file.read_text()


@dataclass(frozen=True)
class Site:
    """What a proxy is to stand in front of, and with which files."""

    folder: Path
    backend: int
    server_pem: Path
    device_ca: Path
    changes: Mapping[str, str] = field(default_factory=dict)


def start(name: str, site: Site) -> Front:
    """Start nginx or haproxy; return when it listens."""
    devices, people = free_port(), free_port()
    site.folder.mkdir(parents=True, exist_ok=True)
    text = _put(name, site, devices=devices, people=people)
    file = site.folder / f"{name}.conf"
    file.write_text(text)
    log_file = site.folder / f"{name}.log"
    command = {
        "nginx": ["-p", str(site.folder), "-e", "stderr", "-c", str(file)],
        "haproxy": ["-db", "-f", str(file)],
    }[name]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [path_of(name), *command],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    front = Front(name, process, log_file, devices, people)
    try:
        wait_for_port(HOST, devices)
        wait_for_port(HOST, people)
    except OSError:
        front.stop()
        raise AssertionError(f"{name} did not start: {front.logged()}") from None
    return front


def _put(name: str, site: Site, *, devices: int, people: int) -> str:
    ports = {"nginx": _nginx, "haproxy": _haproxy}[name]
    text = (ROOT / "deploy" / f"{name}.{SUFFIX[name]}").read_text()
    files = {
        "/etc/callhome/server.pem": str(site.server_pem),
        "/etc/callhome/device-ca.pem": str(site.device_ca),
        "127.0.0.1:8080": f"{HOST}:{site.backend}",
    }
    # First what a test changes of the configuration as it is written.
    steps = {**site.changes, **ports(site, devices=devices, people=people), **files}
    for old, new in steps.items():
        assert old in text, f"{name}: {old!r} is no longer in the configuration"
        text = text.replace(old, new)
    return text


SUFFIX = {"nginx": "conf", "haproxy": "cfg"}


def _nginx(site: Site, *, devices: int, people: int) -> dict[str, str]:
    folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(
        f" {each}_temp_path {site.folder}/nginx-{each};" for each in folders
    )
    return {
        "listen 8443 ssl": f"listen {HOST}:{devices} ssl",
        "listen 443 ssl": f"listen {HOST}:{people} ssl",
        "worker_processes auto": "worker_processes 1",
        "worker_rlimit_nofile 65536": "worker_rlimit_nofile 1024",
        "worker_connections 16384": "worker_connections 512",
        "/run/nginx.pid": f"{site.folder}/nginx.pid; daemon off",
        "/var/log/nginx/callhome-error.log crit": "stderr crit",
        "proxy_http_version      1.1;": f"proxy_http_version 1.1; proxy_bind {PROXY};",
        "http {": "http {" + places,
    }


def _haproxy(_site: Site, *, devices: int, people: int) -> dict[str, str]:
    steps = {
        "bind :8443": f"bind {HOST}:{devices}",
        "bind :443": f"bind {HOST}:{people}",
        "maxconn 20000": "maxconn 500",
        "log /dev/log local0 notice": "log stderr format raw local0 notice",
        "server callhome 127.0.0.1:8080": "server callhome 127.0.0.1:8080 "
        f"source {PROXY}",
    }
    if os.geteuid() != 0:  # there is nobody else to become
        steps |= {"    user haproxy\n": "", "    group haproxy\n": ""}
    return steps
