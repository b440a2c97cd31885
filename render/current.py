"""The current open of a lane: whether a fetch belongs to it, and what it looks like after a fetch.

A fetch uses it if it began less than `JOIN_MS` ago and this picture was not yet served in it (so the blocks of one look
agree, whatever signals arrive in between), or if nothing we know has changed, the hold lasts, every offer in it may
still be shown, no sale of its products began or ended since, and what it says of them, as a price, is still so. A
default that stands for offers whose products could not be had gives way once one of them may be shown. Whoever may not
be decided on any more never joins: their open must be one of defaults.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec.structs import replace

from render.eligibility import Situation
from render.facts import Chosen, Facts, Lane, LastShown
from render.permission import refused
from render.plan import Plan
from render.saying import fields_at
from render.stock import is_price_turned

JOIN_MS: Final = 30_000
"""An open may also seem to have begun a little later than a fetch came: the fetch read its clock, then another won."""
REMARK_MS: Final = 60_000
"""The same sight is noted again once a minute: often enough to tell what was seen within the hold, and no oftener."""
LOST_VERSION: Final = -1
"""The state version of an open that was decided without a state."""


def version_of(facts: Facts) -> int:
    """The state version that an open of these facts holds by."""
    return facts.state.version if facts.state is not None else LOST_VERSION


def joins(lane: Lane, slot: int, kind: str, now_ms: int) -> bool:
    """Whether the fetch is one more picture of the look that began just now."""
    return -JOIN_MS < now_ms - lane.began_ms < JOIN_MS and (slot, kind) not in lane.served


def holds(plan: Plan, plan_hash: str, lane: Lane, facts: Facts, now: datetime, now_ms: int) -> bool:
    """Whether the open still stands: the same plan and state, within the hold, every offer admissible now."""
    if lane.plan != plan_hash or lane.state_version != version_of(facts):
        return False
    if not -JOIN_MS < now_ms - lane.began_ms < plan.hold_s * 1000:
        return False
    if refused(plan, facts) is not None:
        return all(chosen.offer in plan.default_ids for chosen in lane.chosen)
    if lane.refused:  # It may be decided again: the campaign was switched on, say.
        return False
    at = Situation(plan, facts, now)
    if lane.waits and any(at.reason(at.offer(offer)) is None for offer in lane.waits):
        return False
    return all(_stands(plan, chosen, at, lane.began_ms) for chosen in lane.chosen)


def still_true(plan: Plan, lane: Lane, facts: Facts, now: datetime) -> bool:
    """Whether an open whose hold is over may be shown once more, for want of a new one.

    Every offer in it is admissible now, and its texts would be the same if it were chosen now.
    """
    if refused(plan, facts) is not None:
        return False
    at = Situation(plan, facts, now)
    return all(_stands(plan, chosen, at, lane.began_ms) and _says_the_same(plan, chosen, at) for chosen in lane.chosen)


def _says_the_same(plan: Plan, chosen: Chosen, at: Situation) -> bool:
    if chosen.offer in plan.default_ids:
        return True
    offer = at.offer(chosen.offer)
    fields = fields_at(at, offer, at.shown_products(offer))
    return chosen.creative == offer.creative and chosen.fields == fields


def _stands(plan: Plan, chosen: Chosen, at: Situation, began_ms: int) -> bool:
    offer = plan.offer_by_id.get(chosen.offer)
    if offer is None or offer.id in plan.default_ids:
        return offer is not None
    offer = at.offer(chosen.offer)
    if offer.product != chosen.product or at.reason(offer, held=True) is not None:
        return False
    if is_price_turned(at, offer, began_ms) or (offer.read_products and not _says_the_same(plan, chosen, at)):
        return False
    return tuple(product.id for product in at.shown_products(offer)) == chosen.products


def after_fetch(lane: Lane, slot: int, kind: str, sight: LastShown | None) -> Lane:
    """The lane after something was served; the same object when that is nothing new. `sight` None: no block was seen.

    A machine's or a tester's lane keeps its own sights: they never move what a person was last shown.
    """
    served = lane.served if (slot, kind) in lane.served else (*lane.served, (slot, kind))
    seen = lane.shown.get(slot, ())
    if sight is None or (seen and _is_same(seen[-1], sight)):
        return lane if served is lane.served else replace(lane, served=served)
    return replace(lane.after_sight(slot, sight), served=served)


def _is_same(last: LastShown, sight: LastShown) -> bool:
    return (
        last.offer == sight.offer
        and last.decision == sight.decision
        and last.product == sight.product
        and last.fetch_class == sight.fetch_class
        and -JOIN_MS < sight.at_ms - last.at_ms < REMARK_MS
    )
