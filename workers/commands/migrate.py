"""`latebind migrate`."""

from __future__ import annotations

import os

import click
from sqlalchemy.exc import OperationalError

from base.settings import Settings
from base.vault import Vault
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
        except OperationalError as error:
            raise click.ClickException(f"The database cannot be used: {str(error.orig).strip()}") from None
    elif revision is None:
        raise click.UsageError("--draft needs --revision")
    else:
        draft(settings.database_url, message, revision)
