"""The states of a campaign: draft → scheduled → sending ⇄ paused → finished, and cancelled from any but the last.

Every move is one conditional UPDATE: of two people who press at once, one wins and the other is told the state it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from base.clock import check_year
from base.errors import Conflict, InvalidInput, Unavailable
from base.ids import TEST_BIT
from campaigns import accounting, admin_log, approvals, joining, publish, runs, wallclock, windows
from campaigns.admin_log import SYSTEM, Actor
from campaigns.campaigns import campaign
from campaigns.channels import EMAIL, check_address
from campaigns.mail import is_sendable
from campaigns.models.campaign import Campaign, Occurrence
from campaigns.models.delivery import Delivery
from campaigns.wallclock import WallTime

MAX_TESTS: Final = 20
"""Mails of one test send."""


def schedule(
    session: Session,
    campaign_id: int,
    due_at: datetime,
    now: datetime,
    by: Actor,
    *,
    timezone: str | None = None,
    is_sending: bool,
) -> None:
    """Send at this time (or move the time, while scheduled): a wall time of `timezone`, the campaign's unless given.

    A time with an offset of its own is an instant, and what the zone's clocks show then is kept with it. Raises
    Conflict when the campaign is not ready: not published, changed since, or past being scheduled; with `is_sending`,
    as mails go to people, also when its sender is made up.
    """
    row = campaign(session, campaign_id)
    time = meant(row, due_at, wallclock.zone(row.timezone if timezone is None else timezone, "timezone"))
    wanting = publish.missing(session, row, is_sending=is_sending)
    if wanting:
        raise Conflict(wanting[0])
    approvals.check_send(session, row, time.at)
    changes = {"due_at": time.at, "due_wall": time.wall, "due_zone": time.zone, "timezone": time.zone}
    _move(session, campaign_id, ("draft", "scheduled"), "scheduled", "schedule", now, by, changes)
    runs.place(session, row, time, _next_number(session, campaign_id), now)
    windows.forget(session, campaign_id)
    joining.take_snapshot(session, row, now)


def meant(row: Campaign, due_at: datetime, zone: str) -> WallTime:
    """What is meant by a time: what is saved again as it was stays the same instant, whatever became of the zone."""
    check_year(due_at, "due_at")
    if due_at.tzinfo is not None:
        return wallclock.of_instant(due_at, zone)
    wall, at = row.due_wall, row.due_at
    if wall is not None and at is not None and (due_at, zone) == (wall.replace(microsecond=0), row.due_zone):
        return wallclock.told(wall, zone, at)
    return wallclock.read(due_at, zone)


def unschedule(session: Session, campaign_id: int, now: datetime, by: Actor) -> None:
    """Back to a draft, as long as nothing was sent. Raises Conflict."""
    changes = {"due_at": None, "due_wall": None, "due_zone": None}
    _move(session, campaign_id, ("scheduled",), "draft", "unschedule", now, by, changes)
    joining.forget_snapshot(session, campaign_id)
    for occurrence in _due(session, campaign_id):
        session.delete(occurrence)
    session.flush()


def begin(session: Session, campaign_id: int, now: datetime) -> bool:
    """Scheduled → sending, by the schedule loop once a run is frozen; False when it was sending already.

    Raises Unavailable while somebody changes the campaign: they may wait for the run, which the loop holds, so the loop
    must not wait for them.
    """
    row = campaign(session, campaign_id)
    if row.state == "sending":
        return False
    free = select(Campaign.id).where(Campaign.id == campaign_id).with_for_update(key_share=True, skip_locked=True)
    if session.scalar(free) is None:
        raise Unavailable(f"campaign {campaign_id}")
    _move(session, campaign_id, ("scheduled",), "sending", "begin", now, SYSTEM)
    return True


def pause(session: Session, campaign_id: int, now: datetime, by: Actor, *, trouble: str | None = None) -> None:
    """Send nothing more until `resume`; at most the few mails that are being handed over still go. Raises Conflict.

    `trouble` is what a person must mend first, where it was no person who paused.
    """
    changes = {"trouble": trouble, "trouble_since": now} if trouble else {}
    _move(session, campaign_id, ("scheduled", "sending"), "paused", "pause", now, by, changes)


def resume(session: Session, campaign_id: int, now: datetime, by: Actor) -> None:
    """Go on where it was paused; a run whose time has come meanwhile begins, however late. Raises Conflict."""
    frozen = select(func.count()).select_from(Occurrence)
    frozen = frozen.where(
        Occurrence.campaign_id == campaign_id,
        Occurrence.number < TEST_BIT,
        Occurrence.state.in_(("sending", "finished")),
    )
    state = "sending" if session.scalar(frozen) else "scheduled"
    _move(session, campaign_id, ("paused",), state, "resume", now, by, {"trouble": None, "trouble_since": None})
    runs.decided(session, campaign_id, now)


def leave_out(session: Session, campaign_id: int, now: datetime, by: Actor) -> None:
    """Go on without the run that came too late, which nobody is mailed by. Raises Conflict when none waits for that."""
    late = [run for run in _due(session, campaign_id) if run.missed == runs.ASKED]
    if not late:
        raise Conflict("No run of the campaign waits for being left out.")
    changes = {"trouble": None, "trouble_since": None}
    _move(session, campaign_id, ("paused",), "sending", "leave out a run", now, by, changes)
    for run in late:
        runs.leave_out(session, campaign(session, campaign_id), run, now)
    session.flush()


def cancel(session: Session, campaign_id: int, now: datetime, by: Actor) -> int:
    """End it for good; returns how many mails are thereby not sent. What was sent opens as before. Raises Conflict.

    Nothing is claimed of it from the commit on; its rows that wait, and its runs, are skipped by the schedule loop.
    """
    states = ("draft", "scheduled", "sending", "paused")
    _move(session, campaign_id, states, "cancelled", "cancel", now, by)
    joining.forget_snapshot(session, campaign_id)
    account = accounting.account(session, campaign_id)
    return account["queued"] + account["deferred"]


def finish(session: Session, campaign_id: int, now: datetime) -> bool:
    """Sending → finished, by the schedule loop when every row is settled and no run is to come."""
    open_runs = select(func.count()).select_from(Occurrence)
    open_runs = open_runs.where(
        Occurrence.campaign_id == campaign_id, Occurrence.number < TEST_BIT, Occurrence.state.in_(("due", "sending"))
    )
    if session.scalar(open_runs):
        return False
    # Counted once more under the lock: whoever reopens a run waits for it, or is seen.
    session.execute(select(Campaign.id).where(Campaign.id == campaign_id).with_for_update(key_share=True))
    if session.scalar(open_runs):
        return False
    won = _try(session, campaign_id, ("sending",), "finished", now, {})
    if won:
        admin_log.record(session, SYSTEM, "finish", "campaign", campaign_id, now)
    return won


def send_test(
    session: Session, campaign_id: int, profile_ids: Sequence[int], address: str, now: datetime, by: Actor
) -> int:
    """Send the published mail to `address` as each of these people would get it; returns the run's number.

    Where a gateway gets it, the address is a number or a user id.

    Test runs carry TEST_BIT: their opens are tagged, use no cap, teach no model and appear in no report.
    """
    row = campaign(session, campaign_id)
    if row.plan_hash is None:
        raise Conflict("The campaign has not been published.")
    if row.channel != EMAIL:
        check_address(row.channel, address)
    elif not is_sendable(address):
        raise InvalidInput("address", "must be an e-mail address that mail can be handed over to")
    if not 0 < len(set(profile_ids)) <= MAX_TESTS:
        raise InvalidInput("profile_ids", f"must be 1 to {MAX_TESTS} people")
    number = _next_number(session, campaign_id, test=True)
    session.add(
        Occurrence(
            campaign_id=campaign_id, number=number, state="sending", due_at=now, frozen_at=now, plan_hash=row.plan_hash
        )
    )
    session.flush()
    for profile_id in sorted(set(profile_ids)):
        session.add(
            Delivery(
                campaign_id=campaign_id, occurrence=number, profile_id=profile_id, channel=row.channel, state="queued",
                holdout="none", test_address=address, plan_hash=row.plan_hash, created_at=now,
            )
        )  # fmt: skip
    session.flush()
    admin_log.record(session, by, "test send", "campaign", campaign_id, now, after={"people": len(set(profile_ids))})
    return number


def _due(session: Session, campaign_id: int) -> list[Occurrence]:
    query = select(Occurrence).where(Occurrence.campaign_id == campaign_id, Occurrence.state == "due")
    return list(session.scalars(query.with_for_update()))


def _next_number(session: Session, campaign_id: int, *, test: bool = False) -> int:
    """One more than the campaign's last run of that kind."""
    floor = TEST_BIT if test else 0
    last = session.scalar(
        select(func.max(Occurrence.number)).where(
            Occurrence.campaign_id == campaign_id, Occurrence.number >= floor, Occurrence.number < floor + TEST_BIT
        )
    )
    return (last or floor) + 1


