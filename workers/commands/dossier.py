"""`latebind dossier`: all that is kept of one customer, as a JSON file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from base import db, stores
from base.clock import clock_from
from base.db import transaction
from base.vault import Vault
from campaigns import customers, dossier
from campaigns.admin_log import Actor
from signals import keymarks
from workers.beside import settings_here

OPERATOR = Actor("command line")


@click.command("dossier")
@click.argument("customer")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def command(customer: str, file: Path) -> None:
    """Write all that is kept of one customer to FILE, which must not exist yet.

    CUSTOMER is an e-mail address, customer number, phone number or order number, or “Customer” and the number of their
    page.
    """
    settings = settings_here(os.environ, require=("database_url", "redis_url", "subject_key", "hash_key", "pii_keys"))
    engine = db.connect(settings.database_url, vault=Vault.of(settings), statement_ms=0, application="latebind dossier")
    store = stores.connect(settings.redis_url)
    try:
        sessions, clock = db.sessions(engine), clock_from(settings)
        keymarks.settle(sessions, settings, clock.now())
        with transaction(sessions) as session:
            found = customers.find(session, customer, settings.hash_key, settings.phone_regions)
            if len(found) != 1:
                raise click.ClickException(f"{len(found)} customers are known by that; it must be one")
            made = dossier.export(session, store, settings.subject_key, found[0].profile, clock.now(), OPERATOR)
            # Only whoever runs this may read it.
            with made, os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                shutil.copyfileobj(made, out)
    except FileExistsError:
        raise click.ClickException(f"{file} is there already") from None
    finally:
        store.close()
        engine.dispose()
    click.echo(f"Written to {file}.")
