"""`latebind judge`: bring models on trial up to date."""

from __future__ import annotations

import os

import click

from base import db
from base.blobs import blobs_from
from base.clock import clock_from
from base.logs import set_up
from base.vault import Vault
from workers.beside import settings_here
from workers.judging import Judge


@click.command("judge")
def command() -> None:
    """Decide recorded opens once more by the models on trial, and ask the gate about them."""
    settings = settings_here(os.environ, require=("database_url", "subject_key"))
    set_up(settings, "judge")
    engine = db.connect(settings.database_url, vault=Vault.of(settings), statement_ms=0, application="latebind judge")
    try:
        done = Judge(db.sessions(engine), blobs_from(settings), settings.subject_key, clock_from(settings)).run()
    finally:
        engine.dispose()
    click.echo(
        "{slices} slices of opens decided once more, {asked} verdicts, {measured} models measured".format(**done)
    )