_DONE: Final = {
    "schedule": "scheduled", "unschedule": "made a draft again", "begin": "begun", "pause": "paused",
    "resume": "resumed", "leave out a run": "sent without its late run", "cancel": "cancelled",
}  # fmt: skip
"""What a move does to a campaign, as a refusal says it."""


def _move(
    session: Session,
    campaign_id: int,
    states: tuple[str, ...],
    state: str,
    action: str,
    now: datetime,
    by: Actor,
    changes: dict[str, Any] | None = None,
) -> None:
    row = campaign(session, campaign_id)
    before = admin_log.snapshot(row)
    if not _try(session, campaign_id, states, state, now, changes or {}):
        session.refresh(row)
        raise Conflict(
            f"The campaign is {row.state}; it can be {_DONE[action]} only while it is {' or '.join(states)}."
        )
    session.refresh(row)
    admin_log.record(session, by, action, "campaign", campaign_id, now, before=before, after=admin_log.snapshot(row))


def _try(
    session: Session, campaign_id: int, states: tuple[str, ...], state: str, now: datetime, changes: dict[str, Any]
) -> bool:
    """The one place where a campaign's state changes."""
    moved = session.execute(
        update(Campaign)
        .where(Campaign.id == campaign_id, Campaign.state.in_(states))
        .values(state=state, **changes)
        .returning(Campaign.id)
    )
    return moved.first() is not None
