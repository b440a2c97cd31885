"""`latebind train`: train the next-best-offer model."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import click

from base import db, stores
from base.blobs import FolderBlobs, blobs_from
from base.clock import Clock, clock_from
from base.db import Sessions
from base.errors import LatebindError
from base.stores import Store
from base.vault import Vault
from campaigns import rollout
from campaigns.admin_log import Actor
from render.model import MAX_BAGS
from workers import trainings
from workers.beside import settings_here
from workers.judgement import table
from workers.showings import Archive
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
@click.option("--scheduled", is_flag=True, help="Unless one is being trained; then into the shadow of campaigns.")
def command(processes: int, campaigns: tuple[int, ...], bags: int, reason: str, scheduled: bool) -> None:
    """Train the next-best-offer model on everything known now, print how good it is, and list it as trained."""
    if campaigns and not reason.strip():
        raise click.UsageError("--campaign needs a --reason: the gate has not measured this model yet")
    settings = settings_here(os.environ, require=("database_url", "redis_url", "pii_keys"))
    clock, blobs = clock_from(settings), blobs_from(settings)
    engine = db.connect(settings.database_url, vault=Vault.of(settings), statement_ms=0, application="latebind train")
    store = stores.connect(settings.redis_url)
    sessions = db.sessions(engine)

    def made() -> str:
        archive = Archive(blobs, settings.subject_key) if settings.subject_key else None
        say = partial(click.echo, err=True)
        trained = train(
            sessions, settings.database_url, clock.now(), say, processes, archive, bags, settings.learn_decisions,
            settings.dask_url,
        )  # fmt: skip
        for line in table(document(trained)):
            click.echo(line)
        with db.transaction(sessions) as session:
            digest = register(session, blobs, trained, clock.now())
        click.echo(f"model {digest}, {len(trained.artefact)} bytes, {trained.seconds:.1f} s")
        return digest

    try:
        digest = _as_a_run(sessions, store, blobs, clock, made) if scheduled else made()
        for number in campaigns:
            with db.transaction(sessions) as session:
                rollout.to_live(session, store, blobs, number, digest, clock.now(), BY, reason)
            click.echo(f"campaign {number} uses it from now on")
    finally:
        store.close()
        engine.dispose()


def _as_a_run(sessions: Sessions, store: Store, blobs: FolderBlobs, clock: Clock, made: Callable[[], str]) -> str:
    """Train as the schedule does: alone, with a row that tells what came of it, and then into the shadow."""
    with db.transaction(sessions) as session:
        number = trainings.begin(session, clock.now())
    try:
        digest = made()
        with db.transaction(sessions) as session:
            tried = trainings.into_the_shadow(session, store, blobs, digest, clock.now())
            told = f"In the shadow of {len(tried)} campaigns." if tried else "Trained; in no campaign yet."
            trainings.end(session, number, clock.now(), told, digest)
    except Exception as error:
        told = str(error) if isinstance(error, LatebindError) else f"It broke off: {type(error).__name__}."
        with db.transaction(sessions) as session:
            trainings.end(session, number, clock.now(), told)
        raise
    return digest
