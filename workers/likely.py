"""The run over all customers that finds who are probably one: merges what is as good as certain, offers the likely.

What a customer states is what shops' systems told of them (`signals/stated.py`); whoever refuses profiling is left
out. Pairs are weighed by `workers/likeness.py`, and `workers/clusters.py` says which of them are one
person. Each customer goes into it as they stand, merges and all; of two with customer numbers of their own a person
decides. A merge keeps its evidence and is undone like every other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sqlalchemy import select, text

from base import db, logs
from base.clock import Clock
from base.errors import InvalidInput
from signals import likely
from signals.intake import Intake
from signals.joining import join_likely
from signals.likely import MOST_OFFERED, MatchRun, Offer
from signals.stated import stated
from workers.clusters import CERTAIN, NO_KEY, gathered
from workers.facts import Facts, facts
from workers.likeness import Likeness, alike

MOST_PEOPLE: Final = 200_000
"""Customers who are looked at, the newest; each costs about 10 KB while pairs are weighed."""
MOST_MERGES: Final = 1_000
"""Merges that one run makes, the likeliest; the next run goes on."""
BATCH: Final = 1_000
ALONE: Final = 0x6C625F6C696B656C
"""PostgreSQL's number of the lock under which one run goes on at a time ("lb_likel")."""
_log = logs.logger(__name__)


@dataclass(frozen=True)
class Done:
    """What a run did. `fault`: nothing could be found, and this is why."""

    run: int
    people: int
    pairs: int
    merged: int
    offered: int
    fault: str | None


@dataclass(frozen=True)
class People:
    """The customers of a run by their roots, in one order; of each what they state, and whether they have a number."""

    roots: list[int]
    facts: list[Facts]
    numbered: list[bool]


