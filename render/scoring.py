"""Probability and value of a decision's surviving candidates, from one feature matrix and one prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from msgspec import Struct

from render.eligibility import Situation
from render.fields import offer_price
from render.plan import Offer
from signals.candidates import CandidateContext, candidate_matrix


class Scores(Struct, frozen=True):
    """Offer id -> (calibrated probability 0-1, expected cents). digest: SHA-256 hex of the matrix, None if unscored."""

    by_offer: dict[int, tuple[float, float]] = {}
    digest: str | None = None
    is_scored: bool = False

    def probability(self, offer: int) -> float:
        """The calibrated probability of an offer that was scored."""
        return self.by_offer[offer][0]

    def value(self, offer: int) -> float:
        """The expected cents of an offer that was scored."""
        return self.by_offer[offer][1]


UNSCORED = Scores()


def score(at: Situation, offers: Sequence[Offer]) -> Scores:
    """Score these offers together, in this order; unscored where there is no model or nothing to score.

    The features are those of the plain state: signals of sensitive categories must not select.
    """
    model = at.facts.model
    if model is None or not offers:
        return UNSCORED
    matrix = candidate_matrix(at.plain, contexts(at, offers), at.now)
    by_offer = {
        offer.id: (probability, probability * offer.value_cents - offer.cost_cents)
        for offer, probability in zip(offers, model.predict(matrix).tolist(), strict=True)
    }
    # The bytes of a float32 matrix are the same on every machine we run on: all are little-endian.
    return Scores(by_offer, hashlib.sha256(matrix.data).hexdigest(), True)


def contexts(at: Situation, offers: Sequence[Offer]) -> list[CandidateContext]:
    """The candidates as the model sees them. Needs a model in the facts."""
    model = at.facts.model
    if model is None:
        raise ValueError("candidates are seen through a model, and the facts hold none")
    seen = []
    for offer in offers:
        product = at.facts.products.get(offer.product) if offer.product is not None else None
        category = offer.category or (product.category if product is not None else 0)
        price = None
        if product is not None and offer.shows_price:
            price = offer_price(offer, product.price_cents)
            price = product.price_cents if price is None else price
        seen.append(model.context(category, offer.kind, price))
    return seen
