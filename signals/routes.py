"""Whether a person wants service or an offer: of one and the same product, a bad review and a look lead elsewhere.

What speaks of trouble goes before what speaks of a wish: nobody is sold to while they are unhappy. A bad review stops
counting after half a year, and as soon as something of the category is bought after it.
"""

from __future__ import annotations

from typing import Final, Literal

from signals.moments import day_of
from signals.state import ProfileState

Route = Literal["service", "offer"]
REVIEW_DAYS: Final = 180
LOOKS: Final = 2
"""Looks at a category, the newest within LOOK_DAYS, that are taken for a wish; one may be chance."""
LOOK_DAYS: Final = 7


def route(state: ProfileState, category: int, today: int) -> Route | None:
    """What a person wants of a category; None when nothing speaks for either. `today` is a day of signals/moments."""
    if state.complaints or _is_unhappy(state, category, today):
        return "service"
    return "offer" if _is_willing(state, category, today) else None


def _is_unhappy(state: ProfileState, category: int, today: int) -> bool:
    review, bought = state.reviews.get(category), state.categories.get(category)
    if review is None or review.sentiment != "negative" or today - review.day > REVIEW_DAYS:
        return False
    return bought is None or bought.last_day <= review.day


def _is_willing(state: ProfileState, category: int, today: int) -> bool:
    if any(line.category == category for line in state.cart):
        return True
    seen = state.views.get(category)
    return seen is not None and seen.n >= LOOKS and max(0, today - day_of(seen.last_s)) <= LOOK_DAYS
