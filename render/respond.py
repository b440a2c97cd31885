"""What leaves: the answers and their headers.

Pictures carry the headers that made clients ask again when they were tried: `no-cache` with `max-age=0` is the pair
that Gmail's proxy is documented to honour, and no validator may let a client keep what it has. No cookie is ever set:
mail programs return them with the next mail.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from render.cache import Picture

Headers = list[tuple[str, str]]

_AGAIN: Final[Headers] = [
    ("Cache-Control", "no-store, no-cache, must-revalidate, max-age=0"),
    ("Pragma", "no-cache"),
    ("Expires", "0"),
]
_PICTURE: Final[Headers] = [
    *_AGAIN,
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    ("Referrer-Policy", "no-referrer"),
]
_PAGE: Final[Headers] = [
    *_AGAIN,
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Robots-Tag", "noindex, nofollow"),
    ("X-Frame-Options", "DENY"),
]
# Pages hold manager-written HTML: pictures and inline styles, and nothing that runs, loads or submits elsewhere.
_POLICY: Final = (
    "default-src 'none'; img-src 'self' http: https: data:; style-src 'unsafe-inline'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# A block may be framed by a mail client; the rest of the page's policy holds.
_BLOCK_POLICY: Final = (
    "default-src 'none'; img-src 'self' http: https: data:; style-src 'unsafe-inline'; base-uri 'none'"
)
_json: Final = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """A whole response: the status line's text, the headers, the body."""

    status: str
    headers: Headers
    body: bytes


def picture(drawn: Picture) -> Answer:
    """A picture: always 200, always whole, never to be kept."""
    return Answer(
        "200 OK",
        [("Content-Type", drawn.content_type), ("Content-Length", str(len(drawn.body))), *_PICTURE],
        drawn.body,
    )


def picture_head(content_type: str) -> Answer:
    """The answer to HEAD: the type without a length, because the picture is not decided on."""
    return Answer("200 OK", [("Content-Type", content_type), *_PICTURE], b"")


def page(html: str, status: str = "200 OK", *, embeddable: bool = False) -> Answer:
    """An HTML page."""
    body = html.encode()
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
    if embeddable:
        kept = [header for header in _PAGE if header[0] != "X-Frame-Options"]
        return Answer(status, [*headers, *kept, ("Content-Security-Policy", _BLOCK_POLICY)], body)
    return Answer(status, [*headers, *_PAGE, ("Content-Security-Policy", _POLICY)], body)


def redirect(address: str) -> Answer:
    """A click's answer. The address comes from a plan, never from the request."""
    return Answer(
        "302 Found",
        [("Location", address), ("Content-Length", "0"), *_AGAIN, ("Referrer-Policy", "no-referrer")],
        b"",
    )


def text(content: str, status: str = "200 OK", content_type: str = "text/plain; charset=utf-8") -> Answer:
    """A short plain answer."""
    body = content.encode()
    return Answer(status, [("Content-Type", content_type), ("Content-Length", str(len(body))), *_AGAIN], body)


def json(content: object, status: str = "200 OK", extra: Headers | None = None) -> Answer:
    """A JSON answer; `content` is whatever msgspec encodes."""
    body = _json(content)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *_AGAIN]
    return Answer(status, [*headers, ("X-Content-Type-Options", "nosniff"), *(extra or [])], body)
