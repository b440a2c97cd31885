"""What pages and the API tell of computed traits: which there are, as of when, how good they were, how they are spread.

Also how a run is asked for, and how a band of a score becomes a segment: from its lower edge, which belongs to it, up
to its upper edge, which does not, so that neighbouring bands share nobody and leave nobody out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from base.queues import JOB_SECONDS
from campaigns import admin_log, people, segments
from campaigns.admin_log import Actor
from campaigns.models import ScoreModel, ScoreRun, Segment
from campaigns.models.accounts import AdminEntry
from render.guard import FLAGS
from signals.readings import FLAG

Unit = Literal["chance", "cents", "days"]
BINS: Final = 10
ASKED, RUN = "ask for scores", "score run"
"""What the log of changes calls it that somebody asks, and what is asked for."""
LONGEST: Final = timedelta(seconds=JOB_SECONDS)
"""A run that began longer ago was broken off: its job is ended by then."""


@dataclass(frozen=True)
class Score:
    """One computed trait: its title, what it says, its unit, and the one line of code its measures are held against."""

    name: str
    title: str
    says: str
    unit: Unit
    rival: str


SCORES: Final = (
    Score("churn", "Leaving", "Chance that no order comes within 60 days", "chance", "days since the last order"),
    Score("ltv", "Worth ahead", "Spend within 90 days, returns taken off", "cents", "spend of the last 84 days"),
    Score("interval", "Next order", "Days until the next order, at most 90", "days", "their usual interval"),
    Score("cross_buy", "Trying something new", "Chance of an order in a new category within 30 days", "chance",
          "orders of the last 84 days"),
    Score("best", "Like the best", "Chance of spending as the best fifth and trying something new, within 90 days",
          "chance", "spend of the last 84 days"),
)  # fmt: skip
BY_NAME: Final = {score.name: score for score in SCORES}


@dataclass(frozen=True)
class Spread:
    """How a score is spread over people, their mean, and the oldest moment that a value was computed as of.

    `bins` are (from, below, people), ten of the same width; of an amount nine, and one for the largest twentieth.
    """

    score: Score
    people: int
    mean: float
    as_of: datetime
    bins: tuple[tuple[float, float, int], ...]

    @property
    def beyond(self) -> tuple[float, float, int] | None:
        """The one for the largest twentieth, which may be far wider than the others; None of a chance."""
        return None if self.score.unit == "chance" else self.bins[-1]


@dataclass(frozen=True)
class Overview:
    """The newest run that ended, one that goes on or waits, the model of the former, spreads, and people by flag.

    `asked_by`: who asked for the one that goes on or waits, as pages call them; "" where there is none.
    """

    ended: ScoreRun | None
    pending: ScoreRun | None
    asked_by: str
    model: ScoreModel | None
    spreads: tuple[Spread, ...]
    flagged: Mapping[str, int]


def overview(session: Session) -> Overview:
    """What is computed now."""
    ended = session.scalar(
        select(ScoreRun)
        .where(ScoreRun.ended_at.is_not(None), ScoreRun.people > 0)
        .order_by(ScoreRun.ended_at.desc())
        .limit(1)
    )
    pending = session.scalar(select(ScoreRun).where(ScoreRun.ended_at.is_(None)).order_by(ScoreRun.id).limit(1))
    model = session.get(ScoreModel, ended.model_hash) if ended is not None and ended.model_hash else None
    spreads = tuple(found for score in SCORES if (found := _spread(session, score)) is not None)
    counts = {row.name: row.people for row in session.execute(_FLAGGED, {"names": [FLAG + flag for flag in FLAGS]})}
    asked_by = _asker(session, pending) if pending is not None else ""
    return Overview(ended, pending, asked_by, model, spreads, {flag: counts.get(FLAG + flag, 0) for flag in FLAGS})


def _asker(session: Session, run: ScoreRun) -> str:
    asked = (AdminEntry.action == ASKED, AdminEntry.object_type == RUN, AdminEntry.object_id == str(run.id))
    user = session.scalar(select(AdminEntry.user_id).where(*asked).order_by(AdminEntry.id).limit(1))
    return people.name_of(session, user, run.asked_by)


def ask(session: Session, now: datetime, by: Actor) -> ScoreRun:
    """Ask for a run; one that waits already answers this too."""
    row = session.scalar(select(ScoreRun).where(ScoreRun.began_at.is_(None)).limit(1))
    if row is None:
        row = ScoreRun(asked_at=now, asked_by=by.name)
        session.add(row)
        session.flush()
    admin_log.record(session, by, ASKED, RUN, row.id, now)
    return row


def is_run_due(session: Session, now: datetime, every: timedelta) -> bool:
    """Whether a run waits, or the newest is older than it may be. The first is always asked for by somebody: it is
    work that an installation without orders of half a year has no use for. `every` 0: only what is asked for."""
    going_on = ScoreRun.began_at.is_not(None) & ScoreRun.ended_at.is_(None) & (ScoreRun.began_at > now - LONGEST)
    if session.scalar(select(ScoreRun.id).where(going_on).limit(1)) is not None:
        return False
    if session.scalar(select(ScoreRun.id).where(ScoreRun.began_at.is_(None)).limit(1)) is not None:
        return True
    newest = session.scalar(select(func.max(ScoreRun.began_at)))
    return bool(every) and newest is not None and now - newest >= every


def band_rule(name: str, at_least: float | None, below: float | None) -> dict[str, Any]:
    """Who is in a band of a score, as a rule. Raises InvalidInput naming the edge that makes no sense."""
    if name not in BY_NAME:
        raise InvalidInput("score", f"must be one of {', '.join(BY_NAME)}")
    if at_least is None and below is None:
        raise InvalidInput("at_least", "must be given, or the other edge of the band")
    if at_least is not None and below is not None and at_least >= below:
        raise InvalidInput("below", "must be greater than the other edge: that belongs to the band, this does not")
    edges = (
        {"field": "score", "name": name, "op": op, "value": value}
        for op, value in ((">=", at_least), ("<", below))
        if value is not None
    )
    return {"all": list(edges)}


def create_band(
    session: Session, title: str, name: str, at_least: float | None, below: float | None, now: datetime, by: Actor
) -> Segment:
    """Make a segment of a band. Raises InvalidInput, Conflict when the name is taken."""
    return segments.create_segment(session, title, band_rule(name, at_least, below), now, by)


def bands(session: Session) -> list[Segment]:
    """The segments that ask for scores, by name."""
    return [row for row in segments.segments(session) if names_in(row.rule)]


def names_in(rule: Any) -> set[str]:
    """The scores that a rule asks for by itself; flags by their full names."""
    match rule:
        case {"field": "score" | "score.days_since", "name": str(name)}:
            return {name}
        case {"field": "flag", "name": str(name)}:
            return {FLAG + name}
        case dict():
            return {name for part in rule.values() for name in names_in(part)}
        case list():
            return {name for part in rule for name in names_in(part)}
        case _:
            return set()


def as_of(session: Session, rule: Any) -> dict[str, datetime]:
    """The scores that a rule asks for, each with the oldest moment that a person's was computed as of."""
    rows = session.execute(_AS_OF, {"names": sorted(names_in(rule))})
    return {row.name: row.as_of for row in rows}


