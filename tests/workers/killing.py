"""A program that sends batches in children which kill themselves with SIGKILL at a chosen statement of the sender.

It reads one JSON order a line from stdin: {"ids": […], "now": "…", "kill_at": n or null, "trace": path or null, "warm":
plan hash or null}, forks, lets the child send with a tracer that counts the lines run in the sender's modules, and
answers with the child's status once it is dead. Forking from a process that has everything loaded, and for a warm order
the plan's mail compiled, as a sender has from its second batch on, makes a trial cost milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import Engine

from base import db, stores
from base.blobs import blobs_from
from base.clock import FixedClock
from base.settings import Settings
from workers.sending import Sender

ROOT = Path(__file__).resolve().parent.parent.parent
WALKED = frozenset(
    str(ROOT / name)
    for name in (
        "workers/sending.py",
        "workers/handover.py",
        "workers/transport.py",
        "campaigns/deliveries.py",
        "campaigns/sentfacts.py",
    )
)
HANDING = 2


def tracer(kill_at: int | None, seen: list[str]) -> Callable[[FrameType, str, Any], Any]:
    """Counts statements of the walked modules, and at the chosen one ends this process as nothing can prevent."""

    def local(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            if len(seen) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
        return local

    def begin(frame: FrameType, _event: str, _argument: Any) -> Any:
        return local if frame.f_code.co_filename in WALKED else None

    return begin


def made(now: str) -> tuple[Sender, Engine]:
    """A sender with connections of its own."""
    settings = Settings.from_environment(os.environ)
    engine, store = db.connect(settings.database_url), stores.connect(settings.redis_url)
    clock = FixedClock(datetime.fromisoformat(now))
    return Sender(settings, db.sessions(engine), store, blobs_from(settings), clock, handing=HANDING), engine


def child(order: dict[str, Any], compiled: dict[str, Any]) -> None:
    """Send the batch; does not return."""
    sender, _ = made(order["now"])
    if order["warm"]:
        sender._composers[order["warm"]] = compiled[order["warm"]]
    seen: list[str] = []
    sys.settrace(tracer(order["kill_at"], seen))
    sender.send(order["ids"])
    sys.settrace(None)
    if order["trace"]:
        Path(order["trace"]).write_text("\n".join(seen))
    sender.close()
    os._exit(0)


def main() -> None:
    """Serve orders until stdin ends."""
    compiled: dict[str, Any] = {}
    for line in sys.stdin:
        order = json.loads(line)
        if order["warm"] and order["warm"] not in compiled:
            sender, engine = made(order["now"])
            compiled[order["warm"]] = sender._composer(order["warm"])
            engine.dispose()
        number = os.fork()
        if number == 0:
            try:
                child(order, compiled)
            finally:
                os._exit(70)
        _, status = os.waitpid(number, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
