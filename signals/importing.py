"""Bulk import of events: JSON lines in Segment form through the same reading, identity and folding as the HTTP intake.

A file is taken in chunks, each in one transaction: many events share one COPY, and a profile's state is written once a
chunk however many of its events are there. A line that is wrong is listed and the others are kept. Running an import
again is safe: events with the same ids, or without ids but the same content and time, count once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Final

from signals.feed import Format, entries
from signals.intake import Intake, admit
from signals.products import FeedReport, take_products
from signals.reading import Reading
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
    lines: Iterable[bytes],
    now: datetime,
    progress: Callable[[ImportReport], None] = lambda report: None,
) -> ImportReport:
    """Take every line of a file of events; `progress` is called after each chunk with the counts so far.

    Raises Unavailable when a store is away: what was taken stays, and the import can be run again from the start.
    """
    report = ImportReport()
    for numbers, reading in _read_ahead(intake, sender, lines, Arrival(now)):
        for number, outcome in zip(numbers, admit(intake, sender, reading), strict=True):
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
    intake: Intake, sender: Sender, lines: Iterable[bytes], arrival: Arrival
) -> Iterator[tuple[list[int], Reading]]:
    """Chunks as they are read; the next is read while PostgreSQL works on the one before."""
    chunks = _chunks(lines)

    def read() -> tuple[list[int], Reading] | None:
        chunk = next(chunks, None)
        return (chunk[0], intake.reader.read(sender, chunk[1], arrival)) if chunk else None

    with ThreadPoolExecutor(1, "read-ahead") as reader:
        coming = reader.submit(read)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(read)
            yield chunk


def _chunks(lines: Iterable[bytes]) -> Iterator[tuple[list[int], list[bytes]]]:
    """The lines that are not blank, in bounded chunks, with their numbers."""
    numbers: list[int] = []
    bodies: list[bytes] = []
    size = 0
    for number, line in enumerate(lines, 1):
        body = line.strip()
        if not body:
            continue
        numbers.append(number)
        # A line without end must not fill the memory on its way to being refused.
        bodies.append(body[: EVENT_BYTES + 1])
        size += len(bodies[-1])
        if len(bodies) >= CHUNK_EVENTS or size >= CHUNK_BYTES:
            yield numbers, bodies
            numbers, bodies, size = [], [], 0
    if bodies:
        yield numbers, bodies


def import_products(intake: Intake, sender: Sender, stream: IO[bytes], format_: Format, now: datetime) -> FeedReport:
    """Take a product feed in the given format. Raises InvalidInput when the feed itself cannot be read."""
    return take_products(intake, sender, entries(stream, format_), now)
