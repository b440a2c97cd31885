"""The gate: whether a model may decide a whole campaign, by what its choices are worth beside the present ones.

Worth is counted in cents of credited orders, net of returns, per mail that was opened. Evidence comes from elsewhere
(workers/worth.py): from a canary, whose deliveries were drawn by lot, or from logs of explored choices. A model passes
if some evidence shows that it is worth at least the present choices less `MARGIN` of them, with 97.5 % confidence, and
no evidence shows the opposite.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

MARGIN: Final = 0.02
"""How much of the present worth a new model may at worst lose, by the lower end of its interval."""
LEAST_EFFECTIVE: Final = 100.0
"""Mails, or people after weighting, that evidence must rest on."""
LEAST_ORDERS: Final = 30
"""Credited orders that evidence must rest on: below that no interval can be trusted."""

Method = Literal["canary", "logs"]
METHOD_WORDS: Final = {"canary": "mails drawn by lot", "logs": "logged choices, weighted by their chance"}
UNITS: Final = {"canary": "opened mail", "logs": "open"}


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What one method found. Worths are cents per opened mail (canary) or per open (logs).

    `low` and `high` are the 95 % interval of `difference`; `effective` counts what the interval rests on;
    `refused` says in words why nothing can be concluded.
    """

    method: Method
    new: float = 0.0
    present: float = 0.0
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0
    opened: int = 0
    orders: int = 0
    effective: float = 0.0
    refused: str | None = None

    @property
    def words(self) -> str:
        """The method in words."""
        return METHOD_WORDS[self.method]

    @property
    def unit(self) -> str:
        """What worth is counted by."""
        return UNITS[self.method]


class Verdict(msgspec.Struct, frozen=True):
    """Whether a model may go live, why in one sentence, and on what evidence."""

    passes: bool
    why: str
    evidence: tuple[Evidence, ...] = ()


def weighed(evidence: Iterable[Evidence], margin: float = MARGIN) -> Verdict:
    """The verdict on what was found."""
    found = tuple(_checked(one) for one in evidence)
    told = [one for one in found if one.refused is None]
    if not told:
        reasons = "; ".join(f"{one.words}: {one.refused}" for one in found) or "nothing was measured yet"
        return Verdict(False, f"Not known yet: {reasons}.", found)
    against = next((one for one in told if one.high < -_allowed(one, margin)), None)
    if against is not None:
        return Verdict(False, f"It is worth less: {_figures(against)}.", found)
    speaks_for = next((one for one in told if one.low >= -_allowed(one, margin)), None)
    if speaks_for is not None:
        return Verdict(
            True, f"It is worth no less than {margin:.0%} below what runs now: {_figures(speaks_for)}.", found
        )
    return Verdict(
        False, f"It may be worth more than {margin:.0%} less than what runs now: {_figures(told[0])}.", found
    )


def _checked(one: Evidence) -> Evidence:
    """Evidence on too little refuses itself, whatever its interval says."""
    if one.refused is not None:
        return one
    if one.effective < LEAST_EFFECTIVE:
        why = f"it rests on the like of {one.effective:,.0f}, and {LEAST_EFFECTIVE:.0f} are needed"
        return msgspec.structs.replace(one, refused=why)
    if one.orders < LEAST_ORDERS:
        why = f"it rests on {one.orders} credited orders, {LEAST_ORDERS} are needed"
        return msgspec.structs.replace(one, refused=why)
    return one


def _allowed(one: Evidence, margin: float) -> float:
    return margin * max(0.0, one.present)


def _figures(one: Evidence) -> str:
    return f"{one.difference:+.1f} cents per {one.unit} ({one.low:+.1f} to {one.high:+.1f}), {one.words}"
