"""`latebind records`: what was set aside of the record streams, putting it back, and their key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from redis import RedisError
from sqlalchemy.orm import Session

from base import db, stores
from base.clock import clock_from
from base.errors import Unavailable
from base.recordstreams import RecordStreams
from base.sealing import KEY_BYTES, Sealer
from base.settings import Settings
from base.stores import Store
from campaigns import admin_log
from campaigns.admin_log import SYSTEM
from render.spool import SUFFIX, Spool
from signals import keymarks
from workers import setaside
from workers.beside import settings_here
from workers.setaside import SetAside


@contextmanager
def _opened(*require: str) -> Iterator[tuple[Settings, Store]]:
    settings = settings_here(os.environ, require=("redis_url", *require))
    store = stores.connect(settings.redis_url)
    try:
        yield settings, store
    except RedisError:
        raise Unavailable("The store") from None
    finally:
        store.close()


@contextmanager
def _session(settings: Settings) -> Iterator[Session]:
    engine = db.connect(settings.database_url, application="latebind records")
    try:
        with db.transaction(db.sessions(engine)) as session:
            yield session
    finally:
        engine.dispose()


@click.group("records")
def command() -> None:
    """Put back records of opens that no recorder could store, and change the key that seals them on their way."""


def _key(_: click.Context, __: click.Parameter, file: Path | None) -> Sealer | None:
    """The key in a file: no other user of the machine may see it, as they see arguments."""
    if file is None:
        return None
    try:
        return Sealer(bytes.fromhex(file.read_text().strip()))
    except ValueError:
        raise click.BadParameter(
            f"{file} must hold a key: {2 * KEY_BYTES} hexadecimal digits and nothing else"
        ) from None


_SEALED_WITH = click.option(
    "--sealed-with",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_key,
    help="A file with the key that they were sealed with, as hexadecimal digits, where that is another.",
)


@command.command("show")
@_SEALED_WITH
def show(sealed_with: Sealer | None) -> None:
    """Say how many entries are set aside, and how many of them open; exit status 1 where there are any."""
    with _opened("record_key") as (settings, store):
        held = SetAside(store, Sealer(settings.record_key), sealed_with).held()
    for one in held:
        click.echo(f"{one.stream}: {one.entries:,} entries set aside, {one.open:,} of them open")
    if held:
        raise SystemExit(1)
    click.echo("Nothing is set aside.")


@command.command("put-back")
@_SEALED_WITH
def put_back(sealed_with: Sealer | None) -> None:
    """Put entries that open on their streams again, where recorders store them; exit status 1 where any is left.

    Each goes back once. It may be stopped and begun again, and runs beside everything else.
    """
    with _opened("database_url", "record_key") as (settings, store):
        with _session(settings) as session:
            # With another key than the recorders' they would be set aside again.
            keymarks.check(session, settings, "record_key")
        number = SetAside(store, Sealer(settings.record_key), sealed_with).put_back()
        left, now = setaside.count(store), clock_from(settings).now()
        if number:
            with _session(settings) as session:
                admin_log.record(session, SYSTEM, "put back", "records", "set aside", now, after={"entries": number})
    click.echo(f"{number:,} entries put back, {left:,} left")
    if left:
        raise SystemExit(1)


@command.command("accept-key")
@click.option("--anyway", is_flag=True, help="Though entries wait: those sealed with the key before will be set aside.")
def accept_key(anyway: bool) -> None:
    """Make LATEBIND_RECORD_KEY, as it is set here, the key of this installation.

    First stop render and let the recorders empty the stream, and the spool of every host on which render runs: only
    this host's can be seen from here. Everything that runs needs the new key afterwards.
    """
    with _opened("database_url", "record_key") as (settings, store):
        waiting = RecordStreams(store).length()
        if waiting and not anyway:
            raise click.ClickException(
                f"{waiting:,} entries wait to be recorded: stop render, and have the recorders store them first"
            )
        folder = settings.var / "spool"
        if Spool(folder).waiting() and not anyway:
            raise click.ClickException(
                f"records wait on this host's disk, in {folder}: run a recorder or render here until they are gone"
            )
        with _session(settings) as session:
            now = clock_from(settings).now()
            keymarks.accept(session, settings, "record_key", now)
            admin_log.record(session, SYSTEM, "accept", "record key", "record_key", now, after={"waiting": waiting})
    click.echo("This is the installation's record key now. Start render, recorders and pages with it.")
    click.echo(
        f"Where files of *{SUFFIX} wait in var/spool of another host, keep the key before: what they hold is set aside,"
        " and goes back with put-back --sealed-with."
    )
