"""Browsing sessions (Diginetica, CIKM Cup 2016): the next product looked at, and what the newest clicks are worth.

The file holds a session a row, its products as whole numbers in the order they were clicked, sessions oldest first. The
last tenth is the test; the index holds the rest. Withholding the newest clicks is deciding at the send, not the open.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from base.errors import InvalidInput
from workers import evaluation
from workers.evaluation_sets import tables
from workers.evaluation_sets.findings import Finding, least, reported
from workers.evaluation_sets.opens import rate
from workers.neighbours import Neighbours

TEST_SHARE: Final = 0.1
EVENTS, LONG_EVENTS = 20_000, 8_000
LONG_CLICKS: Final = 6
WITHHELD: Final = 5
SHOWN: Final = 20
RECALL_BAR, FRESH_BAR = 0.50, 1.4
NEXT, FRESH = "next product of a session", f"the newest clicks, in sessions of at least {LONG_CLICKS}"

Session = Sequence[int]
Event = tuple[int, Session, int]
"""The session's number, its clicks so far, and the product looked at next."""


def read(data: Path) -> list[Session]:
    """The sessions with at least two clicks."""
    column = tables.read(tables.found(data, "diginetica", "diginetica_train"), ("items",))["items"]
    sessions = [session for session in column.to_pylist() if session and len(session) > 1]
    if len(sessions) < 1 / TEST_SHARE:
        raise InvalidInput("data.items", "holds too few sessions to split")
    return sessions


def judged(data: Path) -> list[Finding]:
    """Recall of the generator of product candidates, and what it loses without the newest clicks."""
    sessions = read(data)
    split = int(len(sessions) * (1 - TEST_SHARE))
    index = Neighbours(sessions[:split], max(map(max, sessions)) + 1)
    events = [
        (number, session[:place], session[place])
        for number, session in enumerate(sessions[split:])
        for place in range(1, len(session))
    ]
    found = _found(index, _drawn(events, EVENTS), 0)
    findings = [
        least(NEXT, f"recall@{SHOWN}", rate(found[:, 0], found[:, 1].astype(np.int64)), RECALL_BAR),
        reported(NEXT, "hit@1", rate(found[:, 2], found[:, 1].astype(np.int64))),
    ]
    long = _drawn([event for event in events if len(event[1]) >= LONG_CLICKS], LONG_EVENTS)
    if not long:
        return findings
    fresh, stale = (_found(index, long, withheld) for withheld in (0, WITHHELD))
    owners = fresh[:, 1].astype(np.int64)
    findings += [
        reported(FRESH, f"recall@{SHOWN}, fresh", rate(fresh[:, 0], owners)),
        reported(FRESH, f"recall@{SHOWN}, newest {WITHHELD} withheld", rate(stale[:, 0], owners)),
        reported(FRESH, "fresh minus withheld", evaluation.paired_difference(fresh[:, 0], stale[:, 0], owners)),
        least(FRESH, "fresh ÷ withheld", float(fresh[:, 0].mean() / max(stale[:, 0].mean(), 1e-9)), FRESH_BAR),
    ]
    return findings


def _drawn(events: Sequence[Event], count: int) -> list[Event]:
    chosen = np.random.default_rng(0).permutation(len(events))[:count]
    return [events[place] for place in chosen.tolist()]


def _found(index: Neighbours, events: Sequence[Event], withheld: int) -> evaluation.Array:
    """For each event: whether the product was among those shown, its session, whether it was the first."""
    rows = []
    for number, clicks, target in events:
        ranked = index.ranked(clicks[: len(clicks) - withheld], SHOWN).tolist()
        rows.append((float(target in ranked), float(number), float(ranked[0] == target)))
    return np.array(rows)
