"""The stage of a customer's life: how the silence since the last order compares with the person's own rhythm.

Nothing is stored: a stage ends by itself when nobody buys, so it is read from the state at the moment it is asked. Only
orders that stayed count; the rhythm is the median gap between purchase days (`state.interval`), or NO_RHYTHM_DAYS for
those who bought on fewer than three days.

The numbers were read off two public sets of purchases (docs/people.md, *The stage of a customer's life*): of those of
a gift shop who were silent for RISK_GAPS of their usual gap 61 % bought within two more, after LAPSE_GAPS 32 %; of a
grocer's 74 % and 53 %. Half of those who came a second time to the gift shop did so within 63 days. The least days
keep those who buy every other day from being told lost after a fortnight's holiday.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from signals.moments import day_of
from signals.state import ProfileState, interval

Stage = Literal["prospect", "new", "active", "at_risk", "lapsed"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
RISK_GAPS: Final = 2
LAPSE_GAPS: Final = 5
RISK_LEAST_DAYS: Final = 30
LAPSE_LEAST_DAYS: Final = 90
NO_RHYTHM_DAYS: Final = 60


def rhythm(state: ProfileState) -> float:
    """The usual gap in days between purchases that the stage is measured by."""
    own = interval(state.order_gaps)
    return NO_RHYTHM_DAYS if own is None else own


def stage(state: ProfileState, today: int) -> Stage:
    """The stage on a UTC day (since 1970): "prospect" before the first order, "lapsed" and "at_risk" after a silence of
    so many usual gaps, else "new" for who bought on one day, "active" for the others."""
    if state.last_order_s is None:
        return "prospect"
    silent, usual = today - day_of(state.last_order_s), rhythm(state)
    if silent >= max(LAPSE_GAPS * usual, LAPSE_LEAST_DAYS):
        return "lapsed"
    if silent >= max(RISK_GAPS * usual, RISK_LEAST_DAYS):
        return "at_risk"
    return "active" if any(state.order_gaps) else "new"
