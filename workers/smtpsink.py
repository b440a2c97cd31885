"""The mail sink: an SMTP server on loopback that accepts everything and keeps it. Nothing leaves this machine."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from types import FrameType

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from werkzeug.serving import WSGIRequestHandler, make_server

from base.clock import Clock, clock_from
from base.logs import logger
from base.settings import Settings
from workers.inbox import Inbox, create_app

MAX_MAIL_BYTES = 10 * 1024 * 1024
HOST = "127.0.0.1"

log = logger(__name__)


class Sink:
    """An SMTP server in a thread of its own, in front of an inbox."""

    def __init__(self, folder: Path, port: int, clock: Clock) -> None:
        self.inbox = Inbox(folder, clock)
        self._controller = Controller(
            _Handler(self.inbox), hostname=HOST, port=port, data_size_limit=MAX_MAIL_BYTES, ready_timeout=10
        )
        self.url = f"smtp://{HOST}:{port}"

    def start(self) -> None:
        """Return when it listens. Raises OSError when the port is taken."""
        self._controller.start()

    def stop(self) -> None:
        """Stop listening and end the thread."""
        self._controller.stop()


class _Handler:
    """What aiosmtpd calls for each mail."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        mail = self._inbox.keep(envelope.mail_from or "", list(envelope.rcpt_tos), content)
        return f"250 2.0.0 Kept as {mail.number}"


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: a request line holds what was searched for, an address."""


def serve(settings: Settings) -> None:
    """Run sink and pages until SIGTERM or Ctrl-C."""
    # aiosmtpd tells every connection and command at the level of news.
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    sink = Sink(settings.var / "inbox", settings.smtp_port, clock_from(settings))
    pages = make_server(HOST, settings.inbox_port, create_app(sink.inbox), threaded=True, request_handler=_Quiet)
    sink.start()
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    thread = threading.Thread(target=pages.serve_forever, name="inbox-pages")
    thread.start()
    log.info("inbox listening", smtp_port=settings.smtp_port, page_port=settings.inbox_port)
    stopping.wait()
    pages.shutdown()
    thread.join()
    pages.server_close()
    sink.stop()
