"""`latebind migrate`."""

from __future__ import annotations

import os

import click
from sqlalchemy.exc import OperationalError

from base import db
from base.clock import clock_from
from base.settings import Settings
from base.vault import Vault
from signals import keymarks
from workers.migration import draft, migrate


@click.command()
@click.option("--draft", "message", metavar="MESSAGE", help="Write a new revision from the models instead.")
@click.option("--revision", metavar="NUMBER", help="Number of the new revision, such as 0004_segments.")
def command(message: str | None, revision: str | None) -> None:
    """Bring the database to the newest schema. Safe to run from several hosts at once."""
    settings = Settings.from_environment(os.environ, require=["database_url", "pii_keys", "hash_key"])
    if message is None:
        try:
            migrate(settings.database_url, Vault.of(settings), settings.hash_key)
            _settle(settings)
        except OperationalError as error:
            raise click.ClickException(f"The database cannot be used: {str(error.orig).strip()}") from None
    elif revision is None:
        raise click.UsageError("--draft needs --revision")
    else:
        draft(settings.database_url, message, revision)


def _settle(settings: Settings) -> None:
    """The keys that migrated the database are this installation's, unless it had others."""
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind migrate")
    try:
        keymarks.settle(db.sessions(engine), settings, clock_from(settings).now())
    finally:
        engine.dispose()
