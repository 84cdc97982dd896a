# SPDX-License-Identifier: Apache-2.0
"""Asks what may hang, in a thread of its own, and waits for it only so long.

While an answer is outstanding the same is not asked again: threads must not pile up
behind a database that hangs.
"""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

from flask import Flask

T = TypeVar("T")


class Question(Generic[T]):
    """One question to the application, and the thread that waits for its answer.

    ``ask`` is called in the application's context, and must not raise.
    Deadlines are of the monotonic clock.
    """

    def __init__(self, app: Flask, ask: Callable[[], T]) -> None:
        """Ask nothing yet."""
        self._app = app
        self._ask = ask
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._answer: T | None = None

    def put(self) -> None:
        """Ask, unless an earlier asking is still waited for."""
        with self._guard:
            if self._thread is not None and self._thread.is_alive():
                return
            self._answer = None
            self._thread = threading.Thread(target=self._wait, daemon=True)
            self._thread.start()

    def answer(self, deadline: float) -> T | None:
        """Return the answer; nothing where there is none by ``deadline``."""
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, deadline - monotonic()))
        return self._answer

    def _wait(self) -> None:
        with self._app.app_context():
            self._answer = self._ask()
