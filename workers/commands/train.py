"""`latebind train`: train the next-best-offer model."""

from __future__ import annotations

import os

import click

from base import db, stores
from base.blobs import blobs_from
from base.clock import clock_from
from campaigns import rollout
from campaigns.admin_log import Actor
from render.model import MAX_BAGS
from workers.beside import settings_here
from workers.exposures import Archive
from workers.judgement import table
from workers.training import document, register, train

BY = Actor("latebind train")


@click.command("train")
@click.option("--processes", default=0, show_default="one a core", help="Processes that replay the signals.")
@click.option(
    "--campaign", "campaigns", type=int, multiple=True, help="Number of a campaign that uses the model from now on."
)
@click.option(
    "--bags", default=0, type=click.IntRange(0, MAX_BAGS), help="Boosters more, for slots that explore by Thompson."
)
@click.option("--reason", default="", help="Why it goes live there past the gate, which has not measured it yet.")
def command(processes: int, campaigns: tuple[int, ...], bags: int, reason: str) -> None:
    """Train the next-best-offer model on everything known now, print how good it is, and list it as trained."""
    if campaigns and not reason.strip():
        raise click.UsageError("--campaign needs a --reason: the gate has not measured this model yet")
    settings = settings_here(os.environ, require=("database_url", "redis_url"))
    clock = clock_from(settings)
    engine = db.connect(settings.database_url, statement_ms=0, application="latebind train")
    store = stores.connect(settings.redis_url)
    try:
        sessions = db.sessions(engine)
        blobs = blobs_from(settings)
        archive = Archive(blobs, settings.subject_key) if settings.subject_key else None
        trained = train(
            sessions, settings.database_url, clock.now(), lambda line: click.echo(line, err=True), processes,
            archive, bags,
        )  # fmt: skip
        for line in table(document(trained)):
            click.echo(line)
        with db.transaction(sessions) as session:
            digest = register(session, blobs, trained, clock.now())
        click.echo(f"model {digest}, {len(trained.artefact)} bytes, {trained.seconds:.1f} s")
        for number in campaigns:
            with db.transaction(sessions) as session:
                rollout.to_live(session, store, blobs, number, digest, clock.now(), BY, reason)
            click.echo(f"campaign {number} uses it from now on")
    finally:
        store.close()
        engine.dispose()
