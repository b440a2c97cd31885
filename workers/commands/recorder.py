"""`latebind recorder`."""

from __future__ import annotations

import os
import signal
import threading

import click

from base import db, stores
from base.blobs import blobs_from
from base.clock import clock_from
from base.logs import set_up
from base.settings import Settings
from base.vault import Vault
from signals import keymarks
from workers.following import Following
from workers.pulse import pulsing
from workers.recorder import Recorder, RecorderParts, run


@click.command()
def command() -> None:
    """Move what happened at opens from the stream to the database; any number may run."""
    required = ("database_url", "redis_url", "record_key", "subject_key", "hash_key", "pii_keys")
    settings = Settings.from_environment(os.environ, require=required)
    set_up(settings, "recorder")
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind recorder")
    parts = RecorderParts(
        settings=settings,
        sessions=db.sessions(engine),
        store=stores.connect(settings.redis_url),
        blobs=blobs_from(settings),
        clock=clock_from(settings),
    )
    keymarks.settle(parts.sessions, settings, parts.clock.now())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    try:
        with pulsing(settings.alive_file, parts.sessions, [parts.store]):
            run(Recorder(parts, Following(parts)), stop)
    finally:
        engine.dispose()
