"""Fairness: whether people of a protected group are shown an offer about as often as the others.

A group is the people whose trait has one value. For each offer the share
of a group's people who were shown it is held against that of all others: their ratio must stay within a limit and its
inverse (0.8 and 1.25, the four-fifths rule). The verdict goes by the ratio's interval, by Katz's logarithm with half a
person added to each count (Walter 1975), shared among all comparisons (Bonferroni): few people prove nothing.
Decided opens of the live lane count; whoever is kept on neutral content does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import exp, log, sqrt
from statistics import NormalDist
from typing import Final, Literal

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from base.ids import TEST_BIT
from campaigns import reckoning
from signals.state import MAX_TRAIT_NAME

ALPHA: Final = 0.05
MIN_PEOPLE: Final = 30
"""People of a group, and of the others, below which nothing is told of it: neither a verdict nor a number."""
TRAITS: Final = ("gender", "age_band")
"""The traits whose groups are compared unless others are asked for."""
MAX_TRAITS: Final = 10
LIMIT: Final = 0.8
MAX_GROUPS: Final = 20
"""Values of a trait that are told apart, those of most people; a trait of more is no group of people."""
Verdict = Literal["within", "outside", "open"]


@dataclass(frozen=True)
class Rate:
    """One offer in one group: how many of its people were shown it, and the ratio to the others' with its interval."""

    offer: int
    name: str
    shown: int
    people: int
    others_shown: int
    others: int
    low: float
    high: float
    verdict: Verdict

    @property
    def share(self) -> float:
        return self.shown / self.people

    @property
    def others_share(self) -> float:
        return self.others_shown / self.others

    @property
    def ratio(self) -> float | None:
        """The group's share over the others'; None where none of the others was shown it."""
        return self.share / self.others_share if self.others_shown else None


@dataclass(frozen=True)
class Group:
    """The people whose trait has one value. `rates` is empty where there are too few to tell."""

    trait: str
    value: str
    rates: tuple[Rate, ...]

    @property
    def outside(self) -> tuple[Rate, ...]:
        """The offers that are surely shown to it more rarely, or more often, than the limit allows."""
        return tuple(rate for rate in self.rates if rate.verdict == "outside")


class _Told(Struct, frozen=True):
    """Of a trait: people by value, and rows of offer, its name, value, and how many people of it were shown it."""

    people: dict[str, int]
    shown: list[tuple[int, str, str, int]]


def groups(
    session: Session, campaign_id: int, traits: Sequence[str], limit: float, anew: datetime | None = None
) -> list[Group]:
    """Every protected group among the people whose opens were decided; `limit` is the least ratio, 0.5 to 0.99.

    `anew`: what is counted ahead is counted in any case, and kept as of that moment. Raises InvalidInput naming what
    was asked wrongly, NotCounted of a large campaign before its first count.
    """
    if not 0 < len(traits) <= MAX_TRAITS or not all(0 < len(trait) <= MAX_TRAIT_NAME for trait in traits):
        raise InvalidInput("traits", f"must be 1 to {MAX_TRAITS} names of traits")
    if not 0.5 <= limit <= 0.99:
        raise InvalidInput("limit", "must be from 0.5 to 0.99")
    found: list[Group] = []
    for trait in traits:
        count = partial(_told, session, campaign_id, trait)
        # What is not asked for everywhere is not counted ahead, and takes as long as it takes.
        ahead = trait in TRAITS
        told = reckoning.reckoned(session, campaign_id, f"fairness/{trait}", _Told, count, anew) if ahead else count()
        shown: dict[tuple[int, str], dict[str, int]] = {}
        for offer, name, value, number in told.shown:
            shown.setdefault((offer, name), {})[value] = number
        found += judged(trait, told.people, shown, limit)
    return found


def _told(session: Session, campaign_id: int, trait: str) -> _Told:
    given = {"campaign": campaign_id, "test": TEST_BIT, "trait": trait, "most": MAX_GROUPS}
    people = {row.value: row.people for row in session.execute(text(_PEOPLE), given)}
    return _Told(people, [(row.offer, row.name, row.value, row.people) for row in session.execute(text(_SHOWN), given)])


def judged(
    trait: str, people: Mapping[str, int], shown: Mapping[tuple[int, str], Mapping[str, int]], limit: float
) -> list[Group]:
    """The groups of a trait. people: by value. shown: offer and its name -> by value, how many were shown it."""
    total = sum(people.values())
    enough = [value for value, number in people.items() if min(number, total - number) >= MIN_PEOPLE]
    comparisons = max(1, len(enough) * len(shown))
    return [
        Group(
            trait,
            value,
            tuple(
                _rate(offer, by_value, value, people, limit, ALPHA / comparisons)
                for offer, by_value in sorted(shown.items())
                if value in enough
            ),
        )
        for value in sorted(people)
    ]


def _rate(
    offer: tuple[int, str],
    shown: Mapping[str, int],
    value: str,
    people: Mapping[str, int],
    limit: float,
    alpha: float,
) -> Rate:
    ours, count = shown.get(value, 0), people[value]
    theirs, others = sum(shown.values()) - ours, sum(people.values()) - count
    middle = log((ours + 0.5) / (count + 0.5)) - log((theirs + 0.5) / (others + 0.5))
    error = sqrt(1 / (ours + 0.5) - 1 / (count + 0.5) + 1 / (theirs + 0.5) - 1 / (others + 0.5))
    width = NormalDist().inv_cdf(1 - alpha / 2) * error
    low, high = exp(middle - width), exp(middle + width)
    verdict: Verdict = "open"
    if low >= limit and high <= 1 / limit:
        verdict = "within"
    elif high < limit or low > 1 / limit:
        verdict = "outside"
    return Rate(*offer, ours, count, theirs, others, low, high, verdict)


# People are counted as who they are now: a merged profile's opens are its root's.
_DECIDED: Final = """
    WITH decided AS (
        SELECT DISTINCT p.root_id, d.slots FROM decision d JOIN profile p ON p.id = d.profile_id
        WHERE d.campaign_id = :campaign AND d.occurrence < :test AND d.lane = 'live' AND d.rung <> 'default'
    ), told AS (
        SELECT p.root_id, s.document #>> ARRAY['traits', CAST(:trait AS text)] AS value
        FROM (SELECT DISTINCT root_id FROM decided) p JOIN profile_state s ON s.profile_id = p.root_id
    ), large AS (
        SELECT value, count(*) AS people FROM told WHERE value IS NOT NULL
        GROUP BY value ORDER BY 2 DESC, 1 LIMIT :most
    )
    {query}
"""
_PEOPLE: Final = _DECIDED.replace("{query}", "SELECT value, people FROM large ORDER BY value")
_SHOWN: Final = _DECIDED.replace(
    "{query}",
    """
    SELECT o.id AS offer, o.name, t.value, count(DISTINCT t.root_id) AS people
    FROM decided d
    JOIN told t ON t.root_id = d.root_id JOIN large l ON l.value = t.value
    CROSS JOIN LATERAL jsonb_each_text(d.slots) AS slot (number, offer)
    JOIN offer o ON o.id = slot.offer::int AND o.kind <> 'neutral'
    GROUP BY o.id, o.name, t.value
    """,
)
