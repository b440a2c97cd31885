"""Who a customer is: their merges with the evidence, undone and made; identifiers that merge nobody."""

from __future__ import annotations

import msgspec

from campaigns import access_log, customers, merges
from campaigns.access import allow
from campaigns.api.desk import LongId, api, served
from campaigns.parts import parts
from campaigns.views.acting import actor
from signals import likely
from signals.identity import TieRefusal
from signals.intake import Intake


class MergeOut(msgspec.Struct, frozen=True):
    """A merge: the profiles it ties and the identifier both had, masked; empty where a person merged by hand.

    `alike`: the facts that agreed where likeness merged, or by which a person did. `apart`: a person undid it, and
    only a person joins the two again.
    """

    id: int
    at: str
    profiles: list[int]
    how: str
    evidence: str
    masked: str
    undone_at: str | None
    apart: bool
    alike: list[str]


class RefusedOut(msgspec.Struct, frozen=True):
    """An identifier, masked, that merged nobody, for a reason, so many times; `profile` is whose it is in look-ups."""

    type: str
    masked: str
    profile: int | None
    reason: TieRefusal
    times: int
    first_at: str
    last_at: str
    source: str


class SuggestedOut(msgspec.Struct, frozen=True):
    """Another customer who may be the same one: with a user id of their own they state the same facts, or (`odds` to
    one) they are alike in these. Only a person merges the two."""

    customer: int
    evidence: list[str]
    odds: int | None


class MergesOut(msgspec.Struct, frozen=True):
    """The merges of a customer, those that hold first; the profiles that are one now; who may be the same; what was
    refused."""

    profile: int
    members: list[int]
    merges: list[MergeOut]
    suggested: list[SuggestedOut]
    refused: list[RefusedOut]


class RefusedTies(msgspec.Struct, frozen=True):
    """At most 100, the newest first."""

    refused: list[RefusedOut]


class LikelyOut(msgspec.Struct, frozen=True):
    """Two customers who are probably one: the facts that agree, and the odds for it, to one, if they were weighed."""

    customers: list[int]
    facts: list[str]
    odds: int | None
    found_at: str


class LikelyMatches(msgspec.Struct, frozen=True):
    """At most 100, the likeliest first. `looked_at`: when the newest run ended; `fault`: why it found nothing.

    `numbered`: at most 100 who state one name and address, e-mail or phone under customer numbers of their own.
    """

    likely: list[LikelyOut]
    numbered: list[LikelyOut]
    looked_at: str | None
    pending: bool
    fault: str | None


class MatchRunAsked(msgspec.Struct, frozen=True):
    """The number of the run that will look."""

    id: int


class MergeIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`other`: the number of another customer's profile, as a search tells it; no customer number of a shop."""

    other: LongId


class MergeMade(msgspec.Struct, frozen=True):
    """The number of the merge, by which it can be undone."""

    id: int


class Separated(msgspec.Struct, frozen=True):
    """The two customers that there are again, each the profile that speaks for one."""

    customers: list[int]


@api.get("/customers/<long:profile>/merges")
@allow("support")
@served(200, MergesOut, "customers", 404)
def get_merges(profile: int) -> MergesOut:
    """The merges of one customer, with their evidence."""
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        members = customers.members(session, root.id)
        access_log.record(session, actor(), "merges", parts().now(), profile_id=root.id)
        return MergesOut(
            root.id,
            members,
            [
                MergeOut(
                    one.id, one.at.isoformat(), list(one.ends), one.how, one.evidence, one.value,
                    one.undone_at.isoformat() if one.undone_at else None, one.apart, list(one.alike),
                )
                for one in merges.of(session, members)
            ],
            [SuggestedOut(one.customer, one.evidence, one.odds) for one in merges.suggested(session, members)],
            [_refused(one) for one in merges.refused(session, members)],
        )  # fmt: skip


@api.post("/customers/<long:profile>/merges")
@allow("admin")
@served(201, MergeMade, "customers", 404)
def merge_customers(profile: int, json: MergeIn) -> tuple[MergeMade, int]:
    """Merge two customers, in effect for the next open."""
    return MergeMade(merges.join(_intake(), profile, json.other, parts().now(), actor())), 201


@api.delete("/customers/<long:profile>/merges/<long:merge>")
@allow("admin")
@served(200, Separated, "customers", 404, 409)
def undo_merge(profile: int, merge: int) -> Separated:
    """Undo a merge: each of the two has their own history again, in effect for the next open."""
    return Separated(list(merges.undo(_intake(), profile, merge, parts().now(), actor())))


@api.get("/customers/ties")
@allow("support")
@served(200, RefusedTies, "customers")
def list_refused_ties() -> RefusedTies:
    """The identifiers that are many people's and merge nobody."""
    with parts().transaction() as session:
        found = merges.refused(session)
        access_log.record(session, actor(), "refused merges", parts().now())
    return RefusedTies([_refused(one) for one in found])


@api.get("/customers/likely")
@allow("support")
@served(200, LikelyMatches, "customers")
def list_likely_matches() -> LikelyMatches:
    """Customers who are probably one although no identifier says so, for a person to decide on."""
    with parts().transaction() as session:
        found, numbered = merges.waiting(session), merges.numbered(session)
        run, is_pending = likely.latest(session)
        access_log.record_all(session, actor(), "likely matches", parts().now(), merges.shown([*found, *numbered]))
        return LikelyMatches(
            [_likely(one) for one in found],
            [_likely(one) for one in numbered],
            run.ended_at.isoformat() if run is not None and run.ended_at is not None else None,
            is_pending,
            run.fault if run is not None else None,
        )


@api.post("/customers/likely/runs")
@allow("admin")
@served(201, MatchRunAsked, "customers")
def look_for_likely_matches() -> tuple[MatchRunAsked, int]:
    """Ask for everybody to be looked at; what is as good as certain is merged, the rest is listed."""
    with parts().transaction() as session:
        return MatchRunAsked(merges.ask(session, parts().now(), actor())), 201


@api.post("/customers/<long:profile>/apart")
@allow("admin")
@served(200, Separated, "customers", 404)
def keep_customers_apart(profile: int, json: MergeIn) -> Separated:
    """Say that two customers are two people: from then on only a person merges them."""
    merges.part(_intake(), profile, json.other, parts().now(), actor())
    return Separated([profile, json.other])


def _likely(one: merges.Likely) -> LikelyOut:
    return LikelyOut([one.one, one.other], list(one.facts), one.odds, one.found_at.isoformat())


def _refused(one: merges.Refused) -> RefusedOut:
    return RefusedOut(
        one.kind, one.value, one.profile, one.reason, one.times, one.first_at.isoformat(), one.last_at.isoformat(),
        one.source,
    )  # fmt: skip


def _intake() -> Intake:
    return Intake(parts().sessions, parts().store, parts().settings.hash_key)
