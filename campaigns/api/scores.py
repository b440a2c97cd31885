"""What is computed about people: scores, segments by score, the profit guard and the loss it avoided."""

from __future__ import annotations

import msgspec

from campaigns import campaigns, scores, segments, worth
from campaigns.access import allow
from campaigns.api.catalogue import SegmentOut, segment_out
from campaigns.api.desk import Done, api, served
from campaigns.guardreport import guard_report
from campaigns.parts import parts
from campaigns.views.acting import actor
from campaigns.worth import WorthTerms


class BinOut(msgspec.Struct, frozen=True):
    """People whose value is at least `at_least` and below `below` (the last: or equal to it)."""

    at_least: float
    below: float
    people: int


class ScoreOut(msgspec.Struct, frozen=True):
    """One score: its unit (chance 0-1, cents, days), as of when, how it is spread, and its held-out measures."""

    name: str
    says: str
    unit: str
    as_of: str
    people: int
    mean: float
    spread: list[BinOut]
    measures: dict[str, float]


class ScoresOut(msgspec.Struct, frozen=True):
    """What is computed now. `as_of` null: nothing yet. `model` null: only flags, `why_no_model` says why."""

    as_of: str | None
    people: int
    pending: bool
    model: str | None
    why_no_model: str | None
    scores: list[ScoreOut]
    flagged: dict[str, int]


class BandIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A segment of a band: `at_least` belongs to it, `below` does not; one of them may be left out."""

    name: str
    score: str
    at_least: float | None = None
    below: float | None = None


class AvoidedOut(msgspec.Struct, frozen=True):
    """One flag in a campaign: people left out of the audience, people offered nothing more, cents lost and avoided."""

    flag: str
    left_out: int
    withheld: int
    lost_cents: int
    avoided_cents: int


class GuardOut(msgspec.Struct, frozen=True):
    """What the guard kept a campaign from losing within `days`, by what was assumed of costs."""

    days: int
    avoided_cents: int
    terms: WorthTerms
    flags: list[AvoidedOut]


@api.get("/scores")
@allow("manager")
@served(200, ScoresOut, "scores")
def get_scores() -> ScoresOut:
    """What is computed about people: as of when, how good it is, how it is spread."""
    with parts().transaction() as session:
        seen = scores.overview(session)
        measures = seen.model.measures if seen.model is not None else {}
        return ScoresOut(
            as_of=seen.ended.as_of.isoformat() if seen.ended is not None and seen.ended.as_of is not None else None,
            people=seen.ended.people if seen.ended is not None else 0,
            pending=seen.pending is not None,
            model=seen.ended.model_hash if seen.ended is not None else None,
            why_no_model=seen.ended.why_no_model if seen.ended is not None else None,
            scores=[
                ScoreOut(
                    name=one.score.name,
                    says=one.score.says,
                    unit=one.score.unit,
                    as_of=one.as_of.isoformat(),
                    people=one.people,
                    mean=one.mean,
                    spread=[BinOut(*found) for found in one.bins],
                    measures=measures.get(one.score.name, {}),
                )
                for one in seen.spreads
            ],
            flagged=dict(seen.flagged),
        )


@api.post("/scores/runs")
@allow("manager")
@served(201, Done, "scores")
def ask_for_scores() -> tuple[Done, int]:
    """Have everybody's scores computed soon."""
    with parts().transaction() as session:
        scores.ask(session, parts().now(), actor())
    return Done(state="asked"), 201


@api.post("/scores/bands")
@allow("manager")
@served(201, SegmentOut, "scores", 409)
def create_band(json: BandIn) -> tuple[SegmentOut, int]:
    """Make a segment of a band of a score."""
    with parts().transaction() as session:
        now = parts().now()
        row = scores.create_band(session, json.name, json.score, json.at_least, json.below, now, actor())
        segments.count(session, row.id, now)
        return segment_out(session, row), 201


@api.get("/scores/guard")
@allow("manager")
@served(200, WorthTerms, "scores")
def get_guard_terms() -> WorthTerms:
    """What the profit guard assumes of costs."""
    with parts().transaction() as session:
        return worth.terms(session)


@api.put("/scores/guard")
@allow("manager")
@served(200, WorthTerms, "scores")
def set_guard_terms(json: WorthTerms) -> WorthTerms:
    """Assume something else from the next computation on."""
    with parts().transaction() as session:
        worth.set_terms(session, json, parts().now(), actor())
    return json


@api.get("/campaigns/<int:campaign_id>/guard")
@allow("manager")
@served(200, GuardOut, "scores", 404)
def get_guard_report(campaign_id: int) -> GuardOut:
    """What the profit guard kept a campaign from losing."""
    with parts().transaction() as session:
        found = guard_report(session, campaigns.campaign(session, campaign_id).id)
    flags = [AvoidedOut(line.flag, line.left_out, line.withheld, line.lost, line.avoided) for line in found.lines]
    return GuardOut(found.days, found.avoided, found.terms, flags)
