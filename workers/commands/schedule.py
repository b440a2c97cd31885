"""`latebind schedule`."""

from __future__ import annotations

import os

import click

from base import db, stores
from base.blobs import blobs_from
from base.clock import clock_from
from base.logs import set_up
from base.settings import Settings
from base.vault import Vault
from signals import keymarks
from workers.pulse import pulsing
from workers.schedule import Scheduler


@click.command()
def command() -> None:
    """Start what is due, keep the send queue filled, finish what is done; any number may run."""
    required = ("database_url", "redis_url", "queue_url", "hash_key", "pii_keys")
    settings = Settings.from_environment(os.environ, require=required)
    set_up(settings, "schedule")
    # Freezing a large audience takes longer than a page may.
    engine = db.connect(
        settings.database_url, vault=Vault.of(settings), statement_ms=0, application="latebind schedule"
    )
    store, queues = stores.connect(settings.redis_url), stores.connect_queues(settings.queue_url)
    sessions, clock = db.sessions(engine), clock_from(settings)
    keymarks.settle(sessions, settings, clock.now())
    try:
        with pulsing(settings.alive_file, sessions, [store, queues]):
            Scheduler(settings, sessions, store, queues, blobs_from(settings), clock).run()
    finally:
        engine.dispose()
