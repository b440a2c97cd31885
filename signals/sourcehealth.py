"""How sources do: when each last spoke, how much it tells, how much of it is refused, how late and by which clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from signals import exchange, sealingkeys
from signals.events import BODY

WINDOWS: Final[Mapping[str, timedelta]] = {
    "5 min": timedelta(minutes=5),
    "1 h": timedelta(hours=1),
    "24 h": timedelta(hours=24),
}
COUNTED: Final = 20_000
"""Signals of a source that are counted, the newest; a window that holds more is told with "at least"."""
SAMPLED: Final = 200
"""The newest signals of a source whose lag and clock are looked at."""
MOST_SOURCES: Final = 200


@dataclass(frozen=True, slots=True)
class Health:
    """How one source does. `told` counts by window what was taken; `at_least` are the windows that hold more.

    `refused` counts what was refused or quarantined in the last 24 hours and not taken since. Items of product feeds
    are no signals (signals/feedhealth.py tells of them): here is when it last told any, `fed_at`. `lag` is the median
    of arrival after the event's time; `skew` the median by which its clock was taken to be behind ours (ahead:
    negative), zero where it is right. None: nothing to tell by.
    `unadded` counts its orders, among the newest of all sources, by the currency that had no exchange rate.
    """

    last_at: datetime | None
    fed_at: datetime | None
    told: dict[str, int]
    at_least: frozenset[str]
    refused: int
    lag: timedelta | None
    skew: timedelta | None
    unadded: dict[str, int]

    @property
    def refused_share(self) -> float | None:
        """The share of the day's signals that was refused, at most where `at_least` names the day; None without any."""
        total = self.told["24 h"] + self.refused
        return self.refused / total if total else None


_COUNTS: Final = text("""
    SELECT s.id, x.* FROM (SELECT id FROM source ORDER BY id LIMIT :sources) s CROSS JOIN LATERAL (
        SELECT max(received_at) AS last_at, min(received_at) AS oldest, count(*) AS reached,
               count(*) FILTER (WHERE received_at > :w0) AS n0, count(*) FILTER (WHERE received_at > :w1) AS n1,
               count(*) FILTER (WHERE received_at > :w2) AS n2
        FROM (SELECT received_at FROM event e WHERE e.source_id = s.id ORDER BY e.id DESC LIMIT :counted) n
    ) x
""")
_SAMPLES: Final = text("""
    SELECT s.id, x.* FROM (SELECT id FROM source ORDER BY id LIMIT :sources) s CROSS JOIN LATERAL (
        SELECT e.id AS event, e.event_time, e.received_at, e.body
        FROM event e WHERE e.source_id = s.id ORDER BY e.id DESC LIMIT :sampled
    ) x WHERE x.received_at > :since
""")
_REFUSED: Final = text(
    "SELECT source_id, count(*) AS number FROM rejected_event WHERE at > :since AND replayed_at IS NULL"
    " AND reason <> 'product' GROUP BY source_id"
)
_FED: Final = text("SELECT source_id, max(last_at) AS at FROM feed_day GROUP BY source_id")


def health(session: Session, now: datetime) -> dict[int, Health]:
    """How each source does, by id; of at most two hundred. What it looks at is bounded, however much is stored."""
    bounds = {f"w{index}": now - window for index, window in enumerate(WINDOWS.values())}
    since = now - WINDOWS["24 h"]
    refused = {row.source_id: int(row.number) for row in session.execute(_REFUSED, {"since": since})}
    fed = {row.source_id: row.at for row in session.execute(_FED)}
    lags: dict[int, list[float]] = {}
    skews: dict[int, list[float]] = {}
    for row in session.execute(_SAMPLES, {"sources": MOST_SOURCES, "sampled": SAMPLED, "since": since}):
        lags.setdefault(row.id, []).append((row.received_at - row.event_time).total_seconds())
        with sealingkeys.leaving_out(signal=row.event):
            if (skew := _skew(sealingkeys.content(session, row.body, BODY.place), row.event_time)) is not None:
                skews.setdefault(row.id, []).append(skew)
    unadded: dict[int, dict[str, int]] = {}
    for one in exchange.lacking(session):
        unadded.setdefault(one.source, {})[one.currency] = one.orders
    found = {}
    for row in session.execute(_COUNTS, {"sources": MOST_SOURCES, "counted": COUNTED} | bounds):
        told, at_least = _told(row, now)
        found[row.id] = Health(
            row.last_at, fed.get(row.id), told, at_least, refused.get(row.id, 0), _median(lags.get(row.id)),
            _median(skews.get(row.id)), unadded.get(row.id, {}),
        )  # fmt: skip
    return found


def _told(row: Any, now: datetime) -> tuple[dict[str, int], frozenset[str]]:
    """The counts by window, and the windows that begin before what was counted.

    These are not reckoned from a rate: what came within seconds may be the history of years, from a file.
    """
    told = {name: int(getattr(row, f"n{index}")) for index, name in enumerate(WINDOWS)}
    is_all = row.reached < COUNTED
    return told, frozenset(name for name, window in WINDOWS.items() if not is_all and row.oldest > now - window)


class _Given(msgspec.Struct):
    timestamp: Any = None
    originalTimestamp: Any = None  # noqa: N815 - as the call spells it


_GIVEN: Final = msgspec.json.Decoder(_Given)


def _skew(body: bytes, settled: datetime) -> float | None:
    """By how many seconds an event's time was moved; None where it gave none."""
    said = _GIVEN.decode(body)
    given = said.originalTimestamp if said.timestamp is None else said.timestamp
    if not isinstance(given, str):
        return None
    try:
        moved = (settled - datetime.fromisoformat(given)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return moved if abs(moved) >= 1 else 0.0


def _median(seconds: list[float] | None) -> timedelta | None:
    return timedelta(seconds=round(median(seconds), 3)) if seconds else None
