"""A mail as it was delivered, and a client that fetches from it over plain HTTP as mail programs do."""

from __future__ import annotations

import email
import email.policy
import hashlib
import http.client
import json
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import EmailMessage
from html import unescape
from io import BytesIO
from urllib.parse import urlencode, urlsplit

from PIL import Image

from base.clock import monotonic
from base.errors import BadToken
from base.tokens import WHOLE_MAIL, Purpose, Token, TokenKeys

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Thunderbird/153.7.0"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
APPLE = "Mozilla/5.0"
GMAIL_PREFETCH = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)
SCANNER = "python-requests/2.32"
_ADDRESS = re.compile(r"https?://[^\s\"'<>]+/(o|c|view|u)/([A-Za-z0-9_-]{54})[^\s\"'<>]*")
_PURPOSES = {
    "o": (Purpose.PICTURE, Purpose.PICTURE_DARK),
    "c": (Purpose.CLICK,),
    "view": (Purpose.VIEW,),
    "u": (Purpose.UNSUBSCRIBE,),
}


@dataclass(frozen=True)
class Mail:
    """What a client finds in a mail: paths by slot. `token` is what any of its addresses says of the delivery."""

    recipient: str
    message_id: str
    pictures: Mapping[int, str]
    dark: Mapping[int, str]
    clicks: Mapping[int, str]
    view: str
    unsubscribe: str
    sizes: Mapping[int, tuple[int, int]]
    token: Token
    trap: str

    @property
    def paths(self) -> list[str]:
        """Every address of the mail."""
        return [*self.pictures.values(), *self.dark.values(), *self.clicks.values(), self.view, self.unsubscribe]


@dataclass(frozen=True)
class Answer:
    """What came back, and after how many seconds."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def size(self) -> tuple[int, int]:
        """The pixels of a picture that decodes whole."""
        with Image.open(BytesIO(self.body)) as image:
            image.load()
            return image.size

    @property
    def sha256(self) -> str:
        """The hash of the body, in hex."""
        return hashlib.sha256(self.body).hexdigest()

    @property
    def location(self) -> str:
        """Where a redirect leads; empty for any other answer."""
        return self.headers.get("Location", "")


def read_mail(content: bytes, keys: TokenKeys) -> Mail:
    """Parse a mail as it was delivered; the keys tell which slot an address belongs to."""
    message: EmailMessage = email.message_from_bytes(content, EmailMessage, policy=email.policy.default)
    body = message.get_body(("html",))
    assert body is not None
    html = unescape(body.get_content())
    found: dict[Purpose, dict[int, str]] = {purpose: {} for purposes in _PURPOSES.values() for purpose in purposes}
    sizes: dict[int, tuple[int, int]] = {}
    token = None
    for match in _ADDRESS.finditer(html):
        read = _read(keys, match[2], _PURPOSES[match[1]])
        found[read.purpose][read.slot] = urlsplit(match[0]).path
        if read.purpose is Purpose.PICTURE:
            sizes[read.slot] = (2 * read.width, 2 * read.height)
        token = read
    assert token is not None
    trap = found[Purpose.CLICK].pop(WHOLE_MAIL)
    return Mail(
        recipient=str(message["To"]).strip("<>"),
        message_id=str(message["Message-ID"]),
        pictures=found[Purpose.PICTURE],
        dark=found[Purpose.PICTURE_DARK],
        clicks=found[Purpose.CLICK],
        view=next(iter(found[Purpose.VIEW].values())),
        unsubscribe=next(iter(found[Purpose.UNSUBSCRIBE].values())),
        sizes=sizes,
        token=token,
        trap=trap,
    )


def _read(keys: TokenKeys, text: str, purposes: Sequence[Purpose]) -> Token:
    for purpose in purposes:
        try:
            return keys.read(text, purpose)
        except BadToken:
            continue
    raise AssertionError("an address of a mail that was not minted for its path")


def fetch(
    base: str,
    path: str,
    agent: str = BROWSER,
    method: str = "GET",
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own; redirects are not followed."""
    sent = {"User-Agent": agent, "Accept": "image/avif,image/webp,image/png,image/*;q=0.8,*/*;q=0.5", **(headers or {})}
    body = urlencode(form) if form is not None else None
    if form is not None:
        sent["Content-Type"] = "application/x-www-form-urlencoded"
    place = urlsplit(base)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    started = monotonic()
    try:
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        content = answer.read()
        return Answer(answer.status, dict(answer.getheaders()), content, monotonic() - started)
    finally:
        connection.close()


def fetch_at_once(base: str, paths: Sequence[str], agent: str = BROWSER) -> list[Answer]:
    """All paths at the same moment, each on a connection of its own; answers in their order."""
    together = threading.Barrier(len(paths))

    def one(path: str) -> Answer:
        together.wait(30)
        return fetch(base, path, agent)

    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(one, paths))


def signal(base: str, *calls: Mapping[str, object]) -> Answer:
    """POST calls as one batch with the shop's write key. What was refused is an error of the test."""
    place = urlsplit(base)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    started = monotonic()
    try:
        # "shop:" in Basic's base64.
        headers = {"Authorization": "Basic c2hvcDo=", "Content-Type": "application/json"}
        connection.request("POST", "/v1/batch", json.dumps({"batch": calls}), headers)
        answer = connection.getresponse()
        content = answer.read()
        assert not json.loads(content).get("rejected"), content
        return Answer(answer.status, dict(answer.getheaders()), content, monotonic() - started)
    finally:
        connection.close()
