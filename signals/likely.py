"""Likely matches: customers who are probably one although no identifier says so, found by runs over everybody.

A run (`workers/likely.py`) merges what is as good as certain and offers what is only likely to a person, who merges the
two or says that they are two; then nothing but a person joins them. Offers are those of the newest run that nobody has
answered: an answer is a merge, or a link that keeps apart, and no row of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Double, Identity, Index, Integer, PrimaryKeyConstraint, Text, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import InvalidInput, NotFound
from base.queues import JOB_SECONDS
from signals import belonging

MOST_OFFERED: Final = 500
"""Offers that are kept, the likeliest: more of them nobody looks through."""
LONGEST: Final = timedelta(seconds=JOB_SECONDS)
"""A run that began longer ago was broken off."""


class MatchRun(Model):
    """One search for customers who are probably one. `began_at` None: it waits. `ended_at` None: it goes on, or was
    broken off. `fault` says why nothing was found; `model` is the hash of what weighed the pairs."""

    __tablename__ = "match_run"
    __table_args__ = (Index("ix_match_run_ended_at", "ended_at"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    asked_at: Mapped[datetime]
    asked_by: Mapped[str] = mapped_column(Text)
    began_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    people: Mapped[int] = mapped_column(Integer, server_default="0")
    pairs: Mapped[int] = mapped_column(Integer, server_default="0")
    merged: Mapped[int] = mapped_column(Integer, server_default="0")
    offered: Mapped[int] = mapped_column(Integer, server_default="0")
    model: Mapped[str | None] = mapped_column(Text)
    fault: Mapped[str | None] = mapped_column(Text)


class LikelyMatch(Model):
    """Two customers, by the profile that spoke for each when they were found, who may be one: the weight of the pair
    (log2 of the odds) and the facts that agree, by name and without their values."""

    __tablename__ = "likely_match"
    __table_args__ = (
        PrimaryKeyConstraint("one_id", "other_id"),
        Index("ix_likely_match_other_id", "other_id"),
        Index("ix_likely_match_weight", "weight"),
    )

    one_id: Mapped[int] = mapped_column(BigInteger)
    other_id: Mapped[int] = mapped_column(BigInteger)
    weight: Mapped[float] = mapped_column(Double)
    facts: Mapped[list[str]] = mapped_column(ARRAY(Text))
    run_id: Mapped[int]
    found_at: Mapped[datetime]


@dataclass(frozen=True)
class Offer:
    """Two customers, by their roots now, for a person to decide on."""

    one: int
    other: int
    weight: float
    facts: tuple[str, ...]
    found_at: datetime


def ask(session: Session, now: datetime, by: str) -> MatchRun:
    """Ask for a run; one that waits already answers this too."""
    row = session.scalar(select(MatchRun).where(MatchRun.began_at.is_(None)).limit(1))
    if row is None:
        row = MatchRun(asked_at=now, asked_by=by)
        session.add(row)
        session.flush()
    return row


def is_run_due(session: Session, now: datetime, every: timedelta) -> bool:
    """Whether a run waits, or the newest is older than it may be. The first is always asked for by somebody, for it
    merges customers. `every` 0: only what is asked for."""
    going_on = MatchRun.began_at.is_not(None) & MatchRun.ended_at.is_(None) & (MatchRun.began_at > now - LONGEST)
    if session.scalar(select(MatchRun.id).where(going_on).limit(1)) is not None:
        return False
    if session.scalar(select(MatchRun.id).where(MatchRun.began_at.is_(None)).limit(1)) is not None:
        return True
    newest = session.scalar(select(func.max(MatchRun.began_at)))
    return bool(every) and newest is not None and now - newest >= every


def latest(session: Session) -> tuple[MatchRun | None, bool]:
    """The newest run that ended, and whether one waits or goes on."""
    ended = select(MatchRun).where(MatchRun.ended_at.is_not(None)).order_by(MatchRun.ended_at.desc()).limit(1)
    pending = select(MatchRun.id).where(MatchRun.ended_at.is_(None)).limit(1)
    return session.scalar(ended), session.scalar(pending) is not None


_OFFER: Final = text("""
    INSERT INTO likely_match (one_id, other_id, weight, facts, run_id, found_at)
    VALUES (:one, :other, :weight, :facts, :run, :now)
""")


def offer(session: Session, found: Sequence[Offer], run: int) -> None:
    """Put these offers in the place of those there are; `one` < `other` in each."""
    session.execute(text("DELETE FROM likely_match"))
    if found:
        session.execute(
            _OFFER,
            [
                {
                    "one": one.one, "other": one.other, "weight": one.weight, "facts": list(one.facts), "run": run,
                    "now": one.found_at,
                }
                for one in found
            ],
        )  # fmt: skip


_OFFERED: Final = text("""
    SELECT DISTINCT ON (m.weight, least(o.root_id, t.root_id), greatest(o.root_id, t.root_id))
           o.root_id AS one, t.root_id AS other, m.weight, m.facts, m.found_at
    FROM likely_match m JOIN profile o ON o.id = m.one_id JOIN profile t ON t.id = m.other_id
    WHERE o.root_id <> t.root_id AND o.erased_at IS NULL AND t.erased_at IS NULL
    AND (CAST(:members AS bigint[]) IS NULL OR m.one_id = ANY(:members) OR m.other_id = ANY(:members))
    AND NOT EXISTS (
        SELECT 1 FROM profile_link l JOIN profile c ON c.id = l.child_end JOIN profile p ON p.id = l.parent_end
        WHERE l.apart AND (c.root_id, p.root_id) IN ((o.root_id, t.root_id), (t.root_id, o.root_id))
    )
    ORDER BY m.weight DESC, least(o.root_id, t.root_id), greatest(o.root_id, t.root_id) LIMIT :most
""")


def offered(session: Session, members: Sequence[int] | None = None, most: int = 100) -> list[Offer]:
    """What waits for a person's word, the likeliest first: of everybody, or of the customer of these profiles."""
    values: dict[str, Any] = {"members": None if members is None else list(members), "most": most}
    return [
        Offer(row.one, row.other, row.weight, tuple(row.facts), row.found_at)
        for row in session.execute(_OFFERED, values)
    ]


def part(session: Session, one: int, other: int, now: datetime, by: str) -> None:
    """Note that two customers are two people. Raises NotFound, InvalidInput where they are one already."""
    roots = belonging.living(session, [one, other])
    for profile in (one, other):
        if profile not in roots:
            raise NotFound("customer", profile)
    if roots[one] == roots[other]:
        raise InvalidInput("other", "is the same customer: undo the merge")
    belonging.lock(session, sorted({roots[one], roots[other]}))
    belonging.keep_apart(session, roots[one], roots[other], now, by)
