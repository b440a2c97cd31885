"""Which records are one person, by what pairs of them say: a cluster rule that refuses bridges.

Whatever is merged is merged with all that was merged before, so it is not enough that a pair is likely. Taking every
likely pair joins a father and his son by one record that lacks the birth date. This rule begins with every record by
itself and joins two groups at a time, the best tie first, when

- together they speak for one person: the weights of the best that any pair of their records says of each fact, for what
  one record lacks or has wrong another makes up for;
- at least two *keys* agree, such as a name and a birth date, each by itself likelier of one person than of two;
- it is no *bridge* between two groups: a share of the pairs between them is likely by itself, not only one of many
  (of what is still by itself when all groups are made, one likely pair is enough: it brings nobody along);
- no single record that lacks a key is pulled elsewhere as much, to somebody who is nothing like this one;
- the person would not become larger than a person is, nobody said that they are two, and they have not each what only
  one can have.

Weights are bits: log2 of how many times more often two records of one person look like this than two of different
people. It is pure: the worker over profiles and `latebind evaluate identity` call the same function.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]
NO_KEY: Final = ""
LACKING: Final = -math.inf


def bits(probability: float) -> float:
    """A probability as the weight of its odds."""
    return math.log2(probability / (1 - probability))


@dataclass(frozen=True, slots=True)
class Rule:
    """When two groups of records are one person. `merge` and `likely` are weights of whole pairs, prior included."""

    merge: float = bits(0.9)
    likely: float = bits(0.5)
    keys: int = 2
    key_bits: float = 1.0
    share: float = 0.5
    margin: float = 3.0
    largest: int = 100


RULE: Final = Rule()
"""What others take for a match (0.9); a key speaks twice as much for one person as against; half of the pairs between
two groups; a rival eight times less likely is none; as many records as one person may be merged from
(`signals.identity.MEMBERS`). Stricter ones came first; docs/evaluation.md tells what was changed, on what records."""
CERTAIN: Final = Rule(merge=bits(0.99))
"""By which customers are merged without asking anybody."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of records that were compared: places of both, and weights, a row a pair and a column a fact.

    NaN where one of the two lacks the fact. `keys` names for each fact what it is a key of, or NO_KEY: facts of one
    name (street and postcode) are one key. `prior` is the weight of any pair before it is looked at.
    """

    one: Whole
    other: Whole
    weights: Array
    keys: tuple[str, ...]
    prior: float

    @property
    def totals(self) -> Array:
        """The weight of each pair, prior included."""
        return np.asarray(np.nansum(self.weights, axis=1) + self.prior)


class _Tie:
    """What the pairs between two groups say: how many are likely, the best weight of each fact (LACKING where no pair
    has it), and what these make together."""

    __slots__ = ("best", "likely", "score")

    def __init__(self, likely: int, best: list[float], prior: float) -> None:
        self.likely = likely
        self.best = best
        self.score = prior + sum(one for one in best if one > LACKING)

    def with_(self, other: _Tie, prior: float) -> _Tie:
        best = list(map(max, self.best, other.best))
        return _Tie(self.likely + other.likely, best, prior)


def gathered(
    count: int,
    pairs: Pairs,
    rule: Rule = RULE,
    *,
    apart: Iterable[tuple[int, int]] = (),
    single: Sequence[Collection[str]] | None = None,
) -> Whole:
    """For each of `count` records the place of the first record of its person.

    `apart` are pairs that somebody said are two. `single` names for each record what only one record of a person can
    have: two records of one name there are never one person (the same side of a link, a customer number).
    """
    return _Gathering(count, pairs, rule, apart, single).run()


class _Gathering:
    def __init__(
        self,
        count: int,
        pairs: Pairs,
        rule: Rule,
        apart: Iterable[tuple[int, int]],
        single: Sequence[Collection[str]] | None,
    ) -> None:
        self._rule = rule
        self._keys = pairs.keys
        self._telling = [place for place, key in enumerate(pairs.keys) if key != NO_KEY]
        self._prior = pairs.prior
        self._members: list[list[int]] = [[place] for place in range(count)]
        self._single: list[set[str]] = [set(one) for one in single] if single else [set() for _ in range(count)]
        self._apart: dict[int, set[int]] = {}
        for one, other in apart:
            self._apart.setdefault(one, set()).add(other)
            self._apart.setdefault(other, set()).add(one)
        self._ties: list[dict[int, _Tie]] = [{} for _ in range(count)]
        self._queue: list[tuple[float, int, int]] = []
        self._is_late = False
        totals = pairs.totals.tolist()
        known = np.where(np.isnan(pairs.weights), LACKING, pairs.weights).tolist()
        places = zip(pairs.one.tolist(), pairs.other.tolist(), known, totals, strict=True)
        for one, other, weights, total in places:
            if one != other:
                self._tie(one, other, _Tie(int(total >= rule.likely), weights, self._prior))

    def run(self) -> Whole:
        self._join_best()
        self._is_late = True
        for place, members in enumerate(self._members):
            if len(members) == 1:
                for other, tie in self._ties[place].items():
                    self._offer(place, other, tie)
        self._join_best()
        found = np.arange(len(self._members))
        for members in self._members:
            found[members] = min(members, default=0)
        return found

    def _join_best(self) -> None:
        while self._queue:
            score, one, other = heapq.heappop(self._queue)
            tie = self._ties[one].get(other)
            if tie is not None and tie.score == -score and self._is_one(one, other, tie):
                self._join(one, other)

    def _offer(self, one: int, other: int, tie: _Tie) -> None:
        if tie.score >= self._rule.merge:
            heapq.heappush(self._queue, (-tie.score, min(one, other), max(one, other)))

    def _tie(self, one: int, other: int, tie: _Tie) -> None:
        known = self._ties[one].get(other)
        tie = tie if known is None else known.with_(tie, self._prior)
        self._ties[one][other] = self._ties[other][one] = tie
        self._offer(one, other, tie)

    def _is_one(self, one: int, other: int, tie: _Tie) -> bool:
        """Whether two groups are one person."""
        here, there = len(self._members[one]), len(self._members[other])
        return (
            here + there <= self._rule.largest
            and tie.likely >= (1 if self._is_late and 1 in (here, there) else self._rule.share * here * there)
            and self._agreeing(tie) >= self._rule.keys
            and not self._single[one] & self._single[other]
            and other not in self._apart.get(one, ())
            and not (here == 1 and self._is_torn(one, other, tie))
            and not (there == 1 and self._is_torn(other, one, tie))
        )

    def _agreeing(self, tie: _Tie) -> int:
        found = {key for key, best in zip(self._keys, tie.best, strict=True) if best >= self._rule.key_bits}
        return len(found - {NO_KEY})

    def _is_torn(self, record: int, group: int, tie: _Tie) -> bool:
        """Whether a record could as well be of somebody else, who is nothing like this group's person, and lacks a key
        by which to tell: a record that has it and is near to both has a slip in it."""
        theirs = self._ties[group]
        enough = max(self._rule.merge, tie.score - self._rule.margin)
        lacking = [place for place in self._telling if tie.best[place] == LACKING]
        return bool(lacking) and any(
            rival.score >= enough and place not in theirs and any(rival.best[one] == LACKING for one in lacking)
            for place, rival in self._ties[record].items()
            if place != group
        )

    def _join(self, one: int, other: int) -> None:
        """Make one group of two; the one with more ties stays, so that each tie is moved but a few times."""
        if len(self._ties[one]) < len(self._ties[other]):
            one, other = other, one
        self._members[one] += self._members[other]
        self._members[other] = []
        self._single[one] |= self._single[other]
        for stranger in self._apart.pop(other, ()):
            self._apart[stranger].discard(other)
            self._apart[stranger].add(one)
            self._apart.setdefault(one, set()).add(stranger)
        moved, self._ties[other] = self._ties[other], {}
        del moved[one], self._ties[one][other]
        for place, tie in moved.items():
            del self._ties[place][other]
            self._tie(one, place, tie)
