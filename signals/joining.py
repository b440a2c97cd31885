"""Merging two profiles because a person said so, or a rule that looks at more than identifiers."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from base.errors import InvalidInput, NotFound
from signals import belonging, claiming, folding, journal
from signals.folding import Standing
from signals.identity import MEMBERS, merge, too_large
from signals.intake import Intake, moved, regroup
from signals.intent import assess

BY_HAND: Final = "hand"
"""The reason of a merge that a person made."""


def join(intake: Intake, one: int, other: int, now: datetime, *, by: str) -> int:
    """Merge the persons that these two profiles belong to, and return the number of the merge.

    In effect for the next open when it returns. That somebody had kept the two apart is taken back. Raises NotFound,
    InvalidInput when they are one person already or would be too large for one, Unavailable.
    """
    number, standing = intake.settle(partial(_join, intake, one, other, now, by))
    intake.publisher.write_states(folding.published([standing]))
    regroup(intake, moved([standing]), now)
    return number


_TOGETHER: Final = text("""
    UPDATE profile_link l SET apart = false FROM profile c, profile p
    WHERE l.apart AND c.id = l.child_end AND p.id = l.parent_end
      AND (c.root_id, p.root_id) IN ((:one, :other), (:other, :one))
""")


def _join(intake: Intake, one: int, other: int, now: datetime, by: str, session: Session) -> tuple[int, Standing]:
    roots = belonging.living(session, [one, other])
    for profile in (one, other):
        if profile not in roots:
            raise NotFound("customer", profile)
    here, there = (belonging.member(profile, roots[profile]) for profile in (one, other))
    if here.root().id == there.root().id:
        raise InvalidInput("other", "is the same customer already")
    belonging.lock(session, sorted({here.root().id, there.root().id}))
    if belonging.living(session, [one, other]) != roots:
        raise belonging.Lost
    belonging.describe(session, {person.id: person for person in (here.root(), there.root())})
    if too_large(here.root(), there.root()):
        raise InvalidInput("other", f"has too many identifiers or more than {MEMBERS} profiles together with this one")
    session.execute(_TOGETHER, {"one": here.root().id, "other": there.root().id})
    link = merge(here, there, BY_HAND)
    (number,) = belonging.link(session, [link], intake.hash_key, now, by=by)
    root = folding.load(session, [link.parent.id])[link.parent.id]
    state, told = folding.fold_again(session, root, intake.categories)
    (edition,) = journal.numbers(session, 1)
    standing = folding.standing(root, assess(state, intake.definitions.current(session)), edition)
    folding.write(session, [standing], now)
    folding.write_origins(session, list(folding.origins(root.id, told).values()), anew=[root.id])
    claiming.mark(session, [root])
    return number, standing