class Matcher:
    """Finds customers who are probably one; one run at a time over all processes."""

    def __init__(self, intake: Intake, clock: Clock) -> None:
        self._intake = intake
        self._sessions = intake.sessions
        self._clock = clock

    def run(self, by: str) -> Done:
        """Look at everybody once. Raises Conflict while another run goes on, Unavailable.

        Where the extra is missing or too little is known, the run ends with a fault.
        """
        with db.alone(self._sessions, ALONE, "Likely matches are being looked for already."):
            run = self._begin(by)
            people = self._people()
            try:
                found = alike(people.facts)
            except InvalidInput as error:
                return self._end(Done(run, len(people.roots), 0, 0, 0, f"{error.field} {error.message}"), None)
            persons, apart = self._persons(people, found)
            merged = self._merge(people, found, persons)
            offers = self._offers(people, found, persons, apart)
            with db.transaction(self._sessions) as session:
                likely.offer(session, offers, run)
            pairs = len(found.pairs.one)
            return self._end(Done(run, len(people.roots), pairs, merged, len(offers), None), found.model)

    def _people(self) -> People:
        """Everybody who states something, the newest first up to a bound."""
        people = People([], [], [])
        before: int | None = None
        while len(people.roots) < MOST_PEOPLE:
            with db.transaction(self._sessions) as session:
                rows = session.execute(_ROOTS, {"before": before, "most": BATCH}).all()
                told = stated(session, [row.id for row in rows])
            if not rows:
                break
            before = rows[-1].id
            for row in rows:
                found = facts(told.get(row.id, {}))
                if found != Facts():
                    people.roots.append(row.id)
                    people.facts.append(found)
                    people.numbered.append(row.numbered)
        return people

    def _persons(self, people: People, found: Likeness) -> tuple[np.ndarray[Any, Any], set[tuple[int, int]]]:
        """Whose person each customer is, and the pairs of places that somebody keeps apart."""
        places = {root: place for place, root in enumerate(people.roots)}
        with db.transaction(self._sessions) as session:
            rows = session.execute(_APART).all()
        apart = {(places[row.one], places[row.other]) for row in rows if row.one in places and row.other in places}
        single = [("customer number",) if numbered else () for numbered in people.numbered]
        return gathered(len(people.roots), found.pairs, CERTAIN, apart=apart, single=single), apart

    def _merge(self, people: People, found: Likeness, persons: np.ndarray[Any, Any]) -> int:
        """Merge the customers of each person, by the likeliest pairs that hold them together."""
        pairs, merged = found.pairs, 0
        totals = pairs.totals
        inside = np.flatnonzero(persons[pairs.one] == persons[pairs.other])
        tied: dict[int, int] = {}
        for pair in inside[np.argsort(-totals[inside], kind="stable")].tolist():
            if merged == MOST_MERGES:
                _log.info("a run made as many merges as it may", merges=merged)
                break
            one, other = int(pairs.one[pair]), int(pairs.other[pair])
            here, there = _top(tied, one), _top(tied, other)
            if here == there:
                continue
            tied[here] = there
            evidence = {
                "weight": round(float(totals[pair]), 2), "facts": list(_agreeing(found, pair)), "model": found.model,
            }  # fmt: skip
            number = join_likely(self._intake, people.roots[one], people.roots[other], self._clock.now(), evidence)
            merged += number is not None
        return merged

    def _offers(
        self, people: People, found: Likeness, persons: np.ndarray[Any, Any], apart: set[tuple[int, int]]
    ) -> list[Offer]:
        """The likeliest pairs that are not merged: more likely than not, by two keys."""
        pairs, totals = found.pairs, found.pairs.totals
        chosen = np.flatnonzero((persons[pairs.one] != persons[pairs.other]) & (totals >= CERTAIN.likely))
        now = self._clock.now()
        offers: dict[tuple[int, int], Offer] = {}
        for pair in chosen[np.argsort(-totals[chosen], kind="stable")].tolist():
            one, other = int(pairs.one[pair]), int(pairs.other[pair])
            keys = {pairs.keys[place] for place in _speaking(found, pair)} - {NO_KEY}
            if (one, other) in apart or (other, one) in apart or len(keys) < CERTAIN.keys:
                continue
            # Of the customers of two persons one pair is enough to decide on.
            persons_of = (min(int(persons[one]), int(persons[other])), max(int(persons[one]), int(persons[other])))
            if persons_of not in offers:
                low, high = sorted((people.roots[one], people.roots[other]))
                offers[persons_of] = Offer(low, high, float(totals[pair]), _agreeing(found, pair), now)
            if len(offers) == MOST_OFFERED:
                break
        return list(offers.values())

    def _begin(self, by: str) -> int:
        """The run that was asked for first, or one of our own; those that were broken off are ended."""
        now = self._clock.now()
        with db.transaction(self._sessions) as session:
            session.execute(_BROKEN_OFF)
            run = session.scalar(select(MatchRun).where(MatchRun.began_at.is_(None)).order_by(MatchRun.id).limit(1))
            if run is None:
                run = MatchRun(asked_at=now, asked_by=by)
                session.add(run)
            run.began_at = now
            session.flush()
            return run.id

    def _end(self, done: Done, model: str | None) -> Done:
        with db.transaction(self._sessions) as session:
            row = session.get_one(MatchRun, done.run)
            row.ended_at, row.model, row.fault = self._clock.now(), model, done.fault
            row.people, row.pairs, row.merged, row.offered = done.people, done.pairs, done.merged, done.offered
        return done


def _speaking(found: Likeness, pair: int) -> list[int]:
    """The places of the facts that speak clearly for a pair."""
    return np.flatnonzero(np.nan_to_num(found.pairs.weights[pair], nan=0.0) >= CERTAIN.key_bits).tolist()


def _agreeing(found: Likeness, pair: int) -> tuple[str, ...]:
    return tuple(found.names[place] for place in _speaking(found, pair))


def _top(tied: dict[int, int], place: int) -> int:
    while place in tied:
        place = tied[place]
    return place


_ROOTS: Final = text("""
    SELECT p.id, EXISTS (
        SELECT 1 FROM profile m JOIN identifier i ON i.profile_id = m.id
        WHERE m.root_id = p.id AND i.type = 'user_id'
    ) AS numbered
    FROM profile p JOIN profile_state s ON s.profile_id = p.id
    WHERE p.root_id = p.id AND p.erased_at IS NULL AND (CAST(:before AS bigint) IS NULL OR p.id < :before)
      AND s.document #>> '{consent,profiling}' IS DISTINCT FROM 'false'
    ORDER BY p.id DESC LIMIT :most
""")
_APART: Final = text("""
    SELECT c.root_id AS one, p.root_id AS other FROM profile_link l
    JOIN profile c ON c.id = l.child_end JOIN profile p ON p.id = l.parent_end WHERE l.apart AND c.root_id <> p.root_id
""")
_BROKEN_OFF: Final = text("""
    UPDATE match_run SET ended_at = began_at, fault = 'it was broken off'
    WHERE began_at IS NOT NULL AND ended_at IS NULL
""")
