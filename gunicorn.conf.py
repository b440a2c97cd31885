"""gunicorn for the three apps; the Procfile adds address, number of processes and app.

Sources of the numbers: four threads a process and one process a core measured best for short answers on two cores.
"""

import errno
import logging
import os
import re
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import InvalidHeader, LimitRequestHeaders, ParseException, UnsupportedTransferCoding
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers import gthread

from base.settings import Settings

_settings = Settings.from_environment(os.environ)


REQUEST_BYTES = 65_536
"""A head may be so long, and a body that is so long is waited for with its head."""
REQUEST_SECONDS = 10
"""A request must be whole by then."""
SEND_SECONDS = struct.pack("@ll", 5, 0)
"""A client that takes nothing for so long, in the kernel's form, gets no more."""
STALL_SECONDS = 5
"""A body of which nothing comes for so long is given up."""
LEAST_PACE = 16_384
"""Bytes a second that a long body must come at once REQUEST_SECONDS are over, or it would hold its thread for long."""
_HEAD_END = b"\r\n\r\n"
_BODY = re.compile(
    rb"\r\n(?:content-length:[ \t]*(\d{1,9})[ \t]*|(transfer-encoding:).*?chunked[ \t]*)(?=\r\n)", re.IGNORECASE
)
_EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)


class PacedUnreader(SocketUnreader):
    """What a connection says, as long as it goes on saying it. A long body is read by a thread, which must not wait."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.begin()

    def begin(self) -> None:
        """A request begins."""
        self._since, self._taken = time.monotonic(), 0

    def chunk(self, size_hint: Any = None) -> Any:
        """Some bytes more. Raises TimeoutError."""
        waited = time.monotonic() - self._since
        if waited > REQUEST_SECONDS and self._taken < waited * LEAST_PACE:
            raise TimeoutError("the body comes too slowly")
        before = self.sock.gettimeout()
        self.sock.settimeout(STALL_SECONDS if before is None else min(before, STALL_SECONDS))
        try:
            data: bytes = super().chunk(size_hint)
        finally:
            self.sock.settimeout(before)
        self._taken += len(data)
        return data

    def read(self, size: Any = None, read_ahead: Any = None) -> Any:
        """As gunicorn's, but a body that ends before its declared length is no body. Raises ConnectionResetError."""
        data: bytes = super().read(size, read_ahead)
        # Only the body's reader says how much there must be: gunicorn's own would hand on what came of it.
        if size is not None and len(data) < size:
            raise ConnectionResetError(errno.ECONNRESET, "the body breaks off")
        return data


class WholeChunks:
    """The reader of a chunked body, of which what is cut or is none breaks off for the app, as any other body does."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> Any:
        """As gunicorn's. Raises ConnectionResetError where that raises what no app knows."""
        try:
            return self._reader.read(size)
        except ParseException as error:
            raise ConnectionResetError(errno.ECONNRESET, "the body breaks off") from error


