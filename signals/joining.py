"""Merging two profiles because a person said so, or a rule that looks at more than identifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.errors import InvalidInput, NotFound
from signals import belonging, claiming, folding, journal, origins
from signals.folding import Standing
from signals.identity import MEMBERS, Link, Person, merge, too_large
from signals.intake import Intake, carry, moved, regroup
from signals.intent import assess
from signals.livesegments import place

BY_HAND: Final = "hand"
"""The reason of a merge that a person made."""
BY_LIKENESS: Final = "likeness"
"""The reason of a merge that a run over all customers made (signals/likely.py)."""


def join(
    intake: Intake,
    one: int,
    other: int,
    now: datetime,
    *,
    by: str,
    evidence: Mapping[str, Any] | None = None,
    along: Callable[[Session, int, int], None] = lambda session, number, root: None,
) -> int:
    """Merge the persons that these two profiles belong to, and return the number of the merge.

    What is known to speak for it, `evidence`, is kept with the link. `along` is done in the same transaction, with the
    number of the merge and the root of who is one now.

    In effect for the next open when it returns. That somebody had kept the two apart is taken back. Raises NotFound,
    InvalidInput when they are one person already or would be too large for one, Unavailable.
    """

    def work(session: Session) -> tuple[int, Standing]:
        number, standing = _join(intake, one, other, now, by, session, evidence=evidence)
        along(session, number, standing.root.id)
        return number, standing

    number, standing = carry(intake, work, lambda done: [done[1]])
    regroup(intake, moved([standing]), now)
    return number


def join_likely(intake: Intake, one: int, other: int, now: datetime, evidence: Mapping[str, Any]) -> int | None:
    """Merge two persons because they are alike, and keep what speaks for it with the link; the number of the merge.

    None where something forbids it that only a person overrules, or where it is done or undoable by now: both have a
    customer number, somebody kept them apart, one refuses profiling by now, or they would be too large for one. Raises
    Unavailable.
    """
    work = partial(_join_likely, intake, one, other, now, evidence)
    done = carry(intake, work, lambda done: [done[1]] if done else [])
    if done is None:
        return None
    number, standing = done
    regroup(intake, moved([standing]), now)
    return number


_TOGETHER: Final = text("""
    UPDATE profile_link l SET apart = false FROM profile c, profile p
    WHERE l.apart AND c.id = l.child_end AND p.id = l.parent_end
      AND (c.root_id, p.root_id) IN ((:one, :other), (:other, :one))
""")


def _join(
    intake: Intake,
    one: int,
    other: int,
    now: datetime,
    by: str,
    session: Session,
    *,
    evidence: Mapping[str, Any] | None = None,
) -> tuple[int, Standing]:
    roots = belonging.living(session, [one, other])
    for profile in (one, other):
        if profile not in roots:
            raise NotFound("customer", profile)
    if roots[one] == roots[other]:
        raise InvalidInput("other", "is the same customer already")
    here, there = _locked(session, roots, one, other)
    if too_large(here.root(), there.root()):
        raise InvalidInput("other", f"has too many identifiers or more than {MEMBERS} profiles together with this one")
    session.execute(_TOGETHER, {"one": here.root().id, "other": there.root().id})
    return _tied(intake, session, merge(here, there, BY_HAND), now, by=by, evidence=evidence)


def _join_likely(
    intake: Intake, one: int, other: int, now: datetime, evidence: Mapping[str, Any], session: Session
) -> tuple[int, Standing] | None:
    roots = belonging.living(session, [one, other])
    if len(roots) < 2 or roots[one] == roots[other]:
        return None
    here, there = _locked(session, roots, one, other)
    mine, theirs = here.root(), there.root()
    if theirs in mine.apart or (mine.held["user_id"] and theirs.held["user_id"]) or too_large(mine, theirs):
        return None
    states = [root.state for root in folding.load(session, [mine.id, theirs.id]).values()]
    if any(state is not None and state.consent.get("profiling") is False for state in states):
        return None
    return _tied(intake, session, merge(here, there, BY_LIKENESS), now, evidence=evidence)


def _locked(session: Session, roots: Mapping[int, int], one: int, other: int) -> tuple[Person, Person]:
    """The two profiles, with what a merge must know of their roots, whose locks are taken. Raises Lost."""
    here, there = (belonging.member(profile, roots[profile]) for profile in (one, other))
    belonging.lock(session, sorted({here.root().id, there.root().id}))
    if belonging.living(session, [one, other]) != roots:
        raise belonging.Lost
    belonging.describe(session, {person.id: person for person in (here.root(), there.root())})
    return here, there


def _tied(
    intake: Intake,
    session: Session,
    tie: Link,
    now: datetime,
    *,
    by: str = "",
    evidence: Mapping[str, Any] | None = None,
) -> tuple[int, Standing]:
    """Write a merge and fold the person who is one now."""
    (number,) = belonging.link(session, [tie], intake.hash_key, now, by=by, evidence=evidence)
    root = folding.load(session, [tie.parent.id])[tie.parent.id]
    again = folding.fold_again(session, root, intake.categories)
    (edition,) = journal.numbers(session, 1)
    found = assess(again.state, intake.definitions.current(session))
    standing = folding.standing(root, place(found, intake.segments.current(session), now), edition)
    folding.write(session, [standing], now)
    origins.write(session, again.origins, anew=[root.id])
    claiming.mark(session, [root])
    return number, standing
