"""Who is given an incentive: only on products that are flagged for it, and only to people who need it to buy.

The need is told by the model: how likely the person is to buy the same thing at its full price. Whoever is likely
enough without an incentive is not given it; the full price beside it goes on. Where no model tells, nobody is given it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Struct

from signals.candidates import candidate_matrix

if TYPE_CHECKING:
    from render.eligibility import Situation
    from render.plan import Offer, Plan
    from signals.productfacts import ProductFacts

INCENTIVES: Final = ("price_cents", "percent", "amount_off_cents")
"""Fields of an offer that lower its price; of several that an older offer has, the first counts."""
_NEEDING: Final = "needing"


class Incentive(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To whom an offer's incentive is given.

    flagged: only on a product that the feed marks as promoted (`promotion_id`); of several the others are left out.
    limit: whoever is as likely as this to buy at the full price, or likelier, is not given it; None gives it to
    everybody.
    """

    flagged: bool = True
    limit: Annotated[float, Meta(gt=0, lt=1)] | None = None


def unflagged(at: Situation, offer: Offer) -> str | None:
    """Why its product, or too few of several, may carry no incentive; None if it may."""
    if offer.incentive is None or not offer.incentive.flagged:
        return None
    known = [at.facts.products[name] for name in offer.all_products if name in at.facts.products]
    flagged = sum(product.promoted and at.is_fresh(product) for product in known)
    return None if flagged >= offer.least_products else "not on promotion"


def may_carry(offer: Offer, product: ProductFacts) -> bool:
    """Whether the offer's incentive, if it has one, may be given on a product."""
    return offer.incentive is None or not offer.incentive.flagged or product.promoted


def needless(at: Situation, offer: Offer) -> str | None:
    """Why the person is not given the incentive; None if they are."""
    if offer.incentive is None or offer.incentive.limit is None:
        return None
    chance = at.unaided.get(offer.id)
    if chance is None:
        return "need unknown"
    return "needs no incentive" if chance >= offer.incentive.limit else None


def unaided(at: Situation) -> Mapping[int, float]:
    """Offer id -> how likely the person is to buy at the full price, for the offers given by need; {} without a model.

    One prediction for all of them, on the plain state: purchases of a sensitive category must not choose.
    """
    model, numbers = at.facts.model, _needing(at.plan)
    if model is None or not numbers:
        return {}
    contexts, told = [], []
    for offer in map(at.offer, numbers):
        product = at.facts.products.get(offer.product) if offer.product is not None else None
        price = product.price_cents if product is not None and offer.shows_price else None
        category = offer.category or (product.category if product is not None else 0)
        contexts.append(model.context(category, offer.kind, price))
        told.append((offer.id, category))
    chances = model.predict(candidate_matrix(at.plain, contexts, at.now), model.tables(told)).tolist()
    return dict(zip(numbers, chances, strict=True))


def _needing(plan: Plan) -> tuple[int, ...]:
    """The offers that are given by need. Looked for once a plan."""
    made: tuple[int, ...] | None = vars(plan).get(_NEEDING)
    if made is None:
        needing = (offer for offer in plan.offers if offer.incentive is not None and offer.incentive.limit is not None)
        made = vars(plan)[_NEEDING] = tuple(offer.id for offer in needing)
    return made
