"""Whom nothing is sold to, and whom nothing more is sold to: a campaign's suppression rule and the profit guard.

The suppression rule is asked of the state as it is at the open, so a complaint or a bad review that came after the send
counts. The guard reads flags that were computed with a time of their own (docs/people.md) and are carried in the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from render.clauses import suppression
from render.plan import Kind, Plan
from signals.readings import FLAG, RuleFacts
from signals.state import ProfileState

CROSS_KINDS: Final[frozenset[Kind]] = frozenset({"cross-sell", "upsell", "volume", "bundle"})
"""Kinds that widen what a person buys; a replacement only keeps it going, so the guard leaves it alone."""
SUPPRESSED: Final = "suppressed: "
UNPROFITABLE: Final = "unprofitable: "
FLAGS: Final[Mapping[str, str]] = {
    "service": "need more service than their orders pay for",
    "returns": "send back much of what they buy",
    "discount": "buy almost only at a discount",
    "spending": "spend the same however many kinds of things they buy",
}
"""The four flags, in the order in which one is named where several hold, and what their people do."""
_NAMES: Final = tuple((f"{FLAG}{name}", f"{UNPROFITABLE}{name}") for name in FLAGS)


def suppressed(plan: Plan, facts: RuleFacts) -> str | None:
    """The code of the first part of the suppression rule that holds, such as `suppressed: 2`; None if none does."""
    for number, holds in enumerate(suppression(plan), start=1):
        if holds(facts):
            return f"{SUPPRESSED}{number}"
    return None


def flagged(state: ProfileState) -> str | None:
    """The code of the first flag that a person has, such as `unprofitable: returns`; None without any."""
    scores = state.scores
    return next((code for name, code in _NAMES if name in scores), None) if scores else None
