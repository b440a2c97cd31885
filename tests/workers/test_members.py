"""Segments at opens: a signal brings a person in or out by itself, and writing a new one keeps nobody else waiting."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg.errors import DiskFull
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from base import keys
from campaigns import atopens, population, segments
from campaigns.models import Campaign
from signals import membership
from signals.intake import Intake
from signals.livesegments import LiveSegments
from signals.state import decode
from tests.campaigns.shop import MANAGER, Shop
from workers import schedule
from workers.checkup import examine
from workers.members import Members
from workers.schedule import Scheduler

ULM = {"field": "trait", "name": "city", "op": "=", "value": "Ulm"}
BOUGHT = {"event": "Order Completed", "category": "shoes", "from": {"days_ago": 30}, "min_count": 1}


def segment(shop: Shop, name: str, rule: dict[str, Any]) -> int:
    with shop.sessions.begin() as session:
        return segments.create_segment(session, name, rule, shop.now, MANAGER).id


def members(shop: Shop, number: int) -> set[int]:
    """Whose states say that they are in the segment, by what opens read and by what rules read."""
    stored = "SELECT profile_id FROM profile_state WHERE document -> 'segments' @> to_jsonb(CAST(:number AS int))"
    with shop.sessions.begin() as session:
        told = set(session.scalars(text(stored), {"number": number}))
    states = {root: shop.store.get(keys.state(root)) for root in set(shop.known().values())}
    read = {root for root, data in states.items() if isinstance(data, bytes) and number in decode(data).segments}
    assert read == told
    return told


def moved(name: str, city: str) -> dict[str, Any]:
    return {"type": "identify", "userId": name, "traits": {"city": city}}


def later(shop: Shop) -> None:
    """What this process holds of the segments is read anew, as it is after two seconds."""
    shop.intake.segments = LiveSegments()


def test_it_follows_each_signal_into_the_segments_that_opens_ask_for(shop: Shop, scheduler: Scheduler) -> None:
    ann, ben = shop.people("ann", "ben", city="Bonn")
    inner = segment(shop, "In Ulm", ULM)
    outer = segment(shop, "Not in Ulm", {"not": {"segment": inner}})
    shop.offer(relevant={"segment": inner})
    named = shop.offer(beneficial={"any": [{"segment": outer}, {"always": False}]})
    scheduler.tick()
    assert (members(shop, inner), members(shop, outer)) == (set(), {ann, ben})
    later(shop)
    shop.send(moved("ann", "Ulm"))
    assert (members(shop, inner), members(shop, outer)) == ({ann}, {ben})
    shop.send(moved("ann", "Bonn"), moved("ben", "Ulm"), {"type": "identify", "userId": "new", "traits": {}})
    new = shop.profile("new")
    assert (members(shop, inner), members(shop, outer)) == ({ben}, {ann, new})
    # A changed rule is followed from then on, and what no open asks for any more is left as it is.
    with shop.sessions.begin() as session:
        segments.update_segment(session, inner, "In Ulm", ULM | {"value": "Kiel"}, shop.now, MANAGER)
        session.execute(text("UPDATE offer SET archived_at = now() WHERE id = :id"), {"id": named})
    scheduler.tick()
    later(shop)
    shop.send(moved("ann", "Kiel"))
    assert (members(shop, inner), members(shop, outer)) == ({ann, ben}, {ann, new}), "everybody is gone through later"
    with shop.sessions.begin() as session:
        wanted = atopens.named(session)
    assert sum(atopens.going_through(shop.intake, wanted, shop.clock.now)) == 1
    assert members(shop, inner) == {ann}


def test_it_leaves_what_a_state_cannot_answer_to_the_pass(shop: Shop, scheduler: Scheduler) -> None:
    shop.intake.categories.learn(["shoes"], create=True)
    ann, _ = shop.people("ann", "ben")
    bought = segment(shop, "Bought", BOUGHT)
    shop.offer(relevant={"segment": bought})
    scheduler.tick()
    later(shop)
    shop.send(shop.order("ann", "shoes", shop.now - timedelta(days=1)))
    assert members(shop, bought) == set()
    assert sum(atopens.going_through(shop.intake, [bought], shop.clock.now)) == 1
    assert members(shop, bought) == {ann}


def test_it_believes_signals_that_came_while_a_pass_went_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "BATCH", 1)
    names = [f"p{number}" for number in range(4)]
    people = shop.people(*names, city="Ulm")
    number = segment(shop, "In Ulm", ULM)
    with shop.sessions.begin() as session:
        atopens.follow(session, [number])
    shop.intake = Intake(shop.sessions, shop.store, shop.settings.hash_key)
    passing = atopens.going_through(shop.intake, [number], shop.clock.now)
    assert [next(passing), next(passing)] == [0, 1]
    shop.send(moved("p0", "Bonn"), moved("p3", "Bonn"))
    assert sum(passing) == 2
    assert members(shop, number) == set(people[1:3])


def test_it_goes_on_with_everything_else_while_a_new_segment_is_written(
    shop: Shop, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "BATCH", 2)
    for name in ("FIRST_SECONDS", "BESIDE_SENDS_SECONDS", "ALONE_SECONDS"):
        monkeypatch.setattr(schedule, name, 0.0)
    people = set(shop.people(*(f"p{number}" for number in range(7)), city="Ulm"))
    number = segment(shop, "In Ulm", ULM)
    plain, asking = shop.campaign(), shop.campaign(suppress={"segment": number})
    for campaign in (plain, asking):
        shop.schedule(campaign)
    rounds = 0
    while shop.state(asking) == "scheduled":
        before = members(shop, number)
        scheduler.tick()
        rounds += 1
        assert shop.state(plain) == "sending"
        assert shop.state(asking) == "scheduled" or before == people
    assert rounds > 3, "it took several rounds, and nobody waited but the campaign that asks for it"
    assert len(shop.ledger(asking)) == len(people)


def parts(number: int) -> dict[str, Any]:
    """A rule of so many parts and one more."""
    return {"any": [ULM | {"value": f"Ulm {each}"} for each in range(number)]}


def test_it_goes_past_a_segment_whose_rule_does_not_read_any_more(shop: Shop, scheduler: Scheduler) -> None:
    people = set(shop.people("ann", "ben", city="Ulm"))
    inner = segment(shop, "Inner", ULM)
    outer = segment(shop, "Outer", {"all": [{"segment": inner}, ULM]})
    sound = segment(shop, "Sound", ULM)
    plain, broken = shop.campaign(suppress={"segment": sound}), shop.campaign(suppress={"segment": outer})
    # As it could be saved before segments around it were looked at.
    large = text("UPDATE segment SET rule = CAST(:rule AS jsonb) WHERE id = :id")
    with shop.sessions.begin() as session:
        session.execute(large, {"rule": json.dumps(parts(198)), "id": inner})
    for campaign in (plain, broken):
        shop.schedule(campaign)
    scheduler.tick()
    assert members(shop, sound) == people
    assert (shop.state(plain), len(shop.ledger(plain))) == ("finished", 2), "all of them are suppressed"
    assert shop.state(broken) == "paused", "a person is told, instead of waiting for ever"
    with shop.sessions.begin() as session:
        trouble = session.get_one(Campaign, broken).trouble
    assert trouble is not None
    assert f"segment {outer}" in trouble
    with shop.sessions.begin() as session:
        assert [one.id for one in atopens.left_aside(session)] == [outer]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OverflowError("date value out of range"), "it failed: OverflowError"),
        (OperationalError("", {}, DiskFull()), "the database refused it: DiskFull"),
    ],
)
def test_it_leaves_a_segment_aside_that_fails_whatever_the_error_is(
    shop: Shop, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    people = set(shop.people("ann", "ben", city="Ulm"))
    broken, sound = segment(shop, "Broken", ULM), segment(shop, "Sound", ULM)
    asking, plain = shop.campaign(suppress={"segment": broken}), shop.campaign(suppress={"segment": sound})
    misplaced = population.misplaced

    def fails(session: Session, number: int, now: datetime) -> dict[int, bool]:
        if number == broken:
            raise error
        return misplaced(session, number, now)

    def told() -> list[tuple[int, str]]:
        with shop.sessions.begin() as session:
            return [(one.id, one.why) for one in atopens.left_aside(session)]

    def logged() -> list[str]:
        with shop.sessions.begin() as session:
            query = text("SELECT action FROM admin_log WHERE object_type = 'segment at opens' ORDER BY id")
            return list(session.scalars(query))

    def doctor() -> tuple[bool, str]:
        checks = {finding.part: finding for finding in examine(replace(shop.settings, dry_run=True))}
        return checks["segments"].well, checks["segments"].words

    monkeypatch.setattr(atopens, "misplaced", fails)
    for campaign in (asking, plain):
        shop.schedule(campaign)
    for _ in range(schedule.MEMBER_TICKS + 2):
        scheduler.tick()
    assert members(shop, sound) == people
    assert shop.state(plain) == "finished"
    assert shop.state(asking) == "paused", "nobody was told who is not to get it"
    with shop.sessions.begin() as session:
        trouble = session.get_one(Campaign, asking).trouble or ""
    assert f"segment {broken}: nobody was told yet who is in it: {words}" in trouble
    assert told() == [(broken, words)]
    assert doctor() == (
        False,
        f"The segment “Broken” is left aside, and opens go by who was in it before: {words}.",
    )
    assert logged() == ["leave aside"], "two passes went past it, and it is said once"
    monkeypatch.undo()
    for _ in range(schedule.MEMBER_TICKS):
        scheduler.tick()
    assert (told(), logged(), members(shop, broken)) == ([], ["leave aside", "take up again"], people)
    assert doctor() == (True, "all that opens ask for are kept up")


def test_it_holds_a_campaign_only_for_the_segments_it_asks_for(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "BATCH", 1)
    shop.people("ann", "ben", city="Ulm")
    first, second = segment(shop, "First", ULM), segment(shop, "Second", ULM)
    passes = Members(shop.intake, shop.clock.now)
    assert passes.want([first, second], anew=True)
    while first in passes.unready:
        assert second in passes.unready
        passes.go_on(0.0)
    assert members(shop, first) == set(shop.known().values())
    assert passes.unready == {second}


def test_it_does_not_wait_again_for_written_segments_when_it_is_started_again(shop: Shop) -> None:
    shop.people("ann", city="Ulm")
    done, changed, begun = (segment(shop, name, ULM) for name in ("Done", "Changed", "Begun"))
    named = [done, changed, begun]
    with shop.sessions.begin() as session:
        atopens.follow(session, named)
    sum(atopens.going_through(shop.intake, [done, changed], shop.clock.now))
    with shop.sessions.begin() as session:
        segments.update_segment(session, changed, "Changed", ULM | {"value": "Kiel"}, shop.now, MANAGER)
        atopens.follow(session, named)
    again = Members(shop.intake, shop.clock.now)
    assert again.want(named, anew=True)
    assert again.unready == {changed, begun}


def test_a_pass_over_midnight_leaves_whom_a_signal_brought_in_after_it(shop: Shop) -> None:
    (ann,) = shop.people("ann")
    shop.clock.set(shop.now.replace(hour=23, minute=58))
    shop.send(shop.order("ann", "shoes", shop.now.replace(hour=12) - timedelta(days=2)))
    rule = {"field": "orders.days_since", "op": ">=", "value": 3}
    other, lapsed = segment(shop, "Other", ULM), segment(shop, "Lapsed", rule)
    with shop.sessions.begin() as session:
        atopens.follow(session, [other, lapsed])
    shop.intake = Intake(shop.sessions, shop.store, shop.settings.hash_key)
    passes = Members(shop.intake, shop.clock.now)
    passes.want([other, lapsed], anew=True)
    passes.go_on(0.0)
    shop.clock.advance(timedelta(minutes=10))
    shop.send({"type": "identify", "userId": "ann"})
    assert members(shop, lapsed) == {ann}
    while passes.unready:
        passes.go_on(1.0)
    assert members(shop, lapsed) == {ann}
