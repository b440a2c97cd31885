"""What the profit guard kept a campaign from losing, from raw rows: the ledger, the opens, and a year of events.

Nobody knows what a person who was left out would have done. Told is what the same people lost in the year before, at
their own pace: their loss of 364 days, brought to the window of the campaign's success. People who earned something
(who spend the same whatever they buy do) count with nothing, so it never comes out as more than they lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.ids import TEST_BIT
from campaigns import goals, reckoning, worth
from campaigns.expired import Counts, expired, figures
from render.guard import FLAGS, UNPROFITABLE

WINDOW_DAYS: Final = 30
"""The window where a campaign has named no success."""
BATCH: Final = 1_000


@dataclass(frozen=True)
class Avoided:
    """One flag: people `left_out` of the audience, people from whom offers were `withheld` at an open, the cents they
    lost in the year before the audience was fixed, and what of it falls into the window."""

    flag: str
    words: str
    left_out: int
    withheld: int
    lost: int
    avoided: int


@dataclass(frozen=True)
class GuardReport:
    """What the guard did in a campaign, a line a flag. `days` is the window, `terms` what was assumed of costs."""

    days: int
    terms: worth.WorthTerms
    lines: tuple[Avoided, ...]

    @property
    def avoided(self) -> int:
        """Cents of loss avoided, over all flags."""
        return sum(line.avoided for line in self.lines)


def guard_report(session: Session, campaign_id: int, anew: datetime | None = None) -> GuardReport:
    """What the guard kept a campaign from losing, now or as it was counted last.

    `anew`: counted in any case, and kept as of that moment. Raises NotCounted of a large campaign before its first
    count.
    """
    goal = goals.current(session, campaign_id)
    days = goal.window_days if goal is not None else WINDOW_DAYS
    terms = worth.terms(session)
    lines = reckoning.reckoned(
        session, campaign_id, "guard", tuple[Avoided, ...],
        lambda: tuple(_line(session, campaign_id, flag, days, terms) for flag in FLAGS), anew,
    )  # fmt: skip
    return GuardReport(days, terms, lines)


def left_by(session: Session, campaign_id: int, root: int) -> Counts:
    """What the guard kept a person from: to be kept when their signals are erased. The ledger has who was left out."""
    terms = worth.terms(session)
    left = Counts()
    for flag in FLAGS:
        rows = _who(session, campaign_id, flag, root)
        left[campaign_id, "guard", f"{flag}/withheld"] = sum(not row.left_out for row in rows)
        left[campaign_id, "guard", f"{flag}/lost"] = _lost(session, rows, terms)
    return left


def _line(session: Session, campaign_id: int, flag: str, days: int, terms: worth.WorthTerms) -> Avoided:
    rows = _who(session, campaign_id, flag)
    kept = figures(expired(session, campaign_id), "guard", flag)
    lost = _lost(session, rows, terms) + kept.get("lost", 0)
    return Avoided(
        flag=flag,
        words=FLAGS[flag],
        left_out=sum(row.left_out for row in rows),
        withheld=sum(not row.left_out for row in rows) + kept.get("withheld", 0),
        lost=lost,
        avoided=round(lost * days / worth.WINDOW.days),
    )


def _who(session: Session, campaign_id: int, flag: str, root: int | None = None) -> Sequence[Any]:
    given = {
        "campaign": campaign_id, "test": TEST_BIT, "reason": f"flag_{flag}", "code": f'"{UNPROFITABLE}{flag}"'.encode(),
        "root": root,
    }  # fmt: skip
    return session.execute(_WHO, given).all()


def _lost(session: Session, rows: Sequence[Any], terms: worth.WorthTerms) -> int:
    by_moment: dict[datetime, list[int]] = {}
    for row in rows:
        by_moment.setdefault(row.frozen_at, []).append(row.root)
    return sum(_losses(session, by_moment, terms))


def _losses(session: Session, by_moment: dict[datetime, list[int]], terms: worth.WorthTerms) -> Iterator[int]:
    """What each person had lost by the moment at which the audience was fixed."""
    for moment, roots in by_moment.items():
        for start in range(0, len(roots), BATCH):
            for one in worth.worths(session, roots[start : start + BATCH], moment):
                yield max(0, -one.profit(terms))


# A person counts once, with the first run that left them out or withheld something.
_WHO: Final = text("""
    WITH withheld AS (
        SELECT DISTINCT d.profile_id, d.occurrence FROM decision d
        WHERE d.campaign_id = :campaign AND d.occurrence < :test AND d.lane = 'live'
          AND position(CAST(:code AS bytea) IN d.public) > 0
    ), who AS (
        SELECT d.profile_id, d.occurrence, true AS left_out FROM delivery d
        WHERE d.campaign_id = :campaign AND d.occurrence < :test AND d.state = 'skipped' AND d.reason = :reason
        UNION ALL SELECT profile_id, occurrence, false FROM withheld
    )
    SELECT DISTINCT ON (p.root_id) p.root_id AS root, w.left_out, o.frozen_at
    FROM who w JOIN profile p ON p.id = w.profile_id
    JOIN occurrence o ON o.campaign_id = :campaign AND o.number = w.occurrence
    WHERE o.frozen_at IS NOT NULL AND (CAST(:root AS bigint) IS NULL OR p.root_id = :root)
    ORDER BY p.root_id, w.occurrence, w.left_out DESC
""")
