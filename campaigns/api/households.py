"""With whom a customer lives: the facts that rules read, who and why, and joining and leaving by hand."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from campaigns import access_log, customers, households
from campaigns.access import allow
from campaigns.api.desk import Done, LongId, api, served
from campaigns.parts import parts
from campaigns.views.acting import actor
from signals.cohabiting import WHY_LENGTH
from signals.household import Role

Why = Annotated[str, msgspec.Meta(min_length=1, max_length=WHY_LENGTH)]


class CohabitantOut(msgspec.Struct, frozen=True):
    """One who lives there, or with `away` a grown-up child elsewhere: role and birth year with what they rest on.

    `evidence` says why they count among these, since when, told by which source.
    """

    customer: int
    away: bool
    role: Role
    role_from: str
    born: int | None
    born_from: str
    evidence: str
    since: str | None
    source: str
    confidence: float


class OtherOut(msgspec.Struct, frozen=True):
    """Somebody without a profile, as stated; `born` is a year, null when it is not known."""

    role: Role
    born: int | None


class ClaimOut(msgspec.Struct, frozen=True):
    """One thing that was said of where the customer lives. `gone`: that they left; `ended_at`: a person ended it."""

    kind: str
    role: Role | None
    gone: bool
    since: str
    said_at: str
    source: str
    why: str
    ended_at: str | None
    ended_by: str
    ended_why: str


class HouseholdOut(msgspec.Struct, frozen=True):
    """With whom a customer lives. `facts` are what rules read, by name; empty without a household.

    `crowd` is how many state the same home address, where that are too many for one household, else 0. `parents` are
    the customers of whom this one is a grown-up child.
    """

    profile: int
    facts: dict[str, Any]
    members: list[CohabitantOut]
    others: list[OtherOut]
    claims: list[ClaimOut]
    crowd: int
    parents: list[int]


class JoinIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With whom the customer lives, as what (null: their age tells), and how you know. `other`: the number of that
    customer's profile, as a search tells it; no customer number of a shop."""

    other: LongId
    why: Why
    role: Role | None = None


class LeaveIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How you know that the customer lives there no longer; `elsewhere`: that they are nobody's grown-up child."""

    why: Why
    elsewhere: bool = False


@api.get("/customers/<long:profile>/household")
@allow("support")
@served(200, HouseholdOut, "customers", 404)
def get_household(profile: int) -> HouseholdOut:
    """With whom one customer lives, and where each fact comes from."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile).id
        found = households.living(session, root, parts().now())
        access_log.record_all(session, actor(), "household", parts().now(), households.shown(root, found))
    return HouseholdOut(
        root,
        found.facts,
        [
            CohabitantOut(
                one.profile, one.away, one.role, one.role_from, one.born, one.born_from, one.evidence,
                one.since.isoformat() if one.since else None, one.source, one.confidence,
            )
            for one in found.members
        ],
        [OtherOut(one.role, one.born or None) for one in found.others],
        [
            ClaimOut(
                one.kind, one.role, one.gone, one.since.isoformat(), one.said_at.isoformat(), one.source, one.why,
                one.ended_at.isoformat() if one.ended_at else None, one.ended_by, one.ended_why,
            )
            for one in found.claims
        ],
        found.crowd,
        list(found.parents),
    )  # fmt: skip


@api.post("/customers/<long:profile>/household")
@allow("support")
@served(200, Done, "customers", 404)
def join_household(profile: int, json: JoinIn) -> Done:
    """Have a customer live with another one, in effect for the next open of everybody there."""
    households.join(parts().intake, profile, json.other, json.role or "", json.why, parts().now(), actor())
    return Done(state="joined")


@api.post("/customers/<long:profile>/household/leave")
@allow("support")
@served(200, Done, "customers", 404)
def leave_household(profile: int, json: LeaveIn) -> Done:
    """Have a customer be of their household no longer, in effect for the next open of everybody there."""
    households.leave(parts().intake, profile, json.why, parts().now(), actor(), elsewhere=json.elsewhere)
    return Done(state="left")
