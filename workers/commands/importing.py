"""`latebind import`: load events or products from files, in bulk."""

from __future__ import annotations

import gzip
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, Literal, get_args

import click

from base import db, stores
from base.clock import clock_from, monotonic
from base.counting import count
from base.errors import InvalidInput, Unavailable
from base.settings import Settings
from base.vault import Vault
from signals import keymarks
from signals.encodings import encoding_of
from signals.feed import FORMATS, sniffed
from signals.fullfeeds import FEEDS, MOST_SHARE, Feed
from signals.importing import BadRow, ImportReport, import_events, import_products
from signals.intake import Intake
from signals.signal import Arrival, read
from signals.sources import check_theirs, keyless_sender
from signals.tabular import DELIMITERS, Rows, by_name, called, from_csv, plan_from
from workers.beside import settings_here

FileFormat = Literal["jsonl", "csv", "parquet"]
DEFAULT_SOURCE = "file"
MOST_PREVIEWED: Final = 100
INTERRUPTED: Final = 130
"""The status of what Ctrl-C ended, as shells have it."""
_SUFFIXES: Final[dict[str, FileFormat]] = {".csv": "csv", ".parquet": "parquet"}
_FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


def _theirs(_: click.Context, __: click.Parameter, name: str) -> str:
    check_theirs(name, "--source")
    return name


_SOURCE = click.option(
    "--source",
    default=DEFAULT_SOURCE,
    show_default=True,
    callback=_theirs,
    help="Whom the data come from; ids are told apart by source.",
)


_ENCODING = click.option(
    "--encoding", help="How the text is written, such as cp1252. By default told by its mark, else UTF-8."
)
_ALLOW_ERRORS = click.option(
    "--allow-errors",
    is_flag=True,
    help="End with status 0 also where something was refused or contradicts what is stored, and not with 1.",
)


@contextmanager
def opened_intake() -> Iterator[tuple[Settings, Intake]]:
    """The intake on the stores of the environment, without a limit on the time of a statement: bulk work."""
    settings = settings_here(os.environ, require=("database_url", "redis_url", "hash_key", "pii_keys"))
    engine = db.connect(settings.database_url, vault=Vault.of(settings), statement_ms=0, application="latebind import")
    store = stores.connect(settings.redis_url)
    try:
        sessions = db.sessions(engine)
        keymarks.settle(sessions, settings, clock_from(settings).now())
        yield settings, Intake(sessions, store, settings.hash_key)
    finally:
        store.close()
        engine.dispose()


@click.group("import")
def command() -> None:
    """Load events or products from files. Doing it again is safe."""


@command.command("events")
@_FILE
@_SOURCE
@click.option("--format", "named", type=click.Choice(get_args(FileFormat)), help="By default told by the file's name.")
@click.option(
    "--mapping",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of CSV and Parquet: a JSON file that says which column goes where (docs/sources.md). Without it columns are"
    " named as the places of a call: userId, timestamp, properties.total.",
)
@click.option("--delimiter", type=click.Choice(tuple(DELIMITERS)), default="comma", help="Between the fields of CSV.")
@click.option(
    "--preview",
    type=click.IntRange(1, MOST_PREVIEWED),
    help="Show the calls that so many rows make, and what is wrong with them; nothing is stored.",
)
@_ENCODING
@click.option("--from", "first", type=click.IntRange(1), default=1, help="The row to begin at, to go on with a file.")
@_ALLOW_ERRORS
def events(
    file: Path,
    source: str,
    named: FileFormat | None,
    mapping: Path | None,
    delimiter: str,
    preview: int | None,
    encoding: str | None,
    first: int,
    allow_errors: bool,
) -> None:
    """Load events: JSON lines in the form of the Segment spec, CSV or Parquet (JSON lines and CSV may end in .gz).

    Rows of CSV count from 1 below the line that names the columns, blank ones left out. The status is 1 where a row was
    refused, or has the id of one that says something else and so changed nothing, though the others are taken.
    """
    format_ = named or _SUFFIXES.get(Path(file.name.removesuffix(".gz")).suffix, "jsonl")
    if mapping is not None and format_ == "jsonl":
        raise InvalidInput("--mapping", "is for CSV and Parquet: a line of JSON is a call already")
    if encoding is not None and format_ != "csv":
        raise InvalidInput("--encoding", "is for CSV: JSON is UTF-8, and Parquet says itself how it is written")
    planned = _planner(mapping)
    with _rows(file, format_, planned, DELIMITERS[delimiter], first, encoding) as rows:
        if preview is not None:
            _show(islice(rows, first - 1, first - 1 + preview), first)
        else:
            untaken = _load(rows, source, first, "line" if format_ == "jsonl" else "row")
            _end(untaken, allow_errors)


def _load(rows: Iterator[bytes | BadRow], source: str, first: int, unit: str) -> int:
    """Take the rows from the first on, each called a `unit`; how many were refused or contradict others."""
    began, done = monotonic(), first - 1

    def show(report: ImportReport) -> None:
        nonlocal done
        done = report.lines
        rate = (done - first + 1) / max(monotonic() - began, 0.001)
        click.echo(f"{count(done, unit)}, {rate:,.0f}/s", err=True)

    with opened_intake() as (settings, intake):
        now = clock_from(settings).now()
        sender = intake.settle(lambda session: keyless_sender(session, source, now))
        try:
            report = import_events(intake, sender, rows, now, show, first)
        except (Unavailable, KeyboardInterrupt) as ended:
            click.echo(f"Everything up to {unit} {done} is taken; go on with --from {done + 1}.", err=True)
            if isinstance(ended, KeyboardInterrupt):
                raise SystemExit(INTERRUPTED) from None
            raise
    for bad in report.bad:
        click.echo(f"{unit} {bad.line}: {InvalidInput(bad.field, bad.message)}", err=True)
    click.echo(
        f"{report.accepted} taken, {report.duplicates} known already, {report.conflicts} contradicting,"
        f" {report.rejected} refused"
    )
    return report.rejected + report.conflicts


