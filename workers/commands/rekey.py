"""`latebind rekey`."""

from __future__ import annotations

import os

import click

from base import db
from base.clock import clock_from
from base.processes import give_way
from base.vault import VARIABLE, Vault
from signals import keymarks
from workers.beside import settings_here
from workers.rekeying import rekey


@click.command("rekey")
def command() -> None:
    """Seal what is kept of people anew under the newest key. May be stopped and begun again; runs beside the system.

    Exit status 1 while something is left under another key, or does not open.
    """
    settings = settings_here(os.environ, require=("database_url", "pii_keys"))
    vault = Vault.of(settings)
    engine = db.connect(settings.database_url, vault=vault, statement_ms=0, application="latebind rekey")
    try:
        give_way(settings.niceness)
        sessions = db.sessions(engine)
        keymarks.settle(sessions, settings, clock_from(settings).now())
        done = rekey(sessions, lambda line: click.echo(line, err=True))
    finally:
        engine.dispose()
    for name, number in done.sealed.items():
        if number:
            click.echo(f"{name}: {number:,} sealed anew")
    for where in done.named:
        click.echo(f"Damaged: {where}")
    if done.damaged:
        click.echo(f"{done.damaged:,} values do not open and were left as they are: docs/deploy.md says what to do.")
    if done.left:
        kept = ", ".join(f"{number:,} values under key {key}" for key, number in sorted(done.left.items()))
        click.echo(f"Left: {kept}. A process writes under it, or held its rows: restart all with key {done.newest}.")
        raise SystemExit(1)
    others = [str(number) for number in vault.numbers if number != done.newest]
    click.echo(f"All is sealed under key {done.newest}.")
    if others:
        click.echo(
            f"Once every process was started with it, {VARIABLE} needs no key {' or '.join(others)} for this database;"
            " keep what opens your backups."
        )
