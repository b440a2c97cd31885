"""Apps as their users meet them: gunicorn in a process of its own, on a free port, ended by its pid. Also peers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socketserver import BaseServer
from typing import Protocol

from base.clock import monotonic, pause
from base.environment import environment
from base.processes import free_port
from base.settings import WITHHELD_FROM_RENDER, Settings
from tests.nursery import Born, nursery

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90


@contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    """A peer of the standard library's kind, answering in a thread of this process while the block runs."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Served:
    """A running app. `url` has no slash at its end."""

    url: str
    log: Path
    process: subprocess.Popen[bytes] | Born

    @classmethod
    def start(
        cls, app: str, settings: Settings, log: Path, withheld: tuple[str, ...] = (), *, by_birth: bool = False
    ) -> Served:
        """Start `<app>.app:from_environment()` and wait until /readyz says 200; `by_birth` in a nursery.

        The app `campaigns` is the pages. Render is not given what it must not have; `withheld` keeps back more.
        """
        port = free_port()
        hidden = WITHHELD_FROM_RENDER + withheld if app == "render" else withheld
        arguments = (
            *("--config", str(ROOT / "gunicorn.conf.py")),
            *("--bind", f"127.0.0.1:{port}", "--workers", str(settings.render_workers if app == "render" else 1)),
            *("--threads", str(settings.signals_threads if app == "signals" else settings.render_threads)),
            f"{app}.app:from_environment()",
        )
        environ = outer_environment() | environment(settings, without=hidden)
        if by_birth:
            process: Born | subprocess.Popen[bytes] = nursery(f"{app}.app").born(("gunicorn", *arguments), environ, log)
        else:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "gunicorn", *arguments],
                    cwd=ROOT,
                    env=environ,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        served = cls(f"http://127.0.0.1:{port}", log, process)
        served.await_ready()
        return served

    def await_ready(self) -> None:
        """Return when the app says that it is ready; fail with its log when it ends or takes too long."""
        deadline = monotonic() + START_SECONDS
        while monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2):
                    return
            except urllib.error.HTTPError as error:
                error.close()
            except OSError:
                pass
            pause(0.05)
        self.stop()
        raise AssertionError(f"the app did not become ready:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        """End it as an operator does, and wait."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """`kill -9` to the whole group: the master and its processes."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Serve(Protocol):
    """The fixture `serve`."""

    def __call__(self, app: str, settings: Settings, *, withheld: tuple[str, ...] = ()) -> Served:
        """Start an app by the name of its package and wait until it is ready."""
        ...


def outer_environment() -> dict[str, str]:
    """Our own environment without any setting."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LATEBIND_")}
