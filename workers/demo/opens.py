"""A mail client over plain HTTP: it reads a mail as delivered, fetches its pictures in parallel, follows a link.

It knows nothing of the inside of Latebind: addresses come out of the mail's own HTML, and answers are judged by what
any mail client needs, a 200 with a whole picture of the size the mail declares.
"""

from __future__ import annotations

import email
import http.client
import io
import re
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from email.utils import parseaddr
from hashlib import sha256
from html import unescape
from typing import Final
from urllib.parse import urlsplit

from PIL import Image

from base.clock import monotonic
from workers.demo.readers import Step

TIMEOUT_SECONDS: Final = 10.0
DECODED_KEPT: Final = 50_000
_IMG: Final = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_SOURCE: Final = re.compile(r"<source\b[^>]*>", re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(r"""\b(src|srcset|href|width|height|media)\s*=\s*"([^"]*)\"""", re.IGNORECASE)
# A reader meets no link that is hidden.
_LINK: Final = re.compile(r"""<a\b(?![^>]*\baria-hidden)[^>]*\bhref\s*=\s*"([^"]+)\"""", re.IGNORECASE)


@dataclass(frozen=True)
class Picture:
    """One picture of a mail: its address, that of its dark twin if there is one, and the declared size in 1x pixels."""

    url: str
    dark: str | None
    width: int
    height: int


@dataclass(frozen=True)
class Mail:
    """What a client finds in a delivered mail. `clicks` are links of blocks, in order; `one_click` is RFC 8058's."""

    to: str
    message_id: str
    pictures: tuple[Picture, ...]
    clicks: tuple[str, ...]
    view: str | None
    one_click: str | None


@dataclass(frozen=True)
class Answer:
    """What came back, and how long it took from the request's first byte to the answer's last, in ms.

    `pixels` is None for what is not a whole picture; `body` is kept only when asked for.
    """

    url: str
    status: int
    content_type: str
    size: int
    sha256: str
    location: str | None
    pixels: tuple[int, int] | None
    ms: float
    body: bytes | None = None


def read_mail(raw: bytes) -> Mail:
    """Parse a mail as it was delivered."""
    message = email.message_from_bytes(raw)
    html = next((_text(part) for part in message.walk() if part.get_content_type() == "text/html"), "")
    links = [unescape(url) for url in _LINK.findall(html)]
    header = str(message.get("List-Unsubscribe", ""))
    one_click = re.search(r"<(https?://[^>]+)>", header)
    return Mail(
        to=parseaddr(str(message["To"]))[1],
        message_id=str(message["Message-ID"]).strip(),
        pictures=tuple(_pictures(html)),
        clicks=tuple(dict.fromkeys(url for url in links if urlsplit(url).path.startswith("/c/"))),
        view=next((url for url in links if urlsplit(url).path.startswith("/view/")), None),
        one_click=one_click.group(1) if one_click else None,
    )


def _text(part: Message[str, str]) -> str:
    content = part.get_payload(decode=True)
    return content.decode(part.get_content_charset("utf-8"), "replace") if isinstance(content, bytes) else ""


def _pictures(html: str) -> Iterable[Picture]:
    """Pictures served at open, each with the dark source of the `<picture>` it is in."""
    for found in _IMG.finditer(html):
        attributes = {name.lower(): unescape(value) for name, value in _ATTRIBUTE.findall(found.group())}
        if not urlsplit(attributes.get("src", "")).path.startswith("/o/"):
            continue
        before = html[: found.start()]
        opened = before.rfind("<picture")
        dark = None
        if opened > before.rfind("</picture"):
            for source in _SOURCE.findall(before[opened:]):
                of = {name.lower(): unescape(value) for name, value in _ATTRIBUTE.findall(source)}
                dark = of.get("srcset", "").split(" ")[0] or None if "dark" in of.get("media", "") else dark
        yield Picture(attributes["src"], dark, _pixels(attributes, "width"), _pixels(attributes, "height"))


def _pixels(attributes: dict[str, str], name: str) -> int:
    digits = re.match(r"\d+", attributes.get(name, ""))
    return int(digits.group()) if digits else 0


class MailClients:
    """Many clients at once: a pool of connections to one render address, a thread each."""

    def __init__(self, render_url: str, connections: int = 8) -> None:
        parts = urlsplit(render_url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(connections, thread_name_prefix="mail-client")
        self._pixels: dict[str, tuple[int, int] | None] = {}
        self._connections: list[http.client.HTTPConnection] = []

    def open(self, mail: Mail, headers: dict[str, str], dark: bool = False) -> list[Future[Answer]]:
        """Ask for every picture of the mail at the same time, as a client does that shows it."""
        urls = [picture.dark if dark and picture.dark else picture.url for picture in mail.pictures]
        return [self._pool.submit(self.get, url, headers) for url in urls]

    def fetch(self, url: str, headers: dict[str, str]) -> Future[Answer]:
        """One GET whose body is wanted."""
        return self._pool.submit(self.get, url, headers, "GET", True)

    def click(self, url: str, headers: dict[str, str]) -> Future[Answer]:
        """Follow a link, without following where it leads."""
        return self._pool.submit(self.get, url, headers)

    def scan(self, mail: Mail, headers: dict[str, str]) -> list[Future[Answer]]:
        """What a security gateway does at delivery: HEAD and GET of every link and picture, in a burst."""
        links = [*mail.clicks, *([mail.view] if mail.view else []), *([mail.one_click] if mail.one_click else [])]
        pictures = [picture.url for picture in mail.pictures]
        return [
            *(self._pool.submit(self.get, url, headers, "HEAD") for url in links),
            *(self._pool.submit(self.get, url, headers) for url in (*pictures, *links)),
        ]

    def play(self, mail: Mail, step: Step) -> list[Future[Answer]]:
        """Do one step of a reader's habits."""
        if step.kind == "scan":
            return self.scan(mail, step.headers)
        if step.kind == "click":
            return [self.click(_picked(mail.clicks, step.link), step.headers)] if mail.clicks else []
        return self.open(mail, step.headers, step.dark)

    def get(self, url: str, headers: dict[str, str], method: str = "GET", keep: bool = False) -> Answer:
        """One request on this thread's own connection, made anew once if the server had closed it."""
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        began = monotonic()
        for attempt in (1, 2):
            connection = self._connection()
            try:
                connection.request(method, path, headers=headers)
                response = connection.getresponse()
                body = response.read()
                break
            except (http.client.HTTPException, ConnectionError):
                connection.close()  # the next request on it connects anew
                if attempt == 2:
                    raise
        ms = (monotonic() - began) * 1000
        content_type, digest = response.getheader("Content-Type", ""), sha256(body).hexdigest()
        return Answer(
            url=url,
            status=response.status,
            content_type=content_type,
            size=len(body),
            sha256=digest,
            location=response.getheader("Location"),
            pixels=self._decoded(digest, body) if content_type.startswith("image/") and body else None,
            ms=ms,
            body=body if keep else None,
        )

    def close(self) -> None:
        """Wait for what is under way, then let threads and connections go."""
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    def _decoded(self, digest: str, body: bytes) -> tuple[int, int] | None:
        """As `decoded`, but equal bytes are decoded once: the client must not outweigh the server it looks at."""
        if digest not in self._pixels:
            if len(self._pixels) >= DECODED_KEPT:
                self._pixels.clear()
            self._pixels[digest] = decoded(body)
        return self._pixels[digest]

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
            self._connections.append(self._local.connection)
        connection: http.client.HTTPConnection = self._local.connection
        return connection


def is_whole(picture: Picture, answer: Answer) -> bool:
    """Whether a picture's answer is what the mail promised: 200, decodable, twice the declared size."""
    return answer.status == 200 and answer.pixels == (picture.width * 2, picture.height * 2)


def decoded(body: bytes) -> tuple[int, int] | None:
    """The pixels of a picture that decodes to its end; None for anything else."""
    try:
        with Image.open(io.BytesIO(body)) as picture:
            picture.load()
            return picture.size
    except (OSError, SyntaxError, ValueError):
        return None


def _picked(links: Sequence[str], point: float) -> str:
    return links[min(int(point * len(links)), len(links) - 1)]
