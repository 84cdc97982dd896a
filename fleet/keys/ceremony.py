# SPDX-License-Identifier: Apache-2.0
"""The ceremony of the root key, as files: who has what, and what is handed over.

The server has signing keys and the public half of the root; the root's private
half is carried away and stays off every network. To change the key set, the
server writes a *request* (public keys only), the root holder signs it into a
new key set on the offline machine, and the server installs that after checking
it. Below, ``keys`` is the folder ``keys`` of the data directory:

``keys/signing/<kid>.pem``, ``keys/signing/<kid>.json``
    a private signing key, and its public description for as long as it awaits
    the root: that is what a request asks to have listed.
``keys/root.pub.pem``, ``keys/keyset.jwt``
    the public half of the root, and the key set that it signed.
"""

import json
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from joserfc.jwk import OKPKey

from fleet.keys import jws
from fleet.keys.errors import KeyFault, KeySetFault
from fleet.keys.files import PUBLIC, SECRET, make_folder, replace, write_new
from fleet.keys.keyset import (
    PURPOSES,
    SIGNING_KEY_LIFE,
    KeySet,
    ListedKey,
    check_purpose,
    listed,
    next_key_set,
    read_jwk,
    read_key_set,
)


def root_file(data_dir: Path) -> Path:
    """Return where ``init`` puts the root's private half, to be carried away."""
    return data_dir / "offline-root" / "root.pem"


def public_root_file(keys: Path) -> Path:
    """Return where the root's public half is."""
    return keys / "root.pub.pem"


def key_set_file(keys: Path) -> Path:
    """Return where the installed key set is."""
    return keys / "keyset.jwt"


def private_key_file(keys: Path, kid: str) -> Path:
    """Return where the private half of a listed key is, if this server has it."""
    return keys / "signing" / f"{kid}.pem"


def create_root(private: Path, public: Path) -> bool:
    """Make a root key and say whether that was needed.

    An interrupted attempt is finished: the public half is written from the
    private one. Raises ``KeyFault`` where the private half is no Ed25519 key.
    """
    if public.exists():
        return False
    make_folder(private.parent)
    write_new(private, jws.private_pem(jws.new_key()), mode=SECRET)
    root = jws.read_private_pem(private.read_bytes())
    make_folder(public.parent)
    return write_new(public, jws.public_pem(root), mode=PUBLIC)


def create_signing_key(
    keys: Path,
    *,
    purpose: str,
    now: datetime,
    use_in: timedelta = timedelta(0),
    life: timedelta = SIGNING_KEY_LIFE,
) -> ListedKey:
    """Make a signing key, first used after ``use_in``, and describe it.

    It signs nothing before the root has listed it. ``use_in`` is the time that
    PBXs have to learn of it. Raises ``KeyFault`` for an impossible purpose.
    """
    check_purpose(purpose)
    key = jws.new_key()
    begins = now + use_in
    entry = listed(key, purpose=purpose, not_before=begins, not_after=begins + life)
    private = private_key_file(keys, entry.kid)
    make_folder(private.parent)
    write_new(private, jws.private_pem(key), mode=SECRET)
    text = json.dumps(entry.as_jwk(), indent=2) + "\n"
    write_new(_description_file(keys, entry.kid), text.encode(), mode=PUBLIC)
    return entry


def installed(keys: Path) -> KeySet | None:
    """Return the installed key set, verified; nothing where there is none.

    Raises ``KeySetFault`` where it is not the root's.
    """
    try:
        token = key_set_file(keys).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except ValueError:
        raise KeySetFault("the installed key set is no text") from None
    return read_key_set(token, public_root(keys))


def public_root(keys: Path) -> OKPKey:
    """Return the root's public key; raise ``KeySetFault`` where it is missing."""
    try:
        return jws.read_public_pem(public_root_file(keys).read_bytes())
    except (FileNotFoundError, KeyFault):
        raise KeySetFault("the root's public key is missing or broken") from None


def pending(keys: Path) -> list[ListedKey]:
    """List the keys of this server that the root has not listed yet."""
    current = installed(keys)
    known = {key.kid for key in current.keys} if current else set()
    described = (
        read_jwk(json.loads(path.read_bytes()))
        for path in sorted((keys / "signing").glob("*.json"))
    )
    return [entry for entry in described if entry.kid not in known]


