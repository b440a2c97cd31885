"""Work on a large plan's candidates that need not be done for each of them at each open."""

from __future__ import annotations

from typing import Final

from render.model import Model
from render.plan import LayeredRules, Offer, Plan

_GROUPS: Final = "groups"
_ORDER: Final = "order"


def groups(plan: Plan) -> tuple[tuple[int, ...], ...]:
    """The candidates of the plan's slots, together those that no situation tells apart. Made once a plan.

    One of each group need be asked, unless it is withdrawn, which names an offer by its number: a large plan has many
    offers of the same kind about the same categories.
    """
    made: tuple[tuple[int, ...], ...] | None = vars(plan).get(_GROUPS)
    if made is None:
        alike: dict[object, list[int]] = {}
        for number in dict.fromkeys(number for slot in plan.slots for number in slot.offers):
            alike.setdefault(_alike(plan.offer_by_id[number]), []).append(number)
        made = vars(plan)[_GROUPS] = tuple(tuple(numbers) for numbers in alike.values())
    return made


def _alike(offer: Offer) -> object:
    """What a situation asks of an offer; one with a rule, a product or a limit is asked for itself."""
    if (
        offer.rules != LayeredRules()
        or offer.read_products
        or offer.is_limited
        or offer.asks_occasion
        or offer.incentive
    ):
        return offer.id
    return (
        offer.kind, offer.category, offer.purpose_category, offer.after_category, offer.starts_ms, offer.ends_ms,
        offer.requires_consent, offer.clock_bound, offer.needs_stock, offer.shows_price,
    )  # fmt: skip


def estimated(plan: Plan, model: Model) -> tuple[int, ...]:
    """The plan's offers in the order of a plain estimate, best first. Made once a plan and model.

    Those go first that have priority, then those worth most if their category's popularity were their chance.
    """
    kept: tuple[str, tuple[int, ...]] | None = vars(plan).get(_ORDER)
    if kept is not None and kept[0] == model.hash:
        return kept[1]
    popularity = model.artefact.popularity

    def order(offer: Offer) -> tuple[float, float, int]:
        worth = popularity.get(offer.category or 0, 0.0) * offer.earned_cents - offer.cost_cents
        return -offer.priority, -worth, offer.id

    ordered = tuple(offer.id for offer in sorted(plan.offers, key=order))
    vars(plan)[_ORDER] = (model.hash, ordered)
    return ordered
