"""gunicorn for the three apps; the Procfile adds address, number of processes and app.

Sources of the numbers: four threads a process and one process a core measured best for short answers on two cores.
"""

import logging
import os
from pathlib import Path
from typing import Any

from gunicorn.http.errors import InvalidHeader, UnsupportedTransferCoding
from gunicorn.workers import gthread

from base.settings import Settings

_settings = Settings.from_environment(os.environ)


class PatientThreads(gthread.ThreadWorker):
    """gthread, but no thread waits for a connection that has said nothing yet.

    gunicorn's own gives each new connection a thread for up to five seconds: four silent ones would hold up every open.
    Here they wait in the poller, which costs nothing, and are closed after `keepalive`.
    """

    def handle(self, conn: Any) -> Any:
        """Serve a connection that has something to say; hand any other to the poller."""
        if not conn.initialized and not conn.wait_for_data(0):
            return gthread._DEFER
        return super().handle(conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that is none: always as the client's fault, since proxies keep a 5xx for long."""
        if isinstance(exc, UnsupportedTransferCoding):
            exc = InvalidHeader("Transfer-Encoding")
        super().handle_error(req, client, addr, exc)


def _is_worth_a_line(entry: logging.LogRecord) -> bool:
    """All but what anybody can cause as often as they like, and what names a reader's address."""
    return not entry.getMessage().startswith("Invalid request from ip=")


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


def post_worker_init(worker: Any) -> None:
    """Keep strangers' noise out of the log; tell an app that sheds load how many requests wait for its threads."""
    worker.log.error_log.addFilter(_is_worth_a_line)
    pressure = getattr(worker.wsgi, "extensions", {}).get("pressure")
    if pressure is not None:
        # The pool offers no public count of what waits in it.
        pressure.watch(worker.tpool._work_queue.qsize)


def post_fork(server: Any, worker: Any) -> None:
    """Keep a process on one core: its threads then hand the interpreter lock over without crossing cores."""
    if _settings.pin_cpus and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[worker.age % len(cores)]})
