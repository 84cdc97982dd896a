# SPDX-License-Identifier: Apache-2.0
"""The service as an operator runs it: `callhome serve` in processes of its own.

For what a test client inside this process cannot show: real sockets and real
TLS, a crash at any moment, a restart, a proxy in front, a foreign program.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parents[1]

READY_SECONDS = 30.0
STOP_SECONDS = 30.0
ANSWER_SECONDS = 30.0

CALLHOME = (sys.executable, "-c", "from wsgi import callhome; callhome()")


@dataclass(frozen=True)
class Reply:
    """What came back over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the problem that the body names; "" where it is none."""
        if "problem+json" not in self.headers.get("content-type", ""):
            return ""
        return str(self.json["type"]).rpartition("/")[2]


class Service:
    """One installation in a folder of its own, and the processes that serve it.

        with Service(tmp_path, PBX_GRACE_DAYS="3") as service:
            service.request("GET", "/health/live")

    ``PBX_*`` settings are given as they are in the environment; no other reaches
    the service. A setting may be changed between two starts (``service.settings``).
    """

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str = "",
        data: Path | None = None,
        host: str = "127.0.0.1",
        environment: Mapping[str, str] | None = None,
        **settings: str,
    ) -> None:
        """Prepare the installation; ``start`` begins to serve.

        ``data`` is a data directory to copy instead of making one, which takes a
        second or two (``Service.make_data``). ``environment`` is for whatever is
        no setting.
        """
        self.folder = folder
        self.data_dir = folder / "var"
        self.log_file = folder / "service.log"
        self.host = host
        self.port = free_port(host)
        self.process: subprocess.Popen[bytes] | None = None
        self.settings = {
            "PBX_DATA_DIR": str(self.data_dir),
            "PBX_DATABASE_URL": database_url,
            "PBX_PUBLIC_URL": f"https://localhost:{self.port}",
            "PBX_BIND": f"{host}:{self.port}",
            **settings,
        }
        self._environment = dict(environment or {})
        folder.mkdir(parents=True, exist_ok=True)
        if data is not None:
            shutil.copytree(data, self.data_dir)
        self._initialised = data is not None and not database_url

    @classmethod
    def make_data(cls, folder: Path) -> Path:
        """Make a data directory with SQLite, to be handed in as ``data``."""
        service = cls(folder)
        service.run("init")
        return service.data_dir

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, if it has not been stopped."""
        self.close()

    @property
    def tls(self) -> bool:
        """Whether TLS ends here, and not at a proxy."""
        return self.settings.get("PBX_TLS", "on") == "on"

    @property
    def url(self) -> str:
        """Where it is reached, without a proxy."""
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{'localhost' if self.tls else self.host}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """Whom a client must trust to believe this server."""
        return self.data_dir / "tls" / "ca.pem"

    @property
    def environment(self) -> dict[str, str]:
        """The environment that every command runs in."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PBX_")}
        inherited.pop("PROMETHEUS_MULTIPROC_DIR", None)
        path = os.pathsep.join(filter(None, [str(ROOT), inherited.get("PYTHONPATH")]))
        return inherited | {"PYTHONPATH": path} | self._environment | self.settings

    def run(self, *words: str, check: bool = True) -> str:
        """Type ``callhome WORDS``; return what it prints on standard output."""
        done = subprocess.run(
            [*CALLHOME, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"callhome {words}: {done.stderr}{done.stdout}")
        return done.stdout

    def import_devices(self, rows: Iterable[tuple[str, str]], *more: str) -> None:
        """Take PBXs in by the factory list: serial numbers and device secrets."""
        file = self.folder / "factory.csv"
        head = (
            "serial_number,mac_address,part_number,device_type,hardware_revision,"
            "device_secret,support_ends_on"
        )
        lines = [f"{serial},,P1,COMtrexx VM,1.0,{secret}," for serial, secret in rows]
        file.write_text("\n".join([head, *lines, ""]), encoding="utf-8")
        self._initialise()
        self.run("devices", "import", str(file), *more)

    def staff(self, role: str = "support") -> dict[str, str]:
        """Make a staff token; return the header that shows it."""
        self._initialise()
        options = ["--owner", "Anna Agent", "--role", role]
        said = json.loads(self.run("staff", "token", *options, "--json"))
        return {"Authorization": f"Bearer {said['token']}"}

    def start(self, *, wait: bool = True) -> None:
        """Begin to serve; return when it is ready, unless told not to ``wait``."""
        self._initialise()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*CALLHOME, "serve"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait for ``GET /health/ready`` to say 200; fail with the log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise AssertionError(f"did not start: {self.logged()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/health/ready", timeout=3).status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"not ready in time: {self.logged()}")

    def stop(self) -> int:
        """End it as a supervisor does (SIGTERM); return the exit code."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        self._wait_for_end()
        self._end_group()
        return process.wait()

    def kill(self) -> None:
        """End every process of it at once, as a power failure does."""
        self._end_group()
        self._running().wait()

    def restart(self) -> None:
        """Stop, and start again at the same address."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Leave nothing behind that runs."""
        if self.process is not None and self.process.returncode is None:
            self.stop()
        self.process = None

    def workers(self) -> list[int]:
        """Return the process ids of what the main process has started."""
        process = self._running()
        task = Path(f"/proc/{process.pid}/task")
        found = (each / "children" for each in task.iterdir())
        return [int(pid) for file in found for pid in file.read_text().split()]

    def logged(self) -> str:
        """Return all that it has said since the first start."""
        return self.log_file.read_text("utf-8") if self.log_file.exists() else ""

    def context(self, certificate: Path | None = None) -> ssl.SSLContext:
        """Return what a client needs: trust, and a PEM of certificate and key."""
        return client_context(self.ca_file, certificate)

    def connect(self, certificate: Path | None = None) -> http.client.HTTPConnection:
        """Open a connection that can be kept alive."""
        context = self.context(certificate) if self.tls else None
        return connect(self.host, self.port, context=context)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        certificate: Path | None = None,
        timeout: float = ANSWER_SECONDS,
    ) -> Reply:
        """Ask once, on a new connection, without a proxy."""
        context = self.context(certificate) if self.tls else None
        connection = connect(self.host, self.port, context=context, timeout=timeout)
        with contextlib.closing(connection):
            return ask(connection, method, path, json=json, body=body, headers=headers)

    def _initialise(self) -> None:
        if not self._initialised:
            self.run("init")
            self._initialised = True

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise AssertionError("the service has not been started")
        return self.process

    def _wait_for_end(self) -> None:
        # Left a zombie, so that its id stays its own until the group is ended.
        pid = self._running().pid
        options = os.WEXITED | os.WNOWAIT | os.WNOHANG
        deadline = time.monotonic() + STOP_SECONDS
        while os.waitid(os.P_PID, pid, options) is None:
            if time.monotonic() > deadline:
                self._end_group()
                raise AssertionError(f"did not stop in time: {self.logged()}")
            time.sleep(0.02)

    def _end_group(self) -> None:
        # The main process leads a group of its own, and is not yet waited for: so
        # this ends its workers and its jobs process as well, and nobody else.
        os.killpg(self._running().pid, signal.SIGKILL)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def client_context(ca_file: Path, certificate: Path | None = None) -> ssl.SSLContext:
    """Trust the servers of ``ca_file``; show the PEM of certificate and key."""
    context = ssl.create_default_context(cafile=ca_file)
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def connect(
    host: str,
    port: int,
    *,
    context: ssl.SSLContext | None = None,
    source: str | None = None,
    timeout: float = ANSWER_SECONDS,
) -> http.client.HTTPConnection:
    """Prepare a connection, from the address ``source``; TLS with a ``context``."""
    bound = (source, 0) if source else None
    if context is None:
        return http.client.HTTPConnection(
            host, port, timeout=timeout, source_address=bound
        )
    return http.client.HTTPSConnection(
        host, port, timeout=timeout, source_address=bound, context=context
    )


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    *,
    json: object = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
) -> Reply:
    """Send one request, headers exactly as given, also twice; return the answer.

    Raises as the socket does where the other side ends the connection or TLS.
    """
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if json is not None:
        body = _encoded(json)
        pairs.append(("Content-Type", "application/json"))
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in pairs:
        connection.putheader(name, value)
    if body is not None or method != "GET":
        connection.putheader("Content-Length", str(len(body or b"")))
    connection.endheaders(body)
    answer = connection.getresponse()
    found = {name.lower(): value for name, value in answer.getheaders()}
    return Reply(answer.status, found, answer.read())


def _encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def wait_for_port(host: str, port: int, *, seconds: float = 10.0) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def end(process: subprocess.Popen[bytes], log: IO[bytes] | None = None) -> None:
    """End a process that a test has started, whatever it thinks of that."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)
    if log is not None:
        log.close()
