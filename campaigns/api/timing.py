"""When campaigns go out: the wall time with its instant, the runs, and the waves of recipients' clocks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from base.errors import InvalidInput
from campaigns import campaigns, runs, transitions, wallclock, waves, windows
from campaigns.access import allow
from campaigns.api.desk import Done, api, served
from campaigns.parts import parts
from campaigns.views.acting import actor

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
UPCOMING = 20


class ScheduleIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When to send: an instant with its offset, or a wall time such as 2026-03-29T02:30 of the zone; one of them.

    The zone is the campaign's unless given. A wall time that the zone's clocks skip is moved on as they are; of one
    that they show twice the first is meant.
    """

    due_at: Moment | None = None
    timezone: str | None = None
    wall: str | None = None


class Time(msgspec.Struct, frozen=True):
    """A wall time of a zone, its instant (UTC), and what the clocks show then.

    `coming` is once, never (moved on as the clocks are), twice (the first is meant) or second.
    """

    wall: str
    timezone: str
    due_at: str
    shown: str
    coming: Literal["once", "never", "twice", "second"]


class Run(msgspec.Struct, frozen=True):
    """One run. `missed` is asked (it is late and a person decides, or has) or skipped; `counts` are of its audience."""

    number: int
    state: str
    due_at: str
    wall: str | None
    missed: str | None
    counts: dict[str, int] | None


class Schedule(msgspec.Struct, frozen=True):
    """When a campaign goes out, its next times by the calendar, its newest runs, and when its hours begin again."""

    time: Time | None
    upcoming: list[Time]
    runs: list[Run]
    closed_until: str | None


class WaveOut(msgspec.Struct, frozen=True):
    """The mails that leave within an hour; `unknown` of them go by the campaign's zone, theirs not being known."""

    at: str
    zones: list[str]
    mails: int
    waiting: int
    unknown: int


class Waves(msgspec.Struct, frozen=True):
    """The waves of a campaign's newest run that goes by recipients' clocks."""

    waves: list[WaveOut]


def _time(meant: wallclock.WallTime) -> Time:
    return Time(meant.wall.isoformat(), meant.zone, meant.at.isoformat(), meant.shown.isoformat(), meant.coming)


@api.post("/campaigns/<int:campaign_id>/schedule")
@allow("manager")
@served(200, Done, "campaigns", 404, 409)
def schedule_campaign(campaign_id: int, json: ScheduleIn) -> Done:
    """Send at this time."""
    due_at = json.due_at if json.wall is None else wallclock.parse(json.wall, "wall")
    if due_at is None or (json.due_at is not None and json.wall is not None):
        raise InvalidInput("due_at", "or wall must be given, and not both")
    with parts().transaction() as session:
        transitions.schedule(
            session,
            campaign_id,
            due_at,
            parts().now(),
            actor(),
            timezone=json.timezone,
            is_sending=parts().settings.is_sending,
        )
        return Done(state=campaigns.campaign(session, campaign_id).state)


@api.get("/campaigns/<int:campaign_id>/schedule")
@allow("manager")
@served(200, Schedule, "campaigns", 404)
def get_schedule(campaign_id: int) -> Schedule:
    """When a campaign goes out."""
    with parts().transaction() as session:
        row, now = campaigns.campaign(session, campaign_id), parts().now()
        meant, closed = runs.scheduled(row), windows.closed_until(row, now)
        return Schedule(
            _time(meant) if meant is not None else None,
            [_time(one) for one in runs.upcoming(row, now, UPCOMING)],
            [
                Run(
                    run.number, run.state, run.due_at.isoformat(), run.wall.isoformat() if run.wall else None,
                    run.missed, run.counts,
                )
                for run in runs.listing(session, row.id)
            ],
            closed.isoformat() if closed is not None else None,
        )  # fmt: skip


@api.get("/campaigns/<int:campaign_id>/waves")
@allow("manager")
@served(200, Waves, "campaigns", 404)
def list_waves(campaign_id: int) -> Waves:
    """The waves of the newest run."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        return Waves(
            [
                WaveOut(one.at.isoformat(), list(one.zones), one.mails, one.waiting, one.unknown)
                for one in waves.listing(session, row.id)
            ]
        )


@api.post("/campaigns/<int:campaign_id>/leave-out")
@allow("manager")
@served(200, Done, "campaigns", 404, 409)
def leave_out_run(campaign_id: int) -> Done:
    """Go on without the run that came too late."""
    with parts().transaction() as session:
        transitions.leave_out(session, campaign_id, parts().now(), actor())
        return Done(state=campaigns.campaign(session, campaign_id).state)
