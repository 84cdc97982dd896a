# SPDX-License-Identifier: Apache-2.0
"""Metrics: right with several processes, and only for the operator."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask

from fleet.settings import Networks, Settings
from fleet.web.metrics import prepare_directory

MakeApp = Callable[..., Flask]

# The loopback and the monitoring network may read; 10.0.0.1 is a proxy.
SETTINGS = Settings(
    database_url="sqlite:///unused",
    metrics_networks=Networks.of("127.0.0.0/8 10.9.0.0/16 unix"),
    trusted_proxies=Networks.of("10.0.0.1"),
)


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        pytest.param("127.0.0.1", {}, 200, id="on the machine"),
        pytest.param("10.9.1.2", {}, 200, id="the monitoring"),
        pytest.param("192.0.2.7", {}, 403, id="a stranger"),
        pytest.param("10.0.0.1", {}, 403, id="a proxy for nobody knows whom"),
        pytest.param("10.0.0.1", {"X-Forwarded-For": "10.9.1.2"}, 200, id="proxied"),
        pytest.param("10.0.0.1", {"X-Forwarded-For": "1.2.3.4"}, 403, id="outsider"),
        pytest.param(
            "10.0.0.1", {"X-Forwarded-For": "127.0.0.1, 1.2.3.4"}, 403, id="a liar"
        ),
        pytest.param("127.0.0.1", {"X-Forwarded-For": "1.2.3.4"}, 403, id="unlisted"),
        pytest.param("192.0.2.7", {"X-Forwarded-For": "127.0.0.1"}, 403, id="forged"),
        pytest.param("", {}, 200, id="a Unix socket"),
    ],
)
def test_metrics_are_for(
    make_app: MakeApp, peer: str, headers: dict[str, str], status: int
) -> None:
    answer = (
        make_app(SETTINGS)
        .test_client()
        .get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": peer})
    )

    assert answer.status_code == status
    if status == 403:
        assert answer.json is not None
        assert answer.json["type"] == "/problems/operator-network-only"


def test_a_pbx_is_refused_even_from_there(make_app: MakeApp) -> None:
    app = make_app(SETTINGS, device=True)

    answer = app.test_client().get("/metrics")

    assert answer.status_code == 403


def test_nobody_is_admitted_where_no_network_is(make_app: MakeApp) -> None:
    app = make_app(replace(SETTINGS, metrics_networks=Networks()))

    assert app.test_client().get("/metrics").status_code == 403


def test_requests_are_counted_by_route_and_never_by_what_was_asked(
    small_app: Flask,
) -> None:
    client = small_app.test_client()
    client.get("/problems/PBX123456")
    client.get("/nowhere/PBX123456")
    client.get("/tea/leaves/PBX123456")

    text = client.get("/metrics").text

    assert 'callhome_requests_total{endpoint="web.problem_page",status="4xx"}' in text
    assert 'callhome_requests_total{endpoint="none",status="4xx"}' in text
    assert 'callhome_request_seconds_count{endpoint="web.problem_page"}' in text
    assert "PBX123456" not in text


COUNT = """
from fleet.web.metrics import count_request, exposition
for _ in range({count}):
    count_request("x", status=200, seconds=0.1)
print(exposition().decode())
"""


def test_the_numbers_of_all_processes_are_added_up(tmp_path: Path) -> None:
    environment = {**os.environ, **prepare_directory(tmp_path / "numbers")}
    texts = [
        subprocess.run(
            [sys.executable, "-c", COUNT.format(count=count)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for count in (2, 3)
    ]

    counted = 'callhome_requests_total{endpoint="x",status="2xx"}'
    assert f"{counted} 2.0" in texts[0]
    assert f"{counted} 5.0" in texts[1]
    prepare_directory(tmp_path / "numbers")
    assert list((tmp_path / "numbers").iterdir()) == []
