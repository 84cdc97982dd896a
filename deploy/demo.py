# SPDX-License-Identifier: Apache-2.0
"""``make run``: the whole service on this machine, and a PBX living before your eyes.

Everything happens through the same commands that an operator types, and each is
shown as it is run, so that this doubles as the first page of a manual.
"""

import json
import os
import shlex
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from demo_customer import redeem

HERE = Path(__file__).resolve().parent
CALLHOME = Path(sys.executable).parent / "callhome"
DATA = Path(os.environ.get("PBX_DATA_DIR", "var"))
URL = os.environ.get("PBX_PUBLIC_URL", "https://localhost:8443")
CA = DATA / "tls" / "ca.pem"
PBX = DATA / "reference-pbx"

# The first line of the demo's factory list.
SERIAL = "CX1000000001"
SECRET = "demo-secret-0001-not-for-production"  # noqa: S105 -- of the demo's list
# And another one of it, for the reader's own hands.
OTHER_SERIAL = "CX1000000002"

READY_WITHIN_SECONDS = 30


def main() -> int:
    """Set up, serve, let a PBX live, and go on serving until interrupted."""
    # A TERM ends this as Ctrl-C does, so that no service is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say("Making what is missing: keys, certificates, database.")
    run("init")
    say("Making twelve PBXs known, as the factory would.")
    run("devices", "import", str(HERE / "demo" / "factory-list.csv"))
    say("Starting the service.")
    service = subprocess.Popen([CALLHOME, "serve"], env=quiet())  # noqa: S603 -- ours
    try:
        wait_until_ready(service)
        unpack()
        voucher = sell()
        live()
        tell_what_next(voucher)
        return service.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        stop(service)


def unpack() -> None:
    """Let the reference PBX initialise itself."""
    say("A PBX is unpacked, and initialises itself with its device secret.")
    if not PBX.exists():
        run(
            "pbx",
            "initialise",
            *("--folder", str(PBX), "--serial-number", SERIAL, "--url", URL),
            *("--ca-file", str(CA), "--root-key", str(DATA / "keys/root.pub.pem")),
            *("--catalogue", str(HERE / "demo" / "catalogue.json")),
            environment={"PBX_DEVICE_SECRET": SECRET},
        )


def sell() -> str:
    """Make three vouchers, let two be redeemed, and return the code of the third."""
    say("A product is made, and three vouchers of it, which are sold at once.")
    run(
        *("voucher", "product", "add", "--number", "17"),
        *("--name-de", "10 Benutzer", "--name-en", "10 users"),
        *("--name-fr", "10 utilisateurs"),
        *("--function", "users", "--unit", "user", "--quantity", "10"),
    )
    create = ("voucher", "batch", "create", "--product", "17", "--count", "3")
    made = show(*create, "--activate", "--plain", "--json")
    first, second, third = json.loads(made)["codes"]
    print(f"{first}\n{second}\n{third}", flush=True)
    say("The PBX redeems the first by itself.")
    run("pbx", "redeem", "--folder", str(PBX), typed=first)
    say(f"Its owner redeems the second in a browser, at {URL}/voucher/,")
    print("and types the release code into the PBX, which needs no network for that.")
    trust = ssl.create_default_context(cafile=str(CA))
    release_code = redeem(f"{URL}/voucher/", second, SERIAL, trust=trust)
    run("pbx", "enter-code", "--folder", str(PBX), typed=release_code)
    return str(third)


def live() -> None:
    """Let the reference PBX live an eventful day."""
    say("It lives: checks and syncs daily, loses its network, tries, and recovers.")
    run("pbx", "live", "--folder", str(PBX))


def tell_what_next(voucher: str) -> None:
    """Say what a newcomer can try while the service goes on."""
    token = json.loads(
        output("staff", "token", "--owner", "demo", "--role", "support", "--json")
    )["token"]
    ask = f"curl --cacert {CA} -H 'Authorization: Bearer {token}' {URL}"
    say("The service goes on until you press Ctrl-C. Try, in another terminal:")
    for line in (
        f"{ask}/cic/v1/devices/{SERIAL}",
        f"{ask}/voucher/v1/devices/{SERIAL}",
        f"{CALLHOME} pbx sync --folder {PBX}",
        f"{CALLHOME} doctor",
    ):
        print(f"    {line}")
    print("(The PBX lived days in seconds, so it will say that its clock is off.)")
    print(f"\nIn a browser (it will not know the local CA {CA}):")
    print(f"    {URL}/docs\n    {URL}/problems/")
    print(f"    {URL}/voucher/ with this voucher and the serial number of another PBX:")
    print(f"        {voucher}\n        {OTHER_SERIAL}", flush=True)


def run(
    *arguments: str,
    environment: dict[str, str] | None = None,
    typed: str | None = None,
) -> None:
    """Show and run one command; end with it where it fails.

    ``typed`` is what a person types when asked.
    """
    piped = f"echo {typed} | " if typed else ""
    print(f"    $ {piped}callhome {shlex.join(arguments)}", flush=True)
    done = subprocess.run(  # noqa: S603 -- our own command
        [CALLHOME, *arguments],
        env=quiet() | (environment or {}),
        check=False,
        text=True,
        input=f"{typed}\n" if typed else None,
    )
    if done.returncode:
        sys.exit(done.returncode)


def show(*arguments: str) -> str:
    """Show one command, and return what it prints."""
    print(f"    $ callhome {shlex.join(arguments)}", flush=True)
    return output(*arguments)


def output(*arguments: str) -> str:
    """Return what one command prints."""
    return subprocess.run(  # noqa: S603 -- our own command
        [CALLHOME, *arguments], env=quiet(), check=True, capture_output=True, text=True
    ).stdout


def quiet() -> dict[str, str]:
    """Return the environment of the commands: only warnings are logged."""
    return {"PBX_LOG_LEVEL": "warning"} | os.environ


def wait_until_ready(service: "subprocess.Popen[bytes]") -> None:
    """Wait until the service says that it is ready; end where it does not start."""
    context = ssl.create_default_context(cafile=str(CA))
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if service.poll() is not None:
            sys.exit(service.returncode or 1)
        try:
            with urllib.request.urlopen(  # noqa: S310 -- our own URL
                f"{URL}/health/ready", context=context, timeout=2
            ):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    sys.exit("the service is not ready; callhome doctor says more")


def stop(service: "subprocess.Popen[bytes]") -> None:
    """End the service and wait for it."""
    if service.poll() is None:
        service.send_signal(signal.SIGTERM)
        service.wait()


def say(text: str) -> None:
    """Say what happens next."""
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
