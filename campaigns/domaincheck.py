"""Whether a render address does what mails need of it, seen from outside: name, certificate, picture, one-click.

Only addresses of the settings are asked, a few seconds each at most. Nothing is withdrawn, decided or recorded by it:
the picture is the fixed one of tokens we did not mint, and the unsubscription is a test mail's.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import SplitResult, urlsplit

from base.errors import LatebindError
from base.ids import TEST_BIT
from base.settings import Settings
from base.tokens import Purpose, Token, TokenKeys

SECONDS: Final = 5.0
"""Longest wait for each answer."""
MAX_BYTES: Final = 1_000_000
RENEW_WITHIN: Final = timedelta(days=14)
"""Certificates that renew themselves do so a month before their end; one that has less left is being forgotten."""
PICTURE: Final = "/o/latebind-check.jpg"
_PICTURES: Final = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG", "image/gif": b"GIF8"}
_EXPIRED, _NOT_YET, _OTHER_HOST = 10, 9, 62
"""OpenSSL's numbers (x509_vfy.h): certificate has expired, is not yet valid, hostname mismatch."""


class Wrong(LatebindError):
    """A check failed; the message is a sentence that says what is wrong, and what to do."""


@dataclass(frozen=True)
class Finding:
    """What one check found at an address. `words` is one sentence."""

    check: str
    well: bool
    words: str


@dataclass(frozen=True)
class Address:
    """A render address and the brands whose mails have it; "" stands for all others."""

    url: str
    brands: tuple[str, ...]


def addresses(settings: Settings) -> list[Address]:
    """The render addresses of the settings, each once, the general one first."""
    brands: dict[str, list[str]] = {settings.render_url: [""]}
    for brand, url in settings.brand_urls.items():
        brands.setdefault(url, []).append(brand)
    return [Address(url, tuple(names)) for url, names in brands.items()]


def examine(url: str, tokens: TokenKeys, now: datetime, trusted: ssl.SSLContext | None = None) -> Iterator[Finding]:
    """Check one address step by step; where a step fails, those that stand on it are left out.

    `trusted` replaces the machine's own certificate authorities.
    """
    parts = urlsplit(url)
    context = trusted or ssl.create_default_context()
    steps: tuple[tuple[str, Callable[[], str]], ...] = (
        ("name", lambda: _name(parts)),
        ("certificate", lambda: _certificate(parts, context, now)),
        ("picture", lambda: _picture(parts, context)),
        ("one-click", lambda: _one_click(parts, context, tokens)),
    )
    for check, step in steps:
        try:
            yield Finding(check, True, step())
        except Wrong as wrong:
            yield Finding(check, False, str(wrong))
            if check in ("name", "certificate"):
                return


def _name(parts: SplitResult) -> str:
    host = parts.hostname or ""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, _port(parts), type=socket.SOCK_STREAM)}
    except OSError:
        raise Wrong(f"{host} cannot be resolved: make a DNS record that leads to the render app.") from None
    return f"{host} leads to {', '.join(sorted(found))}."


def _certificate(parts: SplitResult, context: ssl.SSLContext, now: datetime) -> str:
    host = parts.hostname or ""
    if parts.scheme != "https":
        raise Wrong(f"{parts.geturl()} is not encrypted: put a TLS proxy in front and use https.")
    try:
        with (
            socket.create_connection((host, _port(parts)), timeout=SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            told = secure.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        raise Wrong(unfit(error, host)) from None
    except ssl.SSLError as error:
        raise Wrong(f"{host} does not speak TLS there: {error.reason or 'the handshake failed'}.") from None
    except OSError as error:
        raise Wrong(
            f"{host} does not answer on port {_port(parts)}: {error.strerror or 'no answer in time'}."
        ) from None
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(told["notAfter"])), UTC)
    if ends - now < RENEW_WITHIN:
        raise Wrong(f"The certificate of {host} runs out on {ends:%Y-%m-%d}: have it renewed.")
    return f"Valid for {host} until {ends:%Y-%m-%d}."


def unfit(error: ssl.SSLCertVerificationError, host: str) -> str:
    """What is wrong with a certificate, and what to do."""
    if error.verify_code == _EXPIRED:
        return f"The certificate of {host} has expired: renew it."
    if error.verify_code == _NOT_YET:
        return f"The certificate of {host} is not valid yet: check its dates and this machine's clock."
    if error.verify_code == _OTHER_HOST:
        return f"The certificate is not for {host}: get one that names it."
    return f"The certificate of {host} cannot be trusted ({error.verify_message}): send the whole chain."


def _picture(parts: SplitResult, context: ssl.SSLContext) -> str:
    answer, body = _ask(parts, context, "GET", PICTURE)
    kind = answer.headers.get_content_type()
    if kind not in _PICTURES or not body.startswith(_PICTURES[kind]):
        raise Wrong(f"What comes back for a picture is none but {kind}: the address does not lead to the render app.")
    if "no-store" not in answer.headers.get("Cache-Control", ""):
        raise Wrong("Pictures come without Cache-Control: no-store: something on the way changes the headers.")
    for header in ("ETag", "Last-Modified", "Set-Cookie"):
        if header in answer.headers:
            raise Wrong(f"Pictures come with {header}: something on the way adds it, and clients keep old pictures.")
    if answer.headers.get("X-Content-Type-Options") != "nosniff":
        raise Wrong("Pictures come without X-Content-Type-Options: nosniff: something on the way takes headers out.")
    return f"{kind}, {len(body):,} bytes, never to be kept."


def _one_click(parts: SplitResult, context: ssl.SSLContext, tokens: TokenKeys) -> str:
    token = tokens.mint(Token(Purpose.UNSUBSCRIBE, 1, 1, TEST_BIT | 1))
    _ask(parts, context, "POST", f"/u/{token}", b"List-Unsubscribe=One-Click")
    return "A provider's POST is answered at once (RFC 8058)."


def _ask(
    parts: SplitResult, context: ssl.SSLContext, method: str, path: str, body: bytes | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request; its answer is 200 and no redirect."""
    connection = http.client.HTTPSConnection(parts.hostname or "", _port(parts), timeout=SECONDS, context=context)
    shown = f"{method} {path.rpartition('/')[0]}/…"
    headers = {"User-Agent": "latebind-check", "Content-Type": "application/x-www-form-urlencoded"}
    try:
        connection.request(method, f"{parts.path}{path}", body, headers)
        answer = connection.getresponse()
        content = answer.read(MAX_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise Wrong(f"{shown} gets no answer: {type(error).__name__}.") from None
    finally:
        connection.close()
    if 300 <= answer.status < 400:
        where = urlsplit(answer.headers.get("Location", "")).hostname or "elsewhere"
        raise Wrong(f"{shown} is redirected to {where}: mail clients and providers do not follow. Serve it directly.")
    if answer.status != 200:
        raise Wrong(f"{shown} is answered with {answer.status}: the address must lead to the render app, path and all.")
    return answer, content


def is_local(host: str) -> bool:
    """Whether a host is this machine, as far as its name tells."""
    return host in {"localhost", "::1"} or host.startswith("127.") or host == socket.gethostname()


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
