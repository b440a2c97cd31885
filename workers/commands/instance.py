"""`latebind instance`: whose database this is, and taking over a copy or a backup on purpose."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy.orm import Session

from base import db
from base.clock import clock_from
from base.errors import Conflict
from base.settings import Settings
from base.vault import Vault
from campaigns import instance
from campaigns.admin_log import SYSTEM
from campaigns.instance import Here
from workers.beside import settings_here


@contextmanager
def _opened() -> Iterator[tuple[Settings, Session]]:
    settings = settings_here(os.environ, require=("database_url",))
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind instance")
    try:
        with db.transaction(db.sessions(engine)) as session:
            yield settings, session
    finally:
        engine.dispose()


@click.group("instance")
def command() -> None:
    """Say whether this installation may send from its database, and take over a copy or a backup."""


@command.command("show")
def show() -> None:
    """Say whether this installation may send from this database; exit status 1 when not."""
    with _opened() as (settings, session):
        why = instance.standing(session, Here.of(settings))
    click.echo(why or "This installation sends from this database.")
    raise SystemExit(0 if why is None else 1)


@command.command("confirm")
def confirm() -> None:
    """Make this host one of those that share the work with this database; for a host that is new, not for a copy."""
    try:
        with _opened() as (settings, session):
            instance.confirm(session, Here.of(settings), clock_from(settings).now(), SYSTEM)
    except Conflict as error:
        raise click.ClickException(str(error)) from error
    click.echo("This host works with this database from now on.")


@command.command("take-over")
@click.option(
    "--keep-running", is_flag=True, help="Do not pause campaigns; only where nothing was sent since the copy was made."
)
def take_over(keep_running: bool) -> None:
    """Have this installation send from this database, and no other; its campaigns are paused first."""
    with _opened() as (settings, session):
        now = clock_from(settings).now()
        paused = instance.take_over(session, Here.of(settings), now, SYSTEM, keep_running=keep_running)
    click.echo("This installation sends from this database from now on.")
    click.echo("Run `latebind rebuild` where the database was restored: opens go by what the hot store has of later.")
    for campaign in paused:
        click.echo(f"paused: {campaign.name}")
    if paused:
        click.echo("Look at each before you resume it: mails that left after the copy was made are not known here.")
