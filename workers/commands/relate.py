"""`latebind relate`: learn what stored orders say of products and categories."""

from __future__ import annotations

import os

import click

from base import db
from base.blobs import blobs_from
from base.clock import clock_from
from base.vault import Vault
from workers.beside import settings_here
from workers.relations import RelationsLearner


@click.command("relate")
def command() -> None:
    """Learn now what is bought with what, after how long again and how many at once; opens follow within seconds.

    The schedule does it once a day where an offer asks for it.
    """
    settings = settings_here(os.environ, require=("database_url",))
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind relate")
    try:
        learner = RelationsLearner(db.sessions(engine), blobs_from(settings), clock_from(settings))
        click.echo(f"relations {learner.run(is_asked=True)}")
    finally:
        engine.dispose()
