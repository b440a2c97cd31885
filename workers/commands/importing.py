"""`latebind import`: load events or products from files, in bulk."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from base import db, stores
from base.clock import clock_from, monotonic
from base.errors import InvalidInput
from base.settings import Settings
from signals.feed import FORMATS, sniffed
from signals.importing import ImportReport, import_events, import_products
from signals.intake import Intake
from signals.sources import keyless_sender
from workers.beside import settings_here

DEFAULT_SOURCE = "file"
_FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_SOURCE = click.option(
    "--source", default=DEFAULT_SOURCE, show_default=True, help="Whom the data come from; ids are told apart by source."
)


@contextmanager
def opened_intake() -> Iterator[tuple[Settings, Intake]]:
    """The intake on the stores of the environment, without a limit on the time of a statement: bulk work."""
    settings = settings_here(os.environ, require=("database_url", "redis_url", "hash_key"))
    engine = db.connect(settings.database_url, statement_ms=0, application="latebind import")
    store = stores.connect(settings.redis_url)
    try:
        yield settings, Intake(db.sessions(engine), store, settings.hash_key)
    finally:
        store.close()
        engine.dispose()


@click.group("import")
def command() -> None:
    """Load events or products from files. Doing it again is safe."""


@command.command("events")
@_FILE
@_SOURCE
def events(file: Path, source: str) -> None:
    """Load events: JSON lines in the form of the Segment spec (gzip when the name ends in .gz)."""
    began = monotonic()

    def show(report: ImportReport) -> None:
        rate = report.lines / max(monotonic() - began, 0.001)
        click.echo(f"{report.lines:,} lines, {rate:,.0f}/s", err=True)

    with opened_intake() as (settings, intake), _reading(file) as lines:
        now = clock_from(settings).now()
        sender = intake.settle(lambda session: keyless_sender(session, source, now))
        report = import_events(intake, sender, lines, now, show)
    for bad in report.bad:
        click.echo(f"line {bad.line}: {bad.field or 'event'}: {bad.message}", err=True)
    click.echo(
        f"{report.accepted} taken, {report.duplicates} known already, {report.conflicts} contradicting,"
        f" {report.rejected} refused"
    )


@command.command("products")
@_FILE
@_SOURCE
@click.option("--format", "named", type=click.Choice(FORMATS), help="By default told by the file's first bytes.")
def products(file: Path, source: str, named: str | None) -> None:
    """Load a product feed with Google Merchant Center attributes: tab-separated, XML or JSON."""
    with _reading(file) as stream:
        start = stream.read(100)
    format_ = next((known for known in FORMATS if known == named), sniffed(start))
    with opened_intake() as (settings, intake), _reading(file) as stream:
        now = clock_from(settings).now()
        sender = intake.settle(lambda session: keyless_sender(session, source, now))
        report = import_products(intake, sender, stream, format_, now)
    for bad in report.rejected:
        click.echo(f"item {bad.index + 1}: {bad.field or 'item'}: {bad.message}", err=True)
    click.echo(f"{report.stored} stored, {report.refused} refused")


@contextmanager
def _reading(file: Path) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            yield stream  # type: ignore[misc]
    except (gzip.BadGzipFile, EOFError) as error:
        raise InvalidInput(file.name, f"is not a whole gzip file: {error}") from None
