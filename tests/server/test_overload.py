# SPDX-License-Identifier: Apache-2.0
"""More requests than can be served: most get 503 at once, checks come first."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from server.harness import Answer, Server, post


@pytest.fixture
def narrow(start: Callable[..., Server]) -> Server:
    """Serve 40 requests a second, by two threads."""
    return start(threads=2, options="check_wait_seconds=0.5, other_wait_seconds=0.25")


def hammer(server: Server, path: str, *, until: float) -> list[tuple[float, Answer]]:
    seen = []
    with server.connect() as client:
        while time.monotonic() < until:
            begun = time.monotonic()
            answer = client.get(path)
            seen.append((time.monotonic() - begun, answer))
            if answer.status == 503:
                time.sleep(0.02)
    return seen


def test_overload_is_shed_early_and_checks_come_first(narrow: Server) -> None:
    until = time.monotonic() + 4
    with ThreadPoolExecutor(80) as pool:
        checks = [
            pool.submit(hammer, narrow, "/cic/slow?0.05", until=until)
            for _ in range(15)
        ]
        others = [
            pool.submit(hammer, narrow, "/slow?0.05", until=until) for _ in range(60)
        ]
        check_answers = [answer for future in checks for answer in future.result()]
        other_answers = [answer for future in others for answer in future.result()]
    of_checks = Counter(answer.status for _, answer in check_answers)
    of_others = Counter(answer.status for _, answer in other_answers)
    assert set(of_checks) | set(of_others) <= {200, 503}
    assert of_checks[200] > 5 * of_others[200]
    assert of_checks[200] > of_checks[503]
    assert of_others[503] > 500
    # Whoever is not served is told so at once.
    waits = sorted(wait for wait, answer in other_answers if answer.status == 503)
    assert waits[len(waits) // 2] < 0.1
    refused = [answer for _, answer in other_answers if answer.status == 503]
    assert json.loads(refused[0].body)["type"] == "/problems/service-busy"
    assert refused[0].fields["connection"] == "keep-alive"
    given = Counter(int(answer.fields["retry-after"]) for answer in refused)
    assert len(given) > 20
    assert max(given) > 30
    assert min(given) >= 1


def test_a_refused_upload_is_not_kept(start: Callable[..., Server]) -> None:
    server = start(options="bulk_threads=1, bulk_backlog=1")

    def upload() -> tuple[int, str]:
        with server.connect() as client:
            client.send(post("/backup/slow?1", b"x" * 100_000)[:50_000])
            answer = client.answer()
            return answer.status, answer.fields["connection"]

    with ThreadPoolExecutor(6) as pool:
        futures = []
        for _ in range(6):
            futures.append(pool.submit(upload))
            time.sleep(0.05)
        assert server.check() < 0.5
        seen = Counter(future.result() for future in futures)
    assert seen == {(200, "close"): 2, (503, "close"): 4}


def test_head_is_shed_without_a_body(narrow: Server) -> None:
    until = time.monotonic() + 2.2
    busy = [
        threading.Thread(
            target=hammer, args=(narrow, "/cic/slow?0.05"), kwargs={"until": until}
        )
        for _ in range(40)
    ]
    for thread in busy:
        thread.start()
    time.sleep(1.5)
    with narrow.connect() as client:
        for _ in range(3):
            client.send(b"HEAD /slow?0.05 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.answer(bodiless=True).status == 503
    for thread in busy:
        thread.join()
