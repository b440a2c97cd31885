"""`latebind train`: train the next-best-offer model."""

from __future__ import annotations

import os

import click

from base import db, stores
from base.blobs import blobs_from
from base.clock import clock_from
from campaigns import publish
from campaigns.admin_log import Actor
from workers.beside import settings_here
from workers.judgement import table
from workers.training import document, register, train

BY = Actor("latebind train")


@click.command("train")
@click.option("--processes", default=0, show_default="one a core", help="Processes that replay the signals.")
@click.option(
    "--campaign", "campaigns", type=int, multiple=True, help="Number of a campaign that uses the model from now on."
)
def command(processes: int, campaigns: tuple[int, ...]) -> None:
    """Train the next-best-offer model on everything known now, print how good it is, and list it as trained."""
    settings = settings_here(os.environ, require=("database_url", "redis_url"))
    clock = clock_from(settings)
    engine = db.connect(settings.database_url, statement_ms=0, application="latebind train")
    store = stores.connect(settings.redis_url)
    try:
        sessions = db.sessions(engine)
        trained = train(
            sessions, settings.database_url, clock.now(), lambda line: click.echo(line, err=True), processes
        )
        for line in table(document(trained)):
            click.echo(line)
        with db.transaction(sessions) as session:
            digest = register(session, blobs_from(settings), trained, clock.now())
        click.echo(f"model {digest}, {len(trained.artefact)} bytes, {trained.seconds:.1f} s")
        for number in campaigns:
            with db.transaction(sessions) as session:
                publish.set_model(session, store, number, digest, clock.now(), BY)
            click.echo(f"campaign {number} uses it from now on")
    finally:
        store.close()
        engine.dispose()
