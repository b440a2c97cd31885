"""Product candidates from browsing: what sessions like this one went on to look at.

A session is the products a person looked at, in order. Its neighbours are earlier sessions that share products with it:
the later the shared product stands in this one, the rarer it is and the newer the session, the nearer. What stands by
the shared product in them are the candidates, the nearer the better (after V-SkNN: Ludewig and Jannach 2018, and STAN:
Garg, Gupta, Malhotra and Vig 2019).

Nothing is fitted: the index is the sessions themselves, so it can be made anew every night.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

PRODUCTS: Final = 8
"""Products of a session that are looked at, the newest."""

SESSIONS: Final = 1_000
"""Sessions that a product leads to, the newest."""

NEIGHBOURS: Final = 150
STEP: Final = 0.6
"""What a click counts beside the one after it."""

FADE_SHARE: Final = 0.6
"""Sessions lose a factor of e over so large a share of the index: what is looked at changes with the season."""

BACKWARDS, DISTANCE = 0.7, 0.5
"""What a product counts that stood before the shared one, and how fast it counts less with each click between."""

Whole = np.ndarray[Any, np.dtype[np.int64]]
Weights = np.ndarray[Any, np.dtype[np.float64]]


class Neighbours:
    """Sessions indexed by product. Products are whole numbers from 0 to below `products`."""

    def __init__(self, sessions: Sequence[Sequence[int]], products: int) -> None:
        sizes = np.array([len(session) for session in sessions], dtype=np.int64)
        self._items = np.fromiter((item for session in sessions for item in session), np.int64, int(sizes.sum()))
        self._starts = np.r_[0, np.cumsum(sizes)]
        self._sizes = sizes
        owner = np.repeat(np.arange(len(sizes)), sizes)
        place = np.arange(len(self._items)) - np.repeat(self._starts[:-1], sizes)
        # Of a product that a session holds twice the later place counts.
        order = np.lexsort((place, owner, self._items))
        last = order[np.r_[(np.diff(owner[order]) != 0) | (np.diff(self._items[order]) != 0), True]]
        self._owners, self._places = owner[last], place[last]
        counts = np.bincount(self._items[last], minlength=products)
        self._from = np.r_[0, np.cumsum(counts)]
        self._rarity = np.log((len(sizes) + 1) / (counts + 1))
        # Long sessions share products with everything, old ones tell of another season.
        age = np.arange(len(sizes), 0, -1)
        self._worth = sizes**-0.25 * np.exp(-age / (FADE_SHARE * max(len(sizes), 1)))
        self._popular = np.argsort(-counts, kind="stable")

    def ranked(self, clicks: Sequence[int], count: int = 20) -> Whole:
        """The `count` products that come next most likely, best first; popular ones where nothing is known."""
        items, scores = self._scored(clicks)
        best = items[np.lexsort((items, -scores))[:count]]
        if len(best) < count:
            best = np.r_[best, np.setdiff1d(self._popular[: count * 2], best, assume_unique=True)][:count]
        return best

    def _scored(self, clicks: Sequence[int]) -> tuple[Whole, Weights]:
        """Every product of the nearest sessions and how much speaks for it."""
        weights: dict[int, float] = {}
        for age, item in enumerate(reversed(clicks[-PRODUCTS:])):
            weights.setdefault(item, STEP**age)
        spans = [
            (item, max(self._from[item], self._from[item + 1] - SESSIONS), self._from[item + 1]) for item in weights
        ]
        owners = np.concatenate([self._owners[begin:end] for _, begin, end in spans])
        if not len(owners):
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        places = np.concatenate([self._places[begin:end] for _, begin, end in spans])
        shares = np.concatenate(
            [np.full(end - begin, weights[item] * self._rarity[item]) for item, begin, end in spans]
        )
        order = np.lexsort((places, owners))
        owners, places, shares = owners[order], places[order], shares[order]
        heads = np.flatnonzero(np.r_[True, np.diff(owners) != 0])
        near = np.add.reduceat(shares, heads) * self._worth[owners[heads]]
        tails = np.r_[heads[1:], len(owners)] - 1
        sessions, met = owners[heads], places[tails]
        if len(sessions) > NEIGHBOURS:
            best = np.argpartition(-near, NEIGHBOURS)[:NEIGHBOURS]
            sessions, met, near = sessions[best], met[best], near[best]
        return self._carried(sessions, met, near)

    def _carried(self, sessions: Whole, met: Whole, near: Weights) -> tuple[Whole, Weights]:
        """The products of these sessions; `met` is where each holds its last shared product."""
        sizes = self._sizes[sessions]
        place = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        distance = place - np.repeat(met, sizes)
        weights = np.repeat(near, sizes) * np.where(distance > 0, 1.0, BACKWARDS) / (1 + DISTANCE * np.abs(distance))
        items, inverse = np.unique(self._items[np.repeat(self._starts[sessions], sizes) + place], return_inverse=True)
        # Half of the bonus of a rare product, against those that stand in every session.
        return items, np.asarray(np.bincount(inverse, weights=weights) * np.sqrt(self._rarity[items]), dtype=np.float64)
