"""The mails that the sink kept: files under `var/inbox`, an index beside them, and pages to read them."""

from __future__ import annotations

import email
import email.policy
import threading
from collections import deque
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path

import msgspec
from flask import Flask, Response, abort, render_template, request

import templates
from base.clock import Clock

MAX_MAILS = 50_000
PAGE = 50
_CONTENT_POLICY = (
    "default-src 'none'; img-src http: https: data:; style-src 'unsafe-inline'; font-src http: https: data:; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)


class Mail(msgspec.Struct, frozen=True):
    """A line of the index. `number` counts from 1 in order of arrival and names the file."""

    number: int
    at: datetime
    sender: str
    recipients: list[str]
    subject: str
    size: int


class Inbox:
    """Keeps mails in arrival order; past 50,000 the oldest goes. Writing is for one thread, reading for many."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._index = folder / "index.jsonl"
        self._mails: deque[Mail] = deque(self._read_index(), maxlen=MAX_MAILS)
        self._last = self._mails[-1].number if self._mails else 0

    def keep(self, sender: str, recipients: list[str], content: bytes) -> Mail:
        """Keep a mail as it came over SMTP."""
        subject = email.message_from_bytes(content, policy=email.policy.default).get("Subject", "")
        with self._lock:
            mail = Mail(self._last + 1, self._clock.now(), sender, recipients, str(subject), len(content))
            self._path(mail.number).write_bytes(content)
            with self._index.open("ab") as index:
                index.write(msgspec.json.encode(mail) + b"\n")
            if len(self._mails) == MAX_MAILS:
                self._path(self._mails[0].number).unlink(missing_ok=True)
            self._mails.append(mail)
            self._last = mail.number
        return mail

    def listed(self, recipient: str = "", before: int = 0, count: int = PAGE) -> list[Mail]:
        """The newest mails first; `recipient` is a part of an address, `before` a number to go on from."""
        with self._lock:
            mails = list(self._mails)
        wanted = recipient.strip().lower()
        found = (
            mail
            for mail in reversed(mails)
            if (not before or mail.number < before)
            and (not wanted or any(wanted in address.lower() for address in mail.recipients))
        )
        return [mail for mail, _ in zip(found, range(count), strict=False)]

    def raw(self, number: int) -> bytes | None:
        """The mail's bytes, or None when it is not kept."""
        try:
            return self._path(number).read_bytes()
        except FileNotFoundError:
            return None

    @property
    def count(self) -> int:
        """How many mails are kept."""
        return len(self._mails)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.eml"

    def _read_index(self) -> list[Mail]:
        """The index; a last line that a crash cut short is left out."""
        mails: list[Mail] = []
        if self._index.exists():
            for line in self._index.read_bytes().splitlines():
                try:
                    mails.append(msgspec.json.decode(line, type=Mail))
                except msgspec.DecodeError:
                    continue
        return mails


def create_app(inbox: Inbox) -> Flask:
    """The inbox pages. For loopback: there is no sign-in."""
    app = Flask("inbox", template_folder=str(Path(templates.__path__[0]) / "inbox"), static_folder=None)

    @app.get("/")
    def mails() -> str:
        wanted, before = request.args.get("to", ""), request.args.get("before", 0, type=int)
        listed = inbox.listed(wanted, before)
        return render_template("list.html", mails=listed, wanted=wanted, count=inbox.count, page=PAGE)

    @app.get("/mails.json")
    def as_json() -> Response:
        listed = inbox.listed(
            request.args.get("to", ""),
            request.args.get("before", 0, type=int),
            min(request.args.get("count", PAGE, type=int), 1000),
        )
        return Response(msgspec.json.encode(listed), content_type="application/json")

    @app.get("/mail/<int:number>")
    def mail(number: int) -> str:
        message = _parsed(inbox, number)
        text = message.get_body(("plain",))
        headers = [(name, str(value)) for name, value in message.items()]
        return render_template(
            "mail.html", number=number, message=message, headers=headers, text=text.get_content() if text else ""
        )

    @app.get("/mail/<int:number>/html")
    def html(number: int) -> Response:
        body = _parsed(inbox, number).get_body(("html",))
        if body is None:
            abort(404)
        # Links open in a tab of their own, and the mail cannot run scripts or reach this page.
        content = '<base target="_blank">' + body.get_content()
        return Response(
            content, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _CONTENT_POLICY}
        )

    @app.get("/mail/<int:number>/raw")
    def raw(number: int) -> Response:
        content = inbox.raw(number)
        if content is None:
            abort(404)
        return Response(
            content, content_type="text/plain; charset=utf-8", headers={"X-Content-Type-Options": "nosniff"}
        )

    @app.get("/readyz")
    def ready() -> str:
        return "ready"

    return app


def _parsed(inbox: Inbox, number: int) -> EmailMessage:
    content = inbox.raw(number)
    if content is None:
        abort(404)
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)  # noqa: S101 — what the default policy makes
    return message
