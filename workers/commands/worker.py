"""`latebind worker <queue>`."""

from __future__ import annotations

import os

import click

from base import db, stores
from base.blobs import blobs_from
from base.clock import clock_from
from base.downloads import Downloads
from base.logs import set_up
from base.processes import give_way
from base.queues import QueueName
from base.settings import Settings
from base.vault import Vault
from campaigns.instance import Guard
from signals import keymarks
from signals.intake import Intake
from workers import jobs
from workers.exporting import Exporter
from workers.productpictures import PictureFetcher
from workers.pulse import pulsing
from workers.reckoner import Reckoner
from workers.relations import RelationsLearner
from workers.sending import Sender


@click.command()
@click.argument("name", type=click.Choice([name.value for name in QueueName]))
def command(name: str) -> None:
    """Run the jobs of a queue until told to stop; more of them share the work."""
    required = ("database_url", "redis_url", "queue_url", "token_keys", "hash_key", "subject_key", "pii_keys")
    settings = Settings.from_environment(os.environ, require=required)
    set_up(settings, f"worker {name}")
    give_way(settings.niceness)
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application=f"latebind worker {name}")
    store = stores.connect(settings.redis_url)
    sessions, blobs, clock = db.sessions(engine), blobs_from(settings), clock_from(settings)
    keymarks.settle(sessions, settings, clock.now())
    sender = Sender(settings, sessions, store, blobs, clock)
    downloads = Downloads(loopback=settings.fetch_loopback, named="image_link")
    fetcher = PictureFetcher(Intake(sessions, store, settings.hash_key), blobs, clock, get=downloads.get)
    receivers = Downloads(loopback=settings.fetch_loopback, named="url")
    guard = Guard(settings, "exports", claims=False)
    exporter = Exporter(sessions, clock, settings.subject_key, guard, post=receivers.post)
    # What is counted of millions takes as long as it takes.
    unlimited = db.connect(
        settings.database_url, vault=Vault.of(settings), pool_size=1, statement_ms=0, application="latebind results"
    )
    reckoner = Reckoner(db.sessions(unlimited), blobs, clock)
    jobs.set_up(sender, fetcher, RelationsLearner(sessions, blobs, clock), exporter, reckoner)
    queues = stores.connect_queues(settings.queue_url)
    try:
        # RQ changes how long the client that it is given waits.
        with pulsing(settings.alive_file, sessions, [store, stores.connect_queues(settings.queue_url)]):
            jobs.work(QueueName(name), queues)
    finally:
        sender.close()
        engine.dispose()
        unlimited.dispose()
