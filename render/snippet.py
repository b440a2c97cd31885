"""The script that fills the slots of a web page, served at an address with its version.

Pages name it with its hash and browsers keep it for a year, so what a version is never changes once it was released: a
change is a new file with the next number, and the old ones go on being served.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from render.notice import not_found
from render.respond import Answer

VERSIONS: Final = ("v1", "v2")
"""Every version that pages may name, the newest last: `slot-<version>.js` beside this file."""
PATH: Final = "/slot/"


class Snippet(NamedTuple):
    """The script, the path it is served at, and its hash as a page's `integrity` attribute has it."""

    body: bytes
    path: str
    integrity: str


@cache
def snippet(version: str = VERSIONS[-1]) -> Snippet:
    """One version of the script."""
    body = Path(__file__).with_name(f"slot-{version}.js").read_bytes()
    digest = base64.b64encode(hashlib.sha384(body).digest()).decode()
    return Snippet(body, f"{PATH}{version}.js", f"sha384-{digest}")


def serve(name: str) -> Answer:
    """Answer `GET /slot/<version>.js`: the script, to be kept, or 404."""
    version = name.removesuffix(".js")
    if version not in VERSIONS:
        return not_found()
    made = snippet(version)
    headers = [
        ("Content-Type", "text/javascript; charset=utf-8"),
        ("Content-Length", str(len(made.body))),
        ("Cache-Control", "public, max-age=31536000, immutable"),
        ("Access-Control-Allow-Origin", "*"),
        ("Cross-Origin-Resource-Policy", "cross-origin"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return Answer("200 OK", headers, made.body)
