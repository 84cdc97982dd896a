# SPDX-License-Identifier: Apache-2.0
"""The TLS context of the server: strict, cached, and renewed while running.

gunicorn builds a context for each connection, and re-reads certificate and key
each time: slow with many CAs, and wrong for a moment whenever only one of two
files has been replaced. Here one context serves all connections. It is replaced
when a file has changed and *everything* could be loaded, and otherwise stays.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and AEAD only (RFC 9325 section 4.2)."""

LOOK_EVERY = 1.0
"""Seconds between two looks at the files."""

RENEW_EVERY = 60.0
"""Seconds a context lives though nothing changed.

Tickets are off, but Python cannot switch off the cache of TLS 1.2 session ids,
which belongs to the context: so no session can be resumed for longer than this.
"""

Stamp = tuple[str, int, int, int]


class TlsError(RuntimeError):
    """The TLS files cannot be used; the text names the file and the setting.

    gunicorn prints a RuntimeError at start as one line and exits.
    """


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """Where certificate, key and device CAs lie, by gunicorn's settings.

    ``certfile`` may hold the key as well (one file is rotated in one rename);
    ``ca_certs`` is a folder whose ``*.pem`` are all trusted, or one file, or
    None where no client certificate is ever asked for.
    """

    certfile: Path
    keyfile: Path | None = None
    ca_certs: Path | None = None

    def authorities(self) -> tuple[Path, ...]:
        """List the CA files, sorted, so that a look sees the same order."""
        if self.ca_certs is None:
            return ()
        if self.ca_certs.is_dir():
            return tuple(sorted(self.ca_certs.glob("*.pem")))
        return (self.ca_certs,)

    def stamps(self) -> tuple[Stamp, ...]:
        """Say for each file what changes when it is replaced or rewritten."""
        files = (self.certfile, self.keyfile, *self.authorities())
        return tuple(_stamp(file) for file in files if file is not None)


def _stamp(file: Path) -> Stamp:
    try:
        status = file.stat()
    except OSError:
        return (str(file), 0, 0, 0)
    return (str(file), status.st_mtime_ns, status.st_size, status.st_ino)


class TlsContext:
    """The one context of a process, and the watch over its files.

    Raises `TlsError` when made from files that cannot be used. Later trouble
    is told once for each change to ``complain`` and otherwise has no effect.
    """

    def __init__(
        self, files: TlsFiles, *, now: float, complain: Callable[[str], object]
    ) -> None:
        """Load everything; ``now`` is monotonic, as in `current`."""
        self.files = files
        self._complain = complain
        self._stamps = files.stamps()
        self._context = build_context(files)
        self._looked_at = self._built_at = now

    def current(self, *, now: float) -> ssl.SSLContext:
        """Return the context for a connection that begins now."""
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._look(now)
        return self._context

    def _look(self, now: float) -> None:
        stamps = self.files.stamps()
        if stamps == self._stamps and now - self._built_at < RENEW_EVERY:
            return
        changed = stamps != self._stamps
        self._stamps, self._built_at = stamps, now
        try:
            self._context = build_context(self.files)
        except TlsError as error:
            if changed:
                self._complain(f"TLS files not reloaded, the old ones stay. {error}")


def build_context(files: TlsFiles) -> ssl.SSLContext:
    """Build a server context, or raise `TlsError` and say which file is at fault.

    A client without certificate gets in (open routes exist, and the application
    asks again); one with a bad certificate gets a TLS alert.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= (
        ssl.OP_NO_TICKET
        | ssl.OP_NO_RENEGOTIATION
        | ssl.OP_NO_COMPRESSION
        | ssl.OP_CIPHER_SERVER_PREFERENCE
    )
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, files)
    if files.ca_certs is not None:
        _load_authorities(context, files)
    return context


def _load_certificate(context: ssl.SSLContext, files: TlsFiles) -> None:
    key = files.keyfile or files.certfile
    for file, setting in ((files.certfile, "certfile"), (key, "keyfile")):
        _read(file, setting)
    try:
        context.load_cert_chain(files.certfile, files.keyfile, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(
            f"{files.certfile} (setting certfile) and {key} (setting keyfile): no "
            f"certificate with its unencrypted private key. {_reason(error)}"
        ) from None


def _load_authorities(context: ssl.SSLContext, files: TlsFiles) -> None:
    context.verify_mode = ssl.CERT_OPTIONAL
    # An issuing CA in the folder is trusted by itself, without its root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    authorities = files.authorities()
    if not authorities:
        raise TlsError(f"{files.ca_certs} (setting ca_certs): no *.pem in this folder.")
    for file in authorities:
        pem = _read(file, "ca_certs")
        try:
            context.load_verify_locations(cadata=pem.decode("ascii", "ignore"))
        except (ssl.SSLError, ValueError) as error:
            raise TlsError(
                f"{file} (setting ca_certs): no CA certificate. {_reason(error)}"
            ) from None


def _read(file: Path, setting: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TlsError(f"{file} (setting {setting}): {error.strerror}.") from None


def _no_password() -> str:
    # OpenSSL would ask on the terminal, and the server would wait there.
    raise ValueError("The private key is encrypted.")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"OpenSSL says {error.reason or 'that it cannot be read'}."
    return str(error)