def _end(untaken: int, allow_errors: bool) -> None:
    """The status says whether all was taken."""
    if untaken and not allow_errors:
        raise SystemExit(1)


def _show(rows: Iterator[bytes | BadRow], first: int) -> None:
    """Print rows as calls, held against the spec as the intake holds them."""
    now = clock_from(settings_here(os.environ, require=())).now()
    for number, row in enumerate(rows, first):
        try:
            if isinstance(row, BadRow):
                raise InvalidInput(row.field, row.message)
            if row.strip():
                read(row.strip(), Arrival(now))
                click.echo(f"{number}: {row.strip().decode()}")
        except InvalidInput as error:
            click.echo(f"{number}: refused: {error}")


def _planner(mapping: Path | None) -> Callable[[Any], Rows]:
    """What makes the plan of a file's rows, once its columns are known."""
    if mapping is None:
        return lambda columns: Rows(by_name(columns))
    rows = Rows(plan_from(mapping.read_bytes()))
    return lambda columns: rows


@contextmanager
def _rows(
    file: Path, format_: FileFormat, planned: Callable[[Any], Rows], delimiter: str, first: int, encoding: str | None
) -> Iterator[Iterator[bytes | BadRow]]:
    """The calls of a file, row by row."""
    if format_ == "jsonl":
        with _reading(file) as stream:
            yield iter(stream)
        return
    if format_ == "csv":
        written = _written(file, encoding)
        with _reading(file) as stream:
            yield from_csv(stream, planned, delimiter, written)
        return
    if find_spec("pyarrow") is None:
        raise InvalidInput("--format", "Parquet needs pyarrow: pip install 'latebind[parquet]'")
    table = importlib.import_module("workers.parquet").Table(file)
    try:
        rows = planned(table.columns)
        yield (b"" if row is None else called(rows, row) for row in table.rows(list(rows.columns), first))
    finally:
        table.close()


@command.command("products")
@_FILE
@_SOURCE
@click.option("--format", "named", type=click.Choice(FORMATS), help="By default told by the file's first bytes.")
@click.option(
    "--feed",
    type=click.Choice(FEEDS),
    default="full",
    show_default=True,
    help="full: all products of the source; those that it leaves out are gone. part: some of them, each item whole."
    " delta: an item tells its id and what changes.",
)
@click.option(
    "--leaving-any",
    is_flag=True,
    help=f"A full feed may leave out more than {MOST_SHARE:.0%} of the source's products.",
)
@_ENCODING
@_ALLOW_ERRORS
def products(
    file: Path,
    source: str,
    named: str | None,
    feed: Feed,
    leaving_any: bool,
    encoding: str | None,
    allow_errors: bool,
) -> None:
    """Load a product feed with Google Merchant Center attributes: tab-separated, XML or JSON.

    The status is 1 where an item was refused, though the others are taken.
    """
    if leaving_any and feed != "full":
        raise InvalidInput("--leaving-any", "is for a full feed")
    with _reading(file) as stream:
        start = stream.read(100)
    format_ = next((known for known in FORMATS if known == named), sniffed(start))
    if encoding is not None and format_ != "tsv":
        raise InvalidInput("--encoding", "is for tab-separated text: JSON is UTF-8, and XML says itself what it is")
    written = _written(file, encoding) if format_ == "tsv" else None
    with opened_intake() as (settings, intake), _reading(file) as stream:
        now = clock_from(settings).now()
        sender = intake.settle(lambda session: keyless_sender(session, source, now))
        report = import_products(intake, sender, stream, format_, now, feed, written, any_share=leaving_any)
    for bad in report.rejected:
        click.echo(f"item {bad.index + 1}: {bad.field or 'item'}: {bad.message}", err=True)
    older = f" ({report.older} known newer)" if report.older else ""
    gone = f", {report.gone} gone" if report.gone else ""
    click.echo(f"{report.stored} stored{older}, {report.refused} refused{gone}")
    if report.held_back:
        click.echo(
            f"It leaves out {count(report.held_back, 'product')} of {source}, more than can be believed of a whole"
            " feed: they stay. If that is right, say --leaving-any; of some products alone, --feed part.",
            err=True,
        )
    _end(report.refused, allow_errors)


def _written(file: Path, encoding: str | None) -> str:
    """How the text of a file is written. Raises InvalidInput naming the file where it is not."""
    with _reading(file) as stream:
        try:
            return encoding_of(stream, encoding)
        except InvalidInput as error:
            where = file.name if not error.field else f"{file.name}, {error.field}"
            raise error if error.field == "--encoding" else InvalidInput(where, error.message) from None


@contextmanager
def _reading(file: Path) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            yield stream  # type: ignore[misc]
    except (gzip.BadGzipFile, EOFError) as error:
        raise InvalidInput(file.name, f"is not a whole gzip file: {error}") from None
