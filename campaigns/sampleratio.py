"""Whether groups have the sizes that chance gives them: a group that lost people no longer compares with the others.

The alarm is a sequential test, good at any look: the Bayes factor of a Dirichlet mixture over the intended shares
(Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022). While the shares are right, the
chance that it ever exceeds 1 / alpha is at most alpha, however often one looks and whenever one stops. Pearson's
chi-square p-value stands beside it; it is good for one look at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import erfc, exp, gamma, inf, lgamma, log, sqrt
from typing import Final

from base.errors import InvalidInput

ALPHA: Final = 0.001
"""The chance of a false alarm, ever, of one check. An alarm stops an experiment, so it must be rare."""
ALARM: Final = -log(ALPHA)
"""The evidence that is enough for it."""
CONCENTRATION: Final = 2_000.0
"""How near to the intended shares the test looks first: best for losses of a few in a hundred at some 10,000 people."""
_TINY: Final = 1e-9


@dataclass(frozen=True)
class Ratio:
    """The sizes of groups beside what was intended. `evidence` is the log of the Bayes factor against the shares."""

    counts: Mapping[str, int]
    shares: Mapping[str, float]
    evidence: float
    p_value: float

    @property
    def is_broken(self) -> bool:
        """Whether the alarm goes off at this look."""
        return self.evidence >= ALARM

    @property
    def expected(self) -> dict[str, float]:
        """How many of these people each group would have."""
        total = sum(self.counts.values())
        return {name: total * share for name, share in self.shares.items()}


def check(counts: Mapping[str, int], shares: Mapping[str, float]) -> Ratio:
    """Hold the sizes of groups against the intended shares, which are scaled to add up to 1.

    Raises InvalidInput naming what is wrong: other groups in one than in the other, a share or a count below 0, or
    fewer than two groups.
    """
    if set(counts) != set(shares):
        raise InvalidInput("shares", "must name the groups that were counted")
    if len(shares) < 2:
        raise InvalidInput("shares", "must name two groups or more")
    if any(share < 0 for share in shares.values()) or not sum(shares.values()) > 0:
        raise InvalidInput("shares", "must be 0 or more and not all 0")
    if any(count < 0 for count in counts.values()):
        raise InvalidInput("counts", "must be 0 or more")
    whole = sum(shares.values())
    intended = {name: share / whole for name, share in shares.items()}
    if any(counts[name] and not intended[name] for name in intended):
        return Ratio(counts, intended, inf, 0.0)
    pairs = [(counts[name], share) for name, share in intended.items() if share > _TINY]
    return Ratio(counts, intended, _evidence(pairs), _p_value(pairs))


def _evidence(pairs: list[tuple[int, float]]) -> float:
    total = sum(count for count, _ in pairs)
    found = lgamma(CONCENTRATION) - lgamma(CONCENTRATION + total)
    for count, share in pairs:
        prior = CONCENTRATION * share
        found += lgamma(prior + count) - lgamma(prior) - count * log(share)
    return found


def _p_value(pairs: list[tuple[int, float]]) -> float:
    total = sum(count for count, _ in pairs)
    if not total or len(pairs) < 2:
        return 1.0
    distance = sum((count - total * share) ** 2 / (total * share) for count, share in pairs)
    return chi_square_tail(distance, len(pairs) - 1)


def chi_square_tail(distance: float, freedom: int) -> float:
    """The chance of a chi-square value at least so large, with whole degrees of freedom of 1 or more."""
    half = distance / 2
    if freedom % 2:
        terms = (half**index / sqrt(half) / gamma(index + 0.5) for index in range(1, (freedom + 1) // 2))
        return min(1.0, erfc(sqrt(half)) + exp(-half) * sum(terms)) if half else 1.0
    term = total = 1.0
    for index in range(1, freedom // 2):
        term *= half / index
        total += term
    return min(1.0, exp(-half) * total)
