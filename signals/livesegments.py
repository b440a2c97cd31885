"""Segments that opens ask for, followed event by event: who comes to fit a rule, or ceases to, is a member at once.

Which segments these are and their rules, without other segments inside, is told by whoever keeps them
(`campaigns/atopens.py`). A rule with a history window asks stored events, which a state cannot answer: such a segment
changes with the minute, and so do all by the passing of time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Boolean, Integer, and_, delete, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.clock import monotonic
from base.db import Model
from base.errors import InvalidInput
from signals.catalog import slugs
from signals.readings import RuleFacts
from signals.rules import compile_python, parse
from signals.state import ProfileState

SEGMENTS: Final = 200
"""Segments one profile may be in, and segments that are followed."""
HELD_SECONDS: Final = 2.0
Fits = Callable[[RuleFacts], bool]


class LiveSegment(Model):
    """One segment and its rule, in which no other segment is named; whether all states once said who fits it."""

    __tablename__ = "live_segment"

    segment_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    rule: Mapped[dict[str, Any]] = mapped_column(JSONB)
    written: Mapped[bool] = mapped_column(Boolean, server_default="false")


def follow(session: Session, rules: Mapping[int, Mapping[str, Any]]) -> None:
    """Have exactly these segments followed, by these rules. The caller commits."""
    known = {row.segment_id: row.rule for row in session.execute(select(LiveSegment.segment_id, LiveSegment.rule))}
    wanted = {number: dict(rule) for number, rule in rules.items()}
    if known == wanted:
        return
    session.execute(delete(LiveSegment).where(LiveSegment.segment_id.not_in(wanted)))
    rows = [{"segment_id": number, "rule": rule} for number, rule in sorted(wanted.items())]
    if rows:
        new = insert(LiveSegment).values(rows)
        kept = and_(LiveSegment.written, LiveSegment.rule == new.excluded.rule)
        session.execute(
            new.on_conflict_do_update(
                index_elements=[LiveSegment.segment_id], set_={"rule": new.excluded.rule, "written": kept}
            )
        )


def written(session: Session) -> set[int]:
    """The followed segments of which all states were told, by the rules that they have now."""
    return set(session.scalars(select(LiveSegment.segment_id).where(LiveSegment.written)))


def tell_written(session: Session, segment: int, rule: Mapping[str, Any]) -> None:
    """Note that all states were told who fits this rule of a segment; one that has another by now is not meant."""
    meant = and_(LiveSegment.segment_id == segment, LiveSegment.rule == dict(rule), ~LiveSegment.written)
    session.execute(update(LiveSegment).where(meant).values(written=True))


class LiveSegments:
    """The segments that are followed, as functions; held for two seconds."""

    def __init__(self) -> None:
        self._held: tuple[float, dict[int, Fits]] = (0.0, {})

    def current(self, session: Session) -> dict[int, Fits]:
        """By number whether somebody fits; those left out that a state cannot answer."""
        until, held = self._held
        if monotonic() < until:
            return held
        rows = session.execute(select(LiveSegment.segment_id, LiveSegment.rule).order_by(LiveSegment.segment_id)).all()
        categories = slugs(session) if rows else {}
        held = {}
        for row in rows[:SEGMENTS]:
            try:
                held[row.segment_id] = compile_python(parse(row.rule, categories))
            except InvalidInput:
                continue
        self._held = (monotonic() + HELD_SECONDS, held)
        return held


def place(state: ProfileState, live: Mapping[int, Fits], now: datetime) -> ProfileState:
    """The state with its membership of these segments as it is now; of others it stays.

    Who would be in too many segments stays in those they are in.
    """
    if state.erased or not live:
        return state
    facts = RuleFacts(state, now)
    kept = [number for number in state.segments if number not in live]
    found = tuple(sorted([*kept, *(number for number, fits in live.items() if fits(facts))]))
    if len(found) <= SEGMENTS:
        state.segments = found
    return state
