"""The choice: which surviving candidate each slot shows, no offer twice, with the chance that each choice had.

Entries are sorted best first. Mandatory offers and those that the last open showed go before anything is drawn. Then
slots that explore draw, in the order of their numbers, from what is left; last, every other slot takes its best.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp
from typing import Final

from msgspec import UNSET, Struct

from render.arbitration import Policy
from render.plan import Plan, Slot
from render.scoring import Scores

_MASK: Final = (1 << 64) - 1
_DRAWN_TIER: Final = 2
"""Entries of lower tiers are not drawn: they are mandatory, or kept from the last open."""

Entry = tuple[int, bool, tuple[float, ...], int, int]
"""A surviving candidate of a slot: tier, whether it is ranked by value, rank, slot index, offer id. Entries sort best
first, and a plain tuple sorts twice as fast as anything with names."""


class Choice(Struct, frozen=True):
    """Slot index -> what it shows; and for slots that drew, offer id -> the chance it had there, 0 to 1."""

    winners: dict[int, Entry]
    chances: dict[int, dict[int, float]] = {}


def choose(plan: Plan, entries: Sequence[Entry], scores: Scores, seed: int, explores: bool) -> Choice:
    """Give the slots their offers. `explores` False: every slot shows its best, whatever its policy."""
    drawing = [slot for slot in plan.slots if slot.policy is not UNSET and slot.policy.kind != "greedy"]
    if not explores or not drawing or not scores.is_scored:
        return Choice(_assigned(entries, {}))
    winners = _assigned((entry for entry in entries if entry[0] < _DRAWN_TIER), {})
    taken = {entry[4] for entry in winners.values()}
    chances: dict[int, dict[int, float]] = {}
    for slot in sorted(drawing, key=lambda one: one.index):
        if slot.index in winners or slot.policy is UNSET or slot.mode != "model":
            continue
        open_to = [entry for entry in entries if entry[3] == slot.index and entry[1] and entry[4] not in taken]
        if not open_to:
            continue
        best = [entry[4] for entry in open_to[: slot.policy.top]]
        shares = distribution(slot.policy, [scores.rank(offer) for offer in best], scores.bags_of(best))
        drawn = _drawn(shares, unit(seed, slot))
        winners[slot.index] = open_to[drawn]
        taken.add(best[drawn])
        chances[slot.index] = dict(zip(best, shares, strict=True))
    return Choice(_assigned(entries, winners), chances)


def distribution(policy: Policy, ranks: Sequence[float], bags: Sequence[Sequence[float]] = ()) -> list[float]:
    """The chance of each of some offers, the best first, that sum to 1; `bags` are their ranks in each bag's eyes.

    Thompson sampling over bagged models shows the best of one bag drawn at random, so an offer's chance is the share of
    bags that hold it for the best (the first among equals). Where the model has no bags it is the best's alone.
    """
    count = len(ranks)
    if policy.kind == "epsilon":
        shares = [policy.epsilon / count] * count
        shares[0] += 1 - policy.epsilon
    elif policy.kind == "softmax":
        weights = [exp((rank - ranks[0]) / policy.temperature_cents) for rank in ranks]
        shares = [weight / sum(weights) for weight in weights]
    elif policy.kind == "thompson" and bags:
        favourites = [bag.index(max(bag)) for bag in bags]
        shares = [favourites.count(position) / len(bags) for position in range(count)]
    else:
        shares = [1.0] + [0.0] * (count - 1)
    return [policy.floor + (1 - count * policy.floor) * share for share in shares]


def unit(seed: int, slot: Slot) -> float:
    """A number from 0 to below 1 for the draw in a slot, the same wherever the seed is."""
    return mixed(seed, -1 - slot.index) / (_MASK + 1)


def mixed(seed: int, number: int) -> int:
    """64 bits that look random and are the same wherever seed and number are (SplitMix64's finaliser)."""
    mixed = (seed + number * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


def _drawn(shares: Sequence[float], unit: float) -> int:
    for position, share in enumerate(shares):
        unit -= share
        if unit < 0:
            return position
    # Rounding may leave a hair's breadth: it belongs to the last that had a chance.
    return max(position for position, share in enumerate(shares) if share > 0)


def _assigned(entries: Iterable[Entry], winners: dict[int, Entry]) -> dict[int, Entry]:
    """Slot -> what it shows: best entry first, each slot once, each offer once; `winners` have theirs already."""
    winners = dict(winners)
    taken = {entry[4] for entry in winners.values()}
    for entry in entries:
        slot, offer = entry[3], entry[4]
        if slot not in winners and offer not in taken:
            winners[slot] = entry
            taken.add(offer)
    return winners
