"""The first act: products, households and all purchases before the story's "now", through the product's bulk import.

What is loaded stays, and later runs find it. What a later run needs of the data without reading all of it again, the
live week, the products and the bestsellers, is kept beside the demo's other files.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import text

from base import db
from base.clock import monotonic
from base.errors import StartError
from signals.importing import ImportReport, import_events, import_products
from signals.intake import Intake
from signals.sources import Sender, keyless_sender
from workers.demo.calendar import DATA_BEGIN, WEEK, Calendar
from workers.demo.journey import HOUSEHOLDS, Bestseller, Journey
from workers.demo.stage import Stage

SOURCE: Final = "Complete Journey retail transactions"
FORMAT: Final = 3


class Digest(msgspec.Struct):
    """What later runs need: how the data were moved, how much there was, and the products that offers are about."""

    format: int
    weeks: int
    events: int
    products: int
    bestsellers: dict[str, tuple[Bestseller, ...]]


def kept_calendar(folder: Path) -> Calendar | None:
    """The calendar of the data that an earlier run loaded, as far as the files say; None without any."""
    digest = _kept(folder)
    return Calendar(digest.weeks) if digest else None


def load(stage: Stage) -> Digest:
    """Load what is not there yet; returns the digest. An import that was cut short is finished."""
    loaded = _loaded(stage)
    digest = _kept(stage.folder)
    if digest is not None and digest.weeks == stage.calendar.weeks and loaded == digest.events:
        stage.say(f"{loaded:,} events and {digest.products:,} products were loaded by an earlier run")
        return digest
    stage.say("reading the Complete Journey retail transactions")
    journey = Journey.read(stage.calendar, stage.data)
    stage.say(
        f"moved by {stage.calendar.weeks} weeks: the story begins on {stage.calendar.story:%A %Y-%m-%d %H:%M} UTC "
        f"and its last outcome is known on {stage.calendar.closed:%Y-%m-%d}"
    )
    return _import(stage, journey)


def live_week(stage: Stage) -> list[tuple[datetime, bytes]]:
    """The purchases of the story's week in order: when, and the `Order Completed` as a shop's server sends it."""
    lines = _live_path(stage.folder).read_bytes().splitlines()
    return [(_time(line), line) for line in lines]


def later_week(stage: Stage) -> list[bytes]:
    """The purchases of the week after that."""
    return _later_path(stage.folder).read_bytes().splitlines()


def tell_catalogue_again(stage: Stage) -> None:
    """Have the shop tell all its products as of now, as shops do daily, so that prices and stock can be trusted on."""
    intake = Intake(stage.sessions, stage.store, stage.settings.hash_key)
    with db.transaction(stage.sessions) as session:
        sender = keyless_sender(session, SOURCE, stage.now)
    began = monotonic()
    products = _products(stage, intake, sender)
    stage.say(f"the shop tells its {products:,} products as of now, in {_rate(products, began)}")


def _import(stage: Stage, journey: Journey) -> Digest:
    intake = Intake(stage.sessions, stage.store, stage.settings.hash_key)
    with db.transaction(stage.sessions) as session:
        sender = keyless_sender(session, SOURCE, stage.now)
    began = monotonic()
    _feed_path(stage.folder).write_bytes(b"".join(journey.feed()))
    products = _products(stage, intake, sender)
    stage.say(f"{products:,} products in {_rate(products, began)}")
    events = _events(stage, intake, sender, journey.identities(), "statements of households")
    events += _events(stage, intake, sender, journey.orders(stage.calendar.begin, stage.calendar.story), "orders")
    calendar = stage.calendar
    _live_path(stage.folder).write_bytes(b"".join(journey.orders(calendar.story, calendar.end)))
    _later_path(stage.folder).write_bytes(b"".join(journey.orders(calendar.end, calendar.closed)))
    digest = Digest(FORMAT, stage.calendar.weeks, events, products, journey.bestsellers())
    # Written last: its being there says that everything else is.
    _digest_path(stage.folder).write_bytes(msgspec.json.encode(digest))
    return digest


def _products(stage: Stage, intake: Intake, sender: Sender) -> int:
    with _feed_path(stage.folder).open("rb") as feed:
        return import_products(intake, sender, feed, "tsv", stage.now).stored


def _events(stage: Stage, intake: Intake, sender: Sender, lines: Iterator[bytes], what: str) -> int:
    began = monotonic()

    def told(report: ImportReport) -> None:
        if report.lines > HOUSEHOLDS * 2:
            stage.say(f"  {report.lines:,} {what}, {report.lines / (monotonic() - began):,.0f}/s")

    report = import_events(intake, sender, lines, stage.now, told)
    if report.rejected or report.conflicts:
        first = report.bad[0] if report.bad else None
        raise StartError(f"The import refused {report.rejected} and found {report.conflicts} in conflict: {first}")
    stage.say(f"{report.lines:,} {what} in {_rate(report.lines, began)}")
    return report.lines


def _rate(count: int, began: float) -> str:
    seconds = monotonic() - began
    return f"{seconds:.1f} s ({count / seconds:,.0f} rows/s)"


def _loaded(stage: Stage) -> int:
    """How many events of the data are stored; sets the calendar to the one they were loaded with."""
    query = text("""
        SELECT count(*) AS events, min(e.event_time) AS first FROM event e JOIN source s ON s.id = e.source_id
        WHERE s.name = :name
    """)
    with db.transaction(stage.sessions) as session:
        row = session.execute(query, {"name": SOURCE}).one()
    if row.events:
        stage.calendar = Calendar((row.first - DATA_BEGIN) // WEEK)
        stage.clock.set(stage.calendar.story)
    return int(row.events)


def _kept(folder: Path) -> Digest | None:
    try:
        digest = msgspec.json.decode(_digest_path(folder).read_bytes(), type=Digest)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    is_whole = all(path(folder).exists() for path in (_feed_path, _live_path, _later_path))
    return digest if digest.format == FORMAT and is_whole else None


def _digest_path(folder: Path) -> Path:
    return folder / "journey.json"


def _feed_path(folder: Path) -> Path:
    return folder / "products.tsv"


def _live_path(folder: Path) -> Path:
    return folder / "live-week.jsonl"


def _later_path(folder: Path) -> Path:
    return folder / "later-week.jsonl"


class _Timed(msgspec.Struct):
    timestamp: datetime


_timed: Final = msgspec.json.Decoder(_Timed)


def _time(line: bytes) -> datetime:
    return _timed.decode(line).timestamp
