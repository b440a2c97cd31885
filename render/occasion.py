"""Whether the occasion suits an offer: not too soon after a purchase, not too late, and not too many at once.

What an offer asks of a purchase is asked of the plain state, for purchases of a sensitive category may not choose; that
something was bought too recently is read from the whole state, for they may suppress.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from render.facts import DAY_MS
from signals.moments import ms_of

if TYPE_CHECKING:
    from render.eligibility import Situation
    from render.plan import Offer

HOUR_MS: Final = 3_600_000


def unsuited(at: Situation, offer: Offer) -> str | None:
    """Why it is not the occasion for an offer that asks for one; None if it is."""
    if offer.when_due and (code := _not_due(at, offer)) is not None:
        return code
    if offer.window_hours is not None and (code := _outside(at, offer, offer.window_hours)) is not None:
        return code
    return _too_many(at, offer, offer.units) if offer.units is not None else None


def _not_due(at: Situation, offer: Offer) -> str | None:
    """What is bought again after some days is not offered before they have passed."""
    category, relations = _category(at, offer), at.facts.relations
    if category not in at.plain.categories:
        return "nothing to replace"
    days = relations.interval_days(category) if relations is not None else None
    if days is None:
        return "interval unknown"
    bought_ms = ms_of(at.state.categories[category].last_s)
    return "bought too recently" if at.now_ms - bought_ms < days * DAY_MS else None


def _outside(at: Situation, offer: Offer, hours: int) -> str | None:
    """An upsell lasts so many hours from the purchase that it adds to; the first millisecond after them is outside."""
    chosen = at.picked(offer)
    since_ms = _bought_ms(at, _category(at, offer)) if chosen is None else chosen.since_ms
    if not since_ms:
        return "no purchase to add to"
    return "upsell window over" if at.now_ms - since_ms >= hours * HOUR_MS else None


def _bought_ms(at: Situation, category: int) -> int | None:
    """The latest purchase of a category, Unix ms: of what the state names to the millisecond, else to the second."""
    named = [line.time_ms for line in at.plain.recent if line.category == category]
    if named:
        return max(named)
    stats = at.plain.categories.get(category)
    return None if stats is None else ms_of(stats.last_s)


def _too_many(at: Situation, offer: Offer, units: int) -> str | None:
    """So many at once are plausible where others take as many of the category, or the person took as many of this."""
    if sum(line.quantity for line in at.plain.recent if line.product == offer.product) >= units:
        return None
    relations = at.facts.relations
    if relations is None:
        return "quantity unknown"
    return None if relations.are_plausible(_category(at, offer), units) else "too many at once"


def _category(at: Situation, offer: Offer) -> int:
    product = at.facts.products.get(offer.product) if offer.product is not None else None
    return (product.category if product is not None else 0) or offer.category or 0
