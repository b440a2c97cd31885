"""Whether a campaign's offers reach protected groups as they reach the others."""

from __future__ import annotations

from typing import Annotated

import msgspec

from campaigns import campaigns, fairness
from campaigns.access import allow
from campaigns.api.desk import api, served
from campaigns.parts import parts


class FairnessQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which traits' groups are compared, by commas, and the least ratio of their rates to the others'."""

    traits: Annotated[str, msgspec.Meta(max_length=1000)] = ",".join(fairness.TRAITS)
    limit: Annotated[float, msgspec.Meta(ge=0.5, le=0.99)] = fairness.LIMIT

    @property
    def names(self) -> tuple[str, ...]:
        """The traits, each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.traits.split(",") if name.strip()))


class RateOut(msgspec.Struct, frozen=True):
    """One offer in one group. Shares are of people whose opens were decided; low and high bound the ratio.

    verdict: within the limit, outside, or open where there is not enough data.
    """

    offer: int
    name: str
    people: int
    share: float
    others: int
    others_share: float
    ratio: float | None
    low: float
    high: float
    verdict: str


class GroupOut(msgspec.Struct, frozen=True):
    """A protected group; without rates it has too few people to tell of."""

    trait: str
    value: str
    rates: list[RateOut]


class FairnessOut(msgspec.Struct, frozen=True):
    """Every protected group. A ratio must lie between `limit` and its inverse; is_fair says that none is outside."""

    limit: float
    is_fair: bool
    groups: list[GroupOut]


@api.get("/campaigns/<int:campaign_id>/fairness")
@allow("manager")
@served(200, FairnessOut, "campaigns", 404)
def get_fairness(campaign_id: int, query: FairnessQuery) -> FairnessOut:
    """How often people of protected groups were shown each offer."""
    with parts().transaction() as session:
        campaigns.campaign(session, campaign_id)
        found = fairness.groups(session, campaign_id, query.names, query.limit)
    groups = [GroupOut(one.trait, one.value, [_rate_out(rate) for rate in one.rates]) for one in found]
    return FairnessOut(query.limit, not any(one.outside for one in found), groups)


def _rate_out(rate: fairness.Rate) -> RateOut:
    return RateOut(
        rate.offer, rate.name, rate.people, rate.share, rate.others, rate.others_share, rate.ratio, rate.low, rate.high,
        rate.verdict,
    )  # fmt: skip