class PatientThreads(gthread.ThreadWorker):
    """gthread, but no thread waits for a connection whose request is not whole yet.

    gunicorn's own gives a thread to each new connection, and to each that has begun to speak until it is done: four
    slow ones would hold up every open. Here they wait in the poller, which costs nothing, and not for ever.
    """

    def handle(self, conn: Any) -> Any:
        """Serve a connection whose request has come; hand any other to the poller."""
        if self.cfg.is_ssl:
            return super().handle(conn)
        if not conn.initialized:
            conn.init()
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, SEND_SECONDS)
            conn.since = None
            said = conn.parser.unreader.take_buffered()
            conn.parser.unreader = PacedUnreader(conn.sock)
            conn.parser.unreader.unread(said)
        try:
            if self._has_come(conn):
                conn.since = None
                conn.parser.unreader.begin()
                return super().handle(conn)
        except OSError:
            return False
        if conn.since is None:
            conn.since = time.monotonic()
        is_late = time.monotonic() - conn.since > REQUEST_SECONDS
        return gthread._DEFER if self.alive and not is_late else False

    def _has_come(self, conn: Any) -> bool:
        """Take in what the connection says without waiting: whether that is a request, or all that there will be."""
        said: bytes = conn.parser.unreader.take_buffered()
        conn.sock.setblocking(False)
        try:
            while not (whole := _is_whole(said)) and len(said) < 2 * REQUEST_BYTES:
                more: bytes = conn.sock.recv(8192)
                if not more:
                    return True
                said += more
        except BlockingIOError:
            if _HEAD_END in said and conn.since is None and _EXPECTS.search(said):
                conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            return False
        finally:
            conn.parser.unreader.unread(said)
        if not whole:
            self.handle_error(None, conn.sock, conn.client, LimitRequestHeaders("too long"))
            raise ConnectionAbortedError
        return True

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that is none: always as the client's fault, since proxies keep a 5xx for long."""
        if isinstance(exc, UnsupportedTransferCoding):
            exc = InvalidHeader("Transfer-Encoding")
        super().handle_error(req, client, addr, exc)


def _is_whole(said: bytes) -> bool:
    """Whether these bytes begin with a whole request: its head, and its body unless that is long."""
    head, end, body = said.partition(_HEAD_END)
    if not end:
        return False
    declared = _BODY.search(head + b"\r\n")
    if declared is None or len(body) >= REQUEST_BYTES:
        return True
    if declared[2]:
        # A chunked body ends with an empty line, like a head.
        return body.endswith(_HEAD_END) or body == b"0" + _HEAD_END
    return not len(body) < int(declared[1]) <= REQUEST_BYTES


def _is_worth_a_line(entry: logging.LogRecord) -> bool:
    """All but what anybody can cause as often as they like, and what names a reader's address."""
    timed_out = entry.exc_info is not None and entry.exc_info[0] in (BlockingIOError, TimeoutError)
    return not timed_out and not entry.getMessage().startswith("Invalid request from ip=")


worker_class = PatientThreads
threads = _settings.render_threads
# A browser or proxy that keeps its connection open for longer than this gets a new one.
keepalive = 5
timeout = 60
graceful_timeout = 20
backlog = 1024
accesslog = None
errorlog = "-"
loglevel = _settings.log_level
# One socket per home folder would be shared by every gunicorn of this user: they would take it from each other.
control_socket_disable = True
# The heartbeat file must not wait for a disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# A head larger than this is no mail client's.
limit_request_line = 8190
limit_request_fields = 60
# No app asks by which scheme or under which prefix it was reached, and gunicorn answers 400 where the headers of two
# proxies contradict each other: a picture must not break by what a proxy on its way adds.
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""


def on_starting(server: Any) -> None:
    """Refuse to run without a process: gunicorn itself would listen and answer nobody, and read no setting."""
    if server.cfg.workers < 1:
        server.log.error("--workers: must be a whole number from 1; LATEBIND_RENDER_WORKERS and its like set it")
        sys.exit(1)


def post_worker_init(worker: Any) -> None:
    """Keep strangers' noise out of the log; tell an app that sheds load how many requests wait for its threads."""
    worker.log.error_log.addFilter(_is_worth_a_line)
    pressure = getattr(worker.wsgi, "extensions", {}).get("pressure")
    if pressure is not None:
        # The pool offers no public count of what waits in it.
        pressure.watch(worker.tpool._work_queue.qsize)


def pre_request(worker: Any, request: Any) -> None:
    """Have a chunked body that breaks off end as one of a declared length does."""
    if isinstance(request.body.reader, ChunkedReader):
        request.body.reader = WholeChunks(request.body.reader)


def post_fork(server: Any, worker: Any) -> None:
    """Keep a process on one core: its threads then hand the interpreter lock over without crossing cores."""
    if _settings.pin_cpus and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[worker.age % len(cores)]})
