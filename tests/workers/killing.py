"""A program that sends batches in children which kill themselves with SIGKILL at a chosen statement of the sender.

It reads one JSON order a line from stdin: {"ids": […], "now": "…", "kill_at": n or null, "trace": path or null, "warm":
plan hash or null}, forks, lets the child send with a tracer that counts the lines run in the sender's modules, and
answers with the child's status once it is dead. A trace is JSON: each line with what the world had been told before it.
The first order it carries out itself: forking from a process that has everything loaded, every query compiled, and for
a warm order the plan's mail, makes a trial cost milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import Engine

from base import db, stores
from base.blobs import blobs_from
from base.clock import FixedClock
from base.settings import Settings
from base.vault import Vault
from workers.sending import Sender

ROOT = Path(__file__).resolve().parent.parent.parent
WALKED = frozenset(
    str(ROOT / name)
    for name in (
        "workers/sending.py",
        "workers/composers.py",
        "workers/ways.py",
        "workers/handover.py",
        "workers/transport.py",
        "campaigns/deliveries.py",
        "campaigns/sentfacts.py",
    )
)
HANDING = 2
TCP_INFO_SENT = 200
"""Where `struct tcp_info` of Linux has the number of bytes that were sent, in eight bytes."""


def told() -> str:
    """What this process has told the world: the bytes written to files, and its sockets with the bytes sent by each."""
    written = next(line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("wchar"))
    sent = []
    for entry in Path("/proc/self/fd").iterdir():
        # The folder's own is closed again by now.
        if entry.is_socket():
            with socket.socket(fileno=os.dup(int(entry.name))) as one:
                known = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            number = int.from_bytes(known[TCP_INFO_SENT : TCP_INFO_SENT + 8], sys.byteorder)
            sent.append((entry.stat().st_ino, number))
    return f"{written} {sorted(sent)}"


def tracer(kill_at: int | None, seen: list[tuple[str, str]], *, traces: bool) -> Callable[[FrameType, str, Any], Any]:
    """Counts statements of the walked modules, and at the chosen one ends this process as nothing can prevent.

    `seen` gets each with what had been told before it, which is looked up only when the child `traces`.
    """

    def local(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            if len(seen) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen.append((f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}", told() if traces else ""))
        return local

    def begin(frame: FrameType, _event: str, _argument: Any) -> Any:
        return local if frame.f_code.co_filename in WALKED else None

    return begin


@dataclass
class Killing:
    """What children inherit: all but connections."""

    settings: Settings
    engine: Engine
    compiled: dict[str, Any] = field(default_factory=dict)

    def sender(self, now: str) -> Sender:
        """A sender with a connection to the store of its own."""
        store, clock = stores.connect(self.settings.redis_url), FixedClock(datetime.fromisoformat(now))
        return Sender(self.settings, db.sessions(self.engine), store, blobs_from(self.settings), clock, handing=HANDING)

    def rehearse(self, order: dict[str, Any]) -> None:
        """Send a batch in this process, which keeps no connection of it."""
        sender = self.sender(order["now"])
        sender.send(order["ids"])
        self.compiled |= sender._composers.kept
        sender.close()
        self.engine.dispose()

    def child(self, order: dict[str, Any]) -> None:
        """Send the batch; does not return."""
        sender = self.sender(order["now"])
        if order["warm"]:
            sender._composers.kept[order["warm"]] = self.compiled[order["warm"]]
        seen: list[tuple[str, str]] = []
        sys.settrace(tracer(order["kill_at"], seen, traces=bool(order["trace"])))
        sender.send(order["ids"])
        sys.settrace(None)
        if order["trace"]:
            Path(order["trace"]).write_text(json.dumps(seen))
        sender.close()
        os._exit(0)

    def carry_out(self, order: dict[str, Any]) -> int:
        """The status of the child, which is dead by then."""
        number = os.fork()
        if number == 0:
            try:
                self.child(order)
            finally:
                os._exit(70)
        _, status = os.waitpid(number, 0)
        return os.waitstatus_to_exitcode(status)


def main() -> None:
    """Serve orders until stdin ends."""
    settings = Settings.from_environment(os.environ)
    killing = Killing(settings, db.connect(settings.database_url, vault=Vault.of(settings)))
    killing.rehearse(json.loads(sys.stdin.readline()))
    print(0, flush=True)
    for line in sys.stdin:
        print(killing.carry_out(json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
