# SPDX-License-Identifier: Apache-2.0
"""What a check is compared with: a bare Flask route on the same server.

The same worker class, threads, TLS files and keep-alive as ``callhome serve``;
the route does nothing and answers ``{}``. That is what the server and Flask cost
by themselves. It shares no commit, so it is served by the pool of threads, and not
in rounds as the checks are (`fleet.server.rounds`).
"""

import os

from flask import Flask
from gunicorn.app.base import BaseApplication

from fleet.server.serve import KEEP_ALIVE_SECONDS, MOST_CONNECTIONS
from fleet.settings import Settings


def bare_app() -> Flask:
    """Return an application with one route."""
    app = Flask("bare", static_folder=None)

    @app.post("/cic/v1/check")
    def check() -> dict[str, object]:
        return {}

    return app


class _Bare(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    def load_config(self) -> None:
        settings = Settings.read(os.environ)
        for name, value in {
            "bind": settings.bind,
            "worker_class": "fleet.server.worker.CallhomeWorker",
            "workers": 1,
            "threads": settings.web_threads,
            "worker_connections": MOST_CONNECTIONS,
            "keepalive": KEEP_ALIVE_SECONDS,
            "accesslog": None,
            "loglevel": "warning",
            "control_socket_disable": True,
        }.items():
            self.cfg.set(name, value)
        if settings.tls:
            self.cfg.set("certfile", str(settings.server_certificate))
            self.cfg.set("ca_certs", str(settings.data_dir / "device-ca"))

    def load(self) -> Flask:
        return bare_app()


if __name__ == "__main__":
    _Bare().run()
