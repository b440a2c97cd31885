"""Probability, value and rank of a decision's surviving candidates, from one feature matrix.

An offer's value is what showing it is expected to earn, in cents: probability x (value - incentive - aftercare) - cost.
Ranked by effect it is what showing it is expected to add: effect x (value - aftercare) - probability x incentive -
cost, since who buys anyway takes the incentive too. Its rank is that value times the weights of the contexts that hold
and the offer's lever; the plan may switch each of the factors off. The margin and all reports speak of values, so what
a lever costs can be seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from render.arbitration import Arbitration
from render.eligibility import Situation
from render.fields import offer_price
from render.model import Matrix, Model
from render.plan import Offer, Plan
from signals.candidates import CandidateContext, candidate_matrix

UNIT_CENTS: Final = 100.0
"""What a success counts where values are switched off."""
_NO_FACTORS: Final = Arbitration()
_TERMS: Final = "terms"


class Scores(Struct, frozen=True):
    """What is known of the offers that were scored, by offer id.

    by_offer: (calibrated probability 0-1, expected cents). ranks: what they are ordered by, where that is not the
    value; weights: contexts x lever, where that is not 1. bags: ranks in the eyes of each of the model's bags, where a
    slot asks for them. digest: SHA-256 hex of the matrix, None if nothing was scored. effects: what showing changes of
    the probability, -1 to 1, where the plan ranks by that and the model knows it.
    """

    by_offer: dict[int, tuple[float, float]] = {}
    digest: str | None = None
    is_scored: bool = False
    ranks: Mapping[int, float] = {}
    weights: Mapping[int, float] = {}
    bags: tuple[Mapping[int, float], ...] = ()
    effects: Mapping[int, float] = {}

    def rank(self, offer: int) -> float:
        """What an offer that was scored is ordered by: larger goes first; below 0 it costs more than it earns."""
        return self.ranks[offer] if self.ranks else self.by_offer[offer][1]

    def bags_of(self, offers: Sequence[int]) -> list[list[float]]:
        """The ranks of these offers in the eyes of each bag."""
        return [[bag[offer] for offer in offers] for bag in self.bags]


UNSCORED: Final = Scores()


class _Terms(Struct, frozen=True):
    """What a plan's scores need besides the probabilities. Made once a plan.

    earned: offer -> cents a success leaves. has_priors: some offer has a prior. is_plain: ranks are the values.
    uses_bags: some slot draws by the model's bags. by_effect: ranks go by what showing changes.
    """

    earned: Mapping[int, int]
    has_priors: bool
    is_plain: bool
    uses_bags: bool
    by_effect: bool


def score(at: Situation, offers: Sequence[Offer]) -> Scores:
    """Score these offers together, in this order; unscored where there is no model or nothing to score.

    The features are those of the plain state: signals of sensitive categories must not select.
    """
    model = at.facts.model
    if model is None or not offers:
        return UNSCORED
    terms = _terms(at.plan)
    seen_as = contexts(at, offers)
    matrix = candidate_matrix(at.plain, seen_as, at.now)
    tables = model.tables(zip((offer.id for offer in offers), (one.category for one in seen_as), strict=True))
    # The bytes of a float32 matrix are the same on every machine we run on: all are little-endian.
    digest = hashlib.sha256(matrix.data).hexdigest()
    probabilities = _from_priors(terms, model, offers, model.predict(matrix, tables).tolist())
    effects = _effects(model, offers, matrix) if terms.by_effect else {}
    by_offer = {
        offer.id: (probability, probability * terms.earned[offer.id] - offer.cost_cents)
        for offer, probability in zip(offers, probabilities, strict=True)
    }
    if effects:
        by_offer = {
            offer.id: (by_offer[offer.id][0], _added(offer, by_offer[offer.id][0], effects)) for offer in offers
        }
    if terms.is_plain and not terms.uses_bags:
        return Scores(by_offer, digest, True, effects=effects)
    weights = {} if terms.is_plain else _weights(at, offers)
    ranks = {} if terms.is_plain else _ranks(at.plan, terms, offers, probabilities, weights, effects)
    bags = (
        tuple(
            _ranks(at.plan, terms, offers, _from_priors(terms, model, offers, seen.tolist()), weights, {})
            for seen in model.predict_bags(matrix, tables)
        )
        if terms.uses_bags
        else ()
    )
    told = {offer: weight for offer, weight in weights.items() if weight != 1.0}
    return Scores(by_offer, digest, True, ranks, told, bags, effects)


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


def _factors(plan: Plan) -> Arbitration:
    return _NO_FACTORS if plan.arbitration is UNSET else plan.arbitration


def _terms(plan: Plan) -> _Terms:
    made: _Terms | None = vars(plan).get(_TERMS)
    if made is None:
        factors = _factors(plan)
        made = vars(plan)[_TERMS] = _Terms(
            earned={offer.id: offer.earned_cents for offer in plan.offers},
            has_priors=any(offer.prior is not None for offer in plan.offers),
            is_plain=replace(factors, effect=False) == _NO_FACTORS and all(offer.lever == 1.0 for offer in plan.offers),
            uses_bags=any(slot.policy is not UNSET and slot.policy.kind == "thompson" for slot in plan.slots),
            by_effect=factors.effect,
        )
    return made


def _effects(model: Model, offers: Sequence[Offer], matrix: Matrix) -> dict[int, float]:
    """What showing each offer changes of its chance; nothing where the model knows no effects."""
    found = model.predict_effects(matrix)
    return {} if found is None else dict(zip((offer.id for offer in offers), found.tolist(), strict=True))


def _added(offer: Offer, chance: float, effects: Mapping[int, float]) -> float:
    """What showing an offer is expected to add, in cents."""
    effect = effects[offer.id]
    # Whoever is moved by it takes it, so its chance is not below its effect.
    given = max(chance, effect) * offer.incentive_cents
    return effect * (offer.value_cents - offer.aftercare_cents) - given - offer.cost_cents


def _from_priors(terms: _Terms, model: Model, offers: Sequence[Offer], probabilities: list[float]) -> list[float]:
    """What the model says, after what was known before it: a prior fades as showings of its offer are learnt from.

    Of n showings and a prior that weighs w, the chance is (w x prior + n x model's) / (w + n).
    """
    if not terms.has_priors:
        return probabilities
    blended = []
    for offer, said in zip(offers, probabilities, strict=True):
        if offer.prior is None:
            blended.append(said)
            continue
        seen, weight = model.artefact.evidence.get(offer.id, 0), offer.prior_weight
        blended.append((weight * offer.prior + seen * said) / (weight + seen))
    return blended


def _weights(at: Situation, offers: Sequence[Offer]) -> dict[int, float]:
    """Contexts x lever of each offer, as far as the plan lets them count."""
    factors = _factors(at.plan)
    held = [one for one in factors.contexts if factors.context and at.holds(one.rule)]
    weights = {}
    for offer in offers:
        weight = offer.lever if factors.lever else 1.0
        for context in held:
            weight *= context.weights.get(offer.kind, 1.0)
        weights[offer.id] = weight
    return weights


def _ranks(
    plan: Plan,
    terms: _Terms,
    offers: Sequence[Offer],
    probabilities: Sequence[float],
    weights: Mapping[int, float],
    effects: Mapping[int, float],
) -> dict[int, float]:
    factors = _factors(plan)
    effects = effects if factors.probability else {}
    ranks = {}
    for offer, said in zip(offers, probabilities, strict=True):
        chance = said if factors.probability else 1.0
        if not factors.value:
            worth = effects.get(offer.id, chance) * UNIT_CENTS
        elif effects:
            worth = _added(offer, chance, effects)
        else:
            worth = chance * terms.earned[offer.id] - offer.cost_cents
        # A weight lifts what earns; what costs more than it earns is not made dearer or cheaper by it.
        ranks[offer.id] = worth * weights.get(offer.id, 1.0) if worth > 0 else worth
    return ranks
