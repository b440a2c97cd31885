"""How rules read a household: each feature with what it means and how it is read at a moment.

Ages count by the calendar year (UTC), the age that somebody reaches in it: birth years are all that is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from signals.household import Household, is_grown
from signals.readings import Params, RuleFacts, Value

BANDS: Final = ((0, 2), (3, 5), (6, 12), (13, 17))
"""Ages of children by which rules may ask: from, to, both included."""

_ALONE: Final = "without a household"


@dataclass(frozen=True, slots=True)
class HouseholdFeature:
    """A feature of the catalogue, named `household.<name>`."""

    name: str
    type: Literal["whole", "number", "yes/no", "text"]
    unit: str
    meaning: str
    missing: str
    of: Callable[[Household, int], Value]

    def read(self, facts: RuleFacts, params: Params) -> Value:
        """What it is for a person; None without a household."""
        household = facts.state.household
        return None if household is None else self.of(household, facts.now.year)


def children(household: Household, year: int) -> int:
    """Who came as a child and is not of age in that year; who has no known age counts."""
    return sum(not is_grown(born, year) for born in household.children)


def adults(household: Household, year: int) -> int:
    """Who came as an adult, and children who are of age in that year."""
    return household.adults + len(household.children) - children(household, year)


def people(household: Household, year: int) -> int:
    """The number that was stated, else those who are known."""
    return household.size or household.adults + len(household.children)


def has_children(household: Household, year: int) -> bool | None:
    """Whether children live there; None where none is known and nobody stated who lives there."""
    return True if children(household, year) else False if household.whole else None


def youngest(household: Household, year: int) -> int | None:
    """The age of the youngest child."""
    born = max(household.children, default=0)
    return year - born if born and not is_grown(born, year) else None


def oldest(household: Household, year: int) -> int | None:
    """The age of the oldest adult, children who are of age in that year among them."""
    grown = (born for born in household.children if is_grown(born, year))
    born = min((one for one in (household.oldest, *grown) if one), default=0)
    return year - born if born else None


def role(household: Household, year: int) -> str:
    """The person's own part; an adult's where they came as a child and are of age in that year."""
    return "adult" if household.role == "child" and is_grown(household.born, year) else household.role


def _aged(low: int, high: int) -> HouseholdFeature:
    return HouseholdFeature(
        f"children_{low}_{high}",
        "whole",
        "people",
        f"Children of {low} to {high} years who live there.",
        _ALONE,
        lambda household, year: sum(bool(born) and low <= year - born <= high for born in household.children),
    )


FEATURES: Final = (
    HouseholdFeature("people", "whole", "people", "Who live there: as stated, else those known of.", _ALONE, people),
    HouseholdFeature("adults", "whole", "people", "Known adults who live there.", _ALONE, adults),
    HouseholdFeature(
        "children", "whole", "people", "Known children under 18 who live there, of any age.", _ALONE, children
    ),
    *(_aged(low, high) for low, high in BANDS),
    HouseholdFeature(
        "has_children",
        "yes/no",
        "",
        "Whether children under 18 live there.",
        "without a household, and when none is known and nobody stated who lives there",
        has_children,
    ),
    HouseholdFeature(
        "youngest", "whole", "years", "The youngest child’s age.", "without a child of known age", youngest
    ),
    HouseholdFeature("oldest", "whole", "years", "The oldest adult’s age.", "without an adult of known age", oldest),
    HouseholdFeature(
        "grown_children",
        "whole",
        "people",
        "Grown-up children who live elsewhere.",
        _ALONE,
        lambda household, year: household.grown,
    ),
    HouseholdFeature(
        "role",
        "text",
        "",
        'The person’s own part: "adult", "partner" or "child".',
        _ALONE,
        role,
    ),
    HouseholdFeature(
        "confidence",
        "number",
        "share",
        "How certain it is that these live together.",
        _ALONE,
        lambda household, year: household.sure / 100,
    ),
)
