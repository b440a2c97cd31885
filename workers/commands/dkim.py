"""`latebind dkim`: make the keys that sign mails, see what to publish, check it, activate and retire them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy.orm import Session

from base import db
from base.clock import clock_from
from base.settings import Settings
from base.vault import Vault
from campaigns import dkimkeys
from campaigns.admin_log import SYSTEM
from campaigns.lookups import Lookups
from campaigns.models.signing import DkimKey
from workers.beside import settings_here


@contextmanager
def _open() -> Iterator[tuple[Settings, Session]]:
    settings = settings_here(os.environ, require=("database_url", "subject_key"))
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind dkim")
    try:
        with db.transaction(db.sessions(engine)) as session:
            yield settings, session
    finally:
        engine.dispose()


def _tell(key: DkimKey) -> None:
    """What to publish: for a zone file, and as most pages of DNS providers want it."""
    record = dkimkeys.record(key)
    click.echo(f"{record.line}\n\nName:  {record.name}\nType:  TXT\nValue: {record.value}")


@click.group("dkim")
def command() -> None:
    """Make, publish, activate and retire the keys that sign mails."""


@command.command("make")
@click.argument("domain")
@click.option("--algorithm", type=click.Choice(dkimkeys.ALGORITHMS), default="rsa", show_default=True)
@click.option("--selector", default=None, help="The name of the key under its domain; by default from today's date.")
def make(domain: str, algorithm: str, selector: str | None) -> None:
    """Make a key and print the record to publish."""
    with _open() as (settings, session):
        now = clock_from(settings).now()
        _tell(dkimkeys.make(session, domain, algorithm, settings.subject_key, now, SYSTEM, selector))


@command.command("list")
@click.argument("domain", required=False)
def show_all(domain: str | None) -> None:
    """Every key, or those of a domain."""
    with _open() as (_, session):
        for key in dkimkeys.keys(session, dkimkeys.domain_name(domain) if domain else None):
            click.echo(f"{key.domain}\t{key.selector}\t{key.algorithm}\t{key.state}\tsince {key.created_at:%Y-%m-%d}")


@command.command("show")
@click.argument("domain")
@click.argument("selector")
def show(domain: str, selector: str) -> None:
    """Print the record that publishes a key."""
    with _open() as (_, session):
        _tell(dkimkeys.named(session, domain, selector))


@command.command("check")
@click.argument("domain")
@click.argument("selector")
def check(domain: str, selector: str) -> None:
    """Look whether the DNS shows a key; exit status 1 when it does not."""
    with _open() as (settings, session):
        well, words = dkimkeys.published(dkimkeys.named(session, domain, selector), Lookups.of(settings))
    click.echo(words)
    raise SystemExit(0 if well else 1)


@command.command("activate")
@click.argument("domain")
@click.argument("selector")
@click.option("--unchecked", is_flag=True, help="Do not look into the DNS first.")
def activate(domain: str, selector: str, unchecked: bool) -> None:
    """Sign with a key from now on, in place of the one before."""
    with _open() as (settings, session):
        key = dkimkeys.named(session, domain, selector)
        now = clock_from(settings).now()
        dkimkeys.activate(session, key.id, Lookups.of(settings), now, SYSTEM, unchecked=unchecked)
    click.echo("Mails are signed with it from now on.")


@command.command("retire")
@click.argument("domain")
@click.argument("selector")
def retire(domain: str, selector: str) -> None:
    """Never sign with a key again; its private half is deleted."""
    with _open() as (settings, session):
        dkimkeys.retire(session, dkimkeys.named(session, domain, selector).id, clock_from(settings).now(), SYSTEM)
    click.echo("Retired. Its record may go from the DNS once no mail is on its way that names it.")