def uncomputed(session: Session, rule: Any) -> list[str]:
    """The titles of the scores that a rule asks for and nobody has yet."""
    asked = names_in(rule)
    there = set(session.scalars(_THERE, {"names": sorted(asked)})) if asked else set()
    return [score.title for score in SCORES if score.name in asked - there]


def _spread(session: Session, score: Score) -> Spread | None:
    row = session.execute(_SUMMED, {"name": score.name}).one()
    if not row.people:
        return None
    if score.unit == "chance":
        edges = [number / BINS for number in range(BINS + 1)]
    else:
        usual = row.usual or row.most or 1.0
        edges = [*(usual * number / (BINS - 1) for number in range(BINS)), max(row.most, usual)]
    counted = [0] * (len(edges) - 1)
    for found in session.execute(_COUNTED, {"name": score.name, "edges": edges[1:-1]}):
        counted[found.bin] = found.people
    bins = tuple(zip(edges, edges[1:], counted, strict=False))
    return Spread(score, row.people, row.mean, row.as_of, bins)


_SUMMED: Final = text("""
    SELECT count(*) AS people, avg(value) AS mean, max(value) AS most, min(as_of) AS as_of,
           percentile_disc(0.95) WITHIN GROUP (ORDER BY value) AS usual
    FROM profile_score WHERE name = :name
""")
_COUNTED: Final = text("""
    SELECT width_bucket(value, CAST(:edges AS float8[])) AS bin, count(*) AS people
    FROM profile_score WHERE name = :name GROUP BY 1
""")
_FLAGGED: Final = text("SELECT name, count(*) AS people FROM profile_score WHERE name = ANY(:names) GROUP BY name")
_THERE: Final = text("""
    SELECT name FROM unnest(CAST(:names AS text[])) AS asked(name)
    WHERE EXISTS (SELECT 1 FROM profile_score s WHERE s.name = asked.name)
""")
_AS_OF: Final = text("SELECT name, min(as_of) AS as_of FROM profile_score WHERE name = ANY(:names) GROUP BY name")
