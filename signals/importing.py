"""Bulk import of events: lines in Segment form through the same reading, identity and folding as the HTTP intake.

A file is taken in chunks, each in one transaction: many events share one COPY, and a profile's state is written once a
chunk however many of its events are there. A line that is wrong is listed and the others are kept. Running an import
again is safe: events with the same ids, or without ids but the same content and time, count once, and what is refused
again is listed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import IO, Final

from signals.feed import Format, entries
from signals.fullfeeds import Feed, take_full
from signals.intake import Intake, admit
from signals.journal import Refusal
from signals.listing import Listed
from signals.products import FeedReport, take_products
from signals.reading import Outcome, Reading
from signals.signal import EVENT_BYTES, Arrival
from signals.sources import Sender

CHUNK_EVENTS: Final = 30_000
CHUNK_BYTES: Final = 64 * 1024 * 1024
SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that was refused; lines count from 1."""

    line: int
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row of a table that could not be made a call: the column at fault, what is wrong, and what the row says."""

    field: str
    message: str
    body: bytes


@dataclass(slots=True)
class ImportReport:
    """What became of a file's lines. `bad` holds the first hundred refused ones; all of them are in rejected_event."""

    lines: int = 0
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    bad: list[BadLine] = field(default_factory=list)


def import_events(
    intake: Intake,
    sender: Sender,
    lines: Iterable[bytes | BadRow],
    now: datetime,
    progress: Callable[[ImportReport], None] = lambda report: None,
    first: int = 1,
) -> ImportReport:
    """Take every line of a file of events; `progress` is called after each chunk with the counts so far.

    `first` is the line to begin at, where those before it were taken already. Raises Unavailable when a store is away:
    what was taken stays, and the import can be run again from the start, or from the line after the last progress.
    """
    report = ImportReport(lines=first - 1)
    for numbers, rows, reading in _read_ahead(intake, sender, lines, Arrival(now), first):
        outcomes = _outcomes(rows, admit(intake, sender, reading, patience=math.inf))
        for number, outcome in zip(numbers, outcomes, strict=True):
            match outcome.status:
                case "accepted":
                    report.accepted += 1
                case "duplicate":
                    report.duplicates += 1
                case "conflict":
                    report.conflicts += 1
                case "rejected":
                    report.rejected += 1
                    if len(report.bad) < SHOWN:
                        report.bad.append(BadLine(number, outcome.field, outcome.message))
        report.lines = numbers[-1]
        progress(report)
    return report


def _read_ahead(
    intake: Intake, sender: Sender, lines: Iterable[bytes | BadRow], arrival: Arrival, first: int
) -> Iterator[tuple[list[int], list[bytes | BadRow], Reading]]:
    """Chunks as they are read; the next is read while PostgreSQL works on the one before."""
    chunks = _chunks(lines, first)
    listed = Listed(intake.sessions, sender, arrival.now)

    def read() -> tuple[list[int], list[bytes | BadRow], Reading] | None:
        chunk = next(chunks, None)
        if chunk is None:
            return None
        numbers, rows = chunk
        calls = [row for row in rows if isinstance(row, bytes)]
        reading = replace(intake.reader.read(sender, calls, arrival), before=listed)
        reading.refusals.extend(
            Refusal("row", row.field, f"{row.message} (row {number})", row.body)
            for number, row in zip(numbers, rows, strict=True)
            if isinstance(row, BadRow)
        )
        if reading.refusals:
            listed.look()
        return numbers, rows, reading

    with ThreadPoolExecutor(1, "read-ahead") as reader:
        coming = reader.submit(read)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(read)
            yield chunk


def _outcomes(rows: Sequence[bytes | BadRow], read: Sequence[Outcome]) -> Iterator[Outcome]:
    """An outcome for each row: those that were read, and between them the rows that are no calls."""
    outcomes = iter(read)
    for row in rows:
        yield Outcome("rejected", row.field, row.message) if isinstance(row, BadRow) else next(outcomes)


def _chunks(lines: Iterable[bytes | BadRow], first: int) -> Iterator[tuple[list[int], list[bytes | BadRow]]]:
    """The lines that are not blank, from the first on, in bounded chunks, with their numbers."""
    numbers: list[int] = []
    rows: list[bytes | BadRow] = []
    size = 0
    for number, line in enumerate(lines, 1):
        # A line without end must not fill the memory on its way to being refused.
        row = line if isinstance(line, BadRow) else line.strip()[: EVENT_BYTES + 1]
        if not row or number < first:
            continue
        numbers.append(number)
        rows.append(row)
        size += len(row.body if isinstance(row, BadRow) else row)
        if len(rows) >= CHUNK_EVENTS or size >= CHUNK_BYTES:
            yield numbers, rows
            numbers, rows, size = [], [], 0
    if rows:
        yield numbers, rows


def import_products(
    intake: Intake,
    sender: Sender,
    stream: IO[bytes],
    format_: Format,
    now: datetime,
    feed: Feed = "full",
    encoding: str | None = None,
    *,
    any_share: bool = False,
) -> FeedReport:
    """Take a product feed in the given format; of a full one, `any_share` says that it may leave out however much.

    Raises InvalidInput when the feed itself cannot be read, and Unavailable when a store is away.
    """
    items = entries(stream, format_, encoding)
    if feed == "full":
        return take_full(intake, sender, items, now, any_share=any_share)
    return take_products(intake, sender, items, now, feed)