def signing_request(keys: Path, *, issuer: str) -> str:
    """Write down what the root holder is asked to sign: nothing in it is secret."""
    current = installed(keys)
    request = {
        "issuer": issuer,
        "current": current.token if current else None,
        "add": [entry.as_jwk() for entry in pending(keys)],
    }
    return json.dumps(request, indent=2) + "\n"


def sign_requests(
    requests: Iterable[str],
    root: OKPKey,
    *,
    now: datetime,
    without: Collection[str] = (),
) -> str:
    """Sign the key set that follows the newest one named in ``requests``.

    Runs on the offline machine, and needs nothing but the root. Several servers'
    requests become one set. Raises ``KeySetFault`` for a request that is broken
    or whose current set is not this root's, ``KeyFault`` for a broken key.
    """
    read = [_read_request(text, root) for text in requests]
    if not read:
        raise KeySetFault("there is no request to sign")
    sets = [current for _, current, _ in read if current is not None]
    return next_key_set(
        max(sets, key=lambda each: each.version, default=None),
        [entry for _, _, add in read for entry in add],
        root=root,
        issuer=read[0][0],
        now=now,
        without=without,
    )


def install(keys: Path, token: str, *, now: datetime) -> KeySet:
    """Check a new key set and put it in the place of the installed one.

    Raises ``KeySetFault``, with nothing changed, unless the root signed it, it is
    in force, and its version is higher than the installed one's.
    """
    new = read_key_set(token.strip(), public_root(keys))
    current = installed(keys)
    if current is not None and new.version <= current.version:
        raise KeySetFault(
            f"version {new.version} does not follow the installed {current.version}"
        )
    if now >= new.expires_at:
        raise KeySetFault("this key set has expired")
    replace(key_set_file(keys), f"{new.token}\n".encode("ascii"), mode=PUBLIC)
    # What has once been listed awaits nothing any more: a key that the root holder
    # dropped must not come back with the next request.
    for entry in (*new.keys, *(current.keys if current else ())):
        _description_file(keys, entry.kid).unlink(missing_ok=True)
    return new


def establish(data_dir: Path, *, issuer: str, now: datetime) -> list[str]:
    """Make what is missing for signing, and say what was made.

    Safe to repeat, and overwrites nothing. Where keys are missing but the root
    has been carried away, they are made and left for a request: the last line
    then says what to do. Raises ``KeySetFault`` where the root's public half is
    gone: a new root would be one that no PBX believes.
    """
    keys, made = data_dir / "keys", []
    if key_set_file(keys).exists() and not root_file(data_dir).exists():
        public_root(keys)
    if create_root(root_file(data_dir), public_root_file(keys)):
        made.append("root key (offline-root/root.pem: carry it away)")
    for purpose in _purposes_without_key(keys, now):
        create_signing_key(keys, purpose=purpose, now=now)
        made.append(f"signing key for {purpose}")
    if not pending(keys):
        return made
    if not root_file(data_dir).exists():
        return [*made, "a key awaits the root holder: callhome keys request"]
    root = jws.read_private_pem(root_file(data_dir).read_bytes())
    token = sign_requests([signing_request(keys, issuer=issuer)], root, now=now)
    version = install(keys, token, now=now).version
    return [*made, f"key set, version {version}"]


def _description_file(keys: Path, kid: str) -> Path:
    return private_key_file(keys, kid).with_suffix(".json")


def _purposes_without_key(keys: Path, now: datetime) -> list[str]:
    current = installed(keys)
    here = [*pending(keys), *(current.keys if current else ())]
    provided = {
        key.purpose
        for key in here
        if now < key.not_after and private_key_file(keys, key.kid).exists()
    }
    return [purpose for purpose in PURPOSES if purpose not in provided]


def _read_request(
    text: str, root: OKPKey
) -> tuple[str, KeySet | None, list[ListedKey]]:
    try:
        request = json.loads(text)
        issuer, current, add = request["issuer"], request["current"], request["add"]
        entries = [read_jwk(jwk) for jwk in add]
    except (ValueError, KeyError, TypeError):
        raise KeySetFault("this is not a request of callhome keys request") from None
    return issuer, read_key_set(current, root) if current else None, entries
