"""A/B/n: which of several versions of a campaign's offers and creatives a person's mail shows, drawn by a keyed hash.

A person's place is drawn once and for all of a campaign, from a key that is the campaign's own, so that arms of
different campaigns have nothing to do with each other. The send writes the same arm beside each delivery in the
ledger (`campaigns/arms.py` says it in SQL): whoever never opens is counted too.
"""

from __future__ import annotations

import hashlib
from itertools import accumulate
from typing import Final

from msgspec import Struct

MAX_ARMS: Final = 8
PLACES: Final = 2**24


class Arm(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version. `share` is its part of the people, of the sum of all shares.

    without: offers that it leaves out of every slot. creatives: pairs of an offer and the creative it has here.
    """

    name: str
    share: float
    without: tuple[int, ...] = ()
    creatives: tuple[tuple[int, int], ...] = ()


class Split(Struct, frozen=True, kw_only=True):
    """The arms of a campaign, the first being what the others are held against, and the key that draws among them."""

    key: bytes
    arms: tuple[Arm, ...]

    def arm_of(self, profile: int) -> int:
        """The number of a person's arm, from 0."""
        drawn = int.from_bytes(hashlib.sha256(self.key + str(profile).encode()).digest()[:3], "big")
        return next(number for number, end in enumerate(self.ends) if drawn < end)

    @property
    def ends(self) -> tuple[int, ...]:
        """The first place after each arm's, of PLACES in all."""
        sums = list(accumulate(arm.share for arm in self.arms))
        return tuple(round(PLACES * upto / sums[-1]) for upto in sums)
