# SPDX-License-Identifier: Apache-2.0
"""Files that a browser loads for a page: read once, kept by browsers for long.

A page asks for them with a digest of their bytes (``?v=``), so that a new
version is loaded at once.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from flask import Response, request


@dataclass(frozen=True)
class Asset:
    """A file: its bytes, their type, and a digest of them."""

    content: bytes
    media_type: str
    tag: str

    @classmethod
    def read(cls, path: Path, media_type: str) -> "Asset":
        """Read the file at ``path``."""
        content = path.read_bytes()
        return cls(content, media_type, sha256(content).hexdigest()[:16])

    def answer(self) -> Response:
        """Return the file, or ``304`` where the client has it already."""
        response = Response(self.content, mimetype=self.media_type)
        response.set_etag(self.tag)
        response.cache_control.public = True
        response.cache_control.max_age = 31_536_000 if "v" in request.args else 300
        response.make_conditional(request)
        return response
