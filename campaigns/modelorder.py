"""What a model may rank offers by, and so which of them it surely puts before which (`render.scoring`).

A chance may be anything from 0 to 1 and an effect from -1 to 1, each offer's own; what an offer leaves and costs, its
lever and its priority are the plan's. So an offer of no value never goes before one of a higher priority.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from math import inf
from typing import Final

from msgspec import UNSET

from render.arbitration import Arbitration
from render.plan import Offer, Plan
from render.scoring import UNIT_CENTS

Bound = tuple[float, float]
"""A rank in cents and the priority that decides among equal ranks; minus infinity for what is less than the rank."""
_BELOW_NOTHING: Final[Bound] = (0.0, -inf)


class Order:
    """The orders that a model may put offers in: the least and the most of each.

    Contexts lift or lower what an offer is ranked by, and whether one holds is not looked at: `whatever_holds` keeps to
    the orders that are possible in all contexts, otherwise all that are possible in some are meant.
    """

    def __init__(self, plan: Plan, offers: Iterable[int], *, by_effect: bool, whatever_holds: bool) -> None:
        factors = Arbitration() if plan.arbitration is UNSET else plan.arbitration
        self.bounds: dict[int, tuple[Bound, Bound]] = {}
        for number in offers:
            offer = plan.offer_by_id[number]
            found, weights = _worth(offer, factors, by_effect), _weights(offer, factors)
            low = [_weighted(min(found), weight) for weight in weights]
            high = [_weighted(max(found), weight) for weight in weights]
            least, most = (max(low), min(high)) if whatever_holds else (min(low), max(high))
            self.bounds[number] = (least, offer.priority), (most, offer.priority)
        self._least = {number: least for number, (least, _) in self.bounds.items()}
        self._most = {number: most for number, (_, most) in self.bounds.items()}
        earning = (max(least, (0.0, least[1])) for least in self._least.values())
        self.is_open = not self.bounds or max(earning) <= min(self._most.values())
        """Whether any order is possible, and with each earning what it costs."""

    def pays(self, number: int) -> bool:
        """Whether an offer may earn what it costs, so that a place can go to it by value."""
        return self._most[number] > _BELOW_NOTHING

    def may_cost_more(self, number: int) -> bool:
        """Whether an offer may cost more than it earns, so that no place goes to it by value."""
        return self._least[number] < _BELOW_NOTHING

    def is_above(self, number: int, other: int) -> bool:
        """Whether an offer surely goes before another and earns what it costs."""
        least = self._least[number]
        return least > _BELOW_NOTHING and least > self._most[other]

    def above_any(self, offers: Iterable[int], others: Iterable[int]) -> list[int]:
        """Those of some offers that surely go before one of some others."""
        lowest = min((self._most[one] for one in others), default=(inf, inf))
        return [one for one in offers if self._least[one] > lowest]

    def alike(self, number: int, caps: Mapping[int, Bound]) -> tuple[Bound, Bound] | None:
        """What tells an offer from others that may go before the same ones; None where any may, or it has no value."""
        scored = number in self._least and not self.is_open
        return (self._least[number], self._under(number, caps)) if scored else None

    def takes(
        self,
        some: Iterable[int],
        left: Collection[int],
        caps: Mapping[int, Bound],
        *,
        skips: bool = False,
        among: int = 1,
    ) -> dict[int, Mapping[int, Bound]]:
        """Which of some of the offers that are left a place can take first, with the bounds on all of them then.

        `caps` are the bounds that earlier places set: whoever was left by one ranks no higher than whom it took. An
        offer that `skips` goes first also if it costs more than it earns. A place that draws takes one `among` so many.
        """
        if self.is_open:
            return dict.fromkeys(some, caps)
        least, found = self._least, dict[int, Mapping[int, Bound]]()
        leasts = sorted(least[one] for one in left)
        tops = {one: self._under(one, caps) for one in left}
        for number in some:
            top = tops[number]
            above = len(leasts) - bisect_right(leasts, top) - (least[number] > top)
            if above >= among or not (skips or top > _BELOW_NOTHING):
                continue
            behind: dict[int, Bound] = {}
            if len(left) > among:
                behind = {one: top for one, own in tops.items() if least[one] <= top < own and one != number}
            found[number] = {**caps, **behind} if behind else caps
        return found

    def _under(self, number: int, caps: Mapping[int, Bound]) -> Bound:
        """The most that an offer may be ranked by within its bound."""
        most, cap = self._most[number], caps.get(number)
        if cap is None or most <= cap:
            return most
        return (cap[0], most[1]) if most[1] <= cap[1] else (cap[0], -inf)


def _worth(offer: Offer, factors: Arbitration, by_effect: bool) -> list[float]:
    """What an offer may be worth at the ends of what a model may say; all between them is possible too."""
    chances = (0.0, 1.0) if factors.probability else (1.0,)
    if by_effect and factors.probability:
        effects = (-1.0, 0.0, 1.0)
        if not factors.value:
            return [effect * UNIT_CENTS for effect in effects]
        lasting = offer.value_cents - offer.aftercare_cents
        return [
            effect * lasting - max(chance, effect) * offer.incentive_cents - offer.cost_cents
            for effect in effects
            for chance in chances
        ]
    if not factors.value:
        return [chance * UNIT_CENTS for chance in chances]
    return [chance * offer.earned_cents - offer.cost_cents for chance in chances]


def _weights(offer: Offer, factors: Arbitration) -> tuple[float, float]:
    """The least and the most of lever x contexts, whichever of these hold."""
    low = high = offer.lever if factors.lever else 1.0
    for context in factors.contexts if factors.context else ():
        weight = context.weights.get(offer.kind, 1.0)
        low, high = low * min(1.0, weight), high * max(1.0, weight)
    return low, high


def _weighted(worth: float, weight: float) -> float:
    return worth * weight if worth > 0 else worth
