"""When mails leave: recipients' clocks, send windows and late runs."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from sqlalchemy import select, update

from base.errors import Conflict
from campaigns import audience, campaigns, deliveries, permits, transitions, waves, windows
from campaigns.models import Campaign, Occurrence, OpenHours
from campaigns.sendlimits import Pace, Terms
from campaigns.timing import Missed, Repeat, Timing, Window
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Web, told
from tests.workers.relay import Relay
from tests.workers.timing import (
    BY_CLOCKS,
    DAY,
    HOUR,
    MEMBERS,
    MINUTE,
    NINE,
    at_wall,
    pass_time,
    run,
    times,
    wall,
)
from workers.schedule import Scheduler
from workers.sending import Sender

ZONES: dict[str, Any] = {
    "kiritimati": "Pacific/Kiritimati", "kathmandu": "Asia/Kathmandu", "kolkata": "Asia/Kolkata",
    "lord": "Australia/Lord_Howe", "samoa": "Pacific/Pago_Pago", "empty": "", "offset": "GMT-8",
    "nowhere": "Mars/Olympus", "number": 7, "lower": "europe/vienna",
}  # fmt: skip


def abroad(shop: Shop) -> None:
    """People in many zones, in none that there is, and one whose signals told it."""
    for name, zone in ZONES.items():
        shop.people(name, timezone=zone)
    shop.people("traveller", "homebody")
    for name, zone, ago in (
        ("traveller", "Asia/Tokyo", timedelta(hours=5)),
        ("traveller", "America/New_York", timedelta(hours=3)),
        ("traveller", "GMT+5", timedelta(hours=1)),
        ("homebody", "Asia/Tokyo", timedelta(days=120)),
    ):
        when, context = (shop.now - ago).isoformat(), {"timezone": zone}
        shop.send({"type": "track", "userId": name, "event": "Seen", "context": context, "timestamp": when})


@pytest.mark.feature("CM-12")
def test_it_mails_everybody_once_when_their_own_clock_shows_the_time(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    abroad(shop)
    campaign = shop.campaign(timing=BY_CLOCKS)
    at_wall(shop, campaign, NINE)
    first = NINE.replace(tzinfo=ZoneInfo("Pacific/Kiritimati")).astimezone(UTC)
    assert run(shop, campaign).due_at == first
    pass_time(shop, scheduler, sender, first - MINUTE)
    assert shop.ledger(campaign) == []
    shop.clock.set(first)
    scheduler.tick()
    known = {name: str(zone) for name, zone in ZONES.items() if "/" in str(zone) and name not in ("nowhere", "lower")}
    zones = dict.fromkeys([*ZONES, "homebody"], "Europe/Vienna") | known | {"traveller": "America/New_York"}
    expected = {name: NINE.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for name, zone in zones.items()}
    assert times(shop, campaign) == expected
    told_by = Counter(row.zone_from for row in shop.ledger(campaign))
    assert told_by == {"profile": len(known), "signals": 1, "campaign": len(zones) - len(known) - 1}
    with shop.sessions.begin() as session:
        listed = waves.listing(session, campaign)
    assert (sum(wave.mails for wave in listed), sum(wave.unknown for wave in listed)) == (len(zones), 6)
    got: dict[str, datetime] = {}
    for moment in sorted({at + step for at in expected.values() for step in (-MINUTE, timedelta(0))}):
        pass_time(shop, scheduler, sender, max(moment, first))
        got |= dict.fromkeys(relay.received().keys() - got.keys(), shop.now)
    assert got == {f"{name}@example.com": at for name, at in expected.items()}
    assert set(relay.received().values()) == {1}
    assert shop.state(campaign) == "finished"


def test_it_knows_the_wall_time_of_what_was_scheduled_before_there_were_any(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("samoa", timezone="Pacific/Pago_Pago")
    campaign = shop.campaign()
    at_wall(shop, campaign, NINE)
    with shop.sessions.begin() as session:
        session.execute(update(Campaign).values(due_wall=None, due_zone=None))
        session.execute(update(Occurrence).values(wall=None))
        import_module("migrations.versions.0023_timing").tell_walls(session.connection())
    with shop.sessions.begin() as session:
        content = campaigns.content(campaigns.campaign(session, campaign))
        changed = msgspec.structs.replace(content, timing=BY_CLOCKS)
        campaigns.update_campaign(session, campaign, changed, shop.now, MANAGER)
    begins = NINE.replace(tzinfo=ZoneInfo("Pacific/Kiritimati")).astimezone(UTC)
    assert (run(shop, campaign).due_at, run(shop, campaign).wall) == (begins, NINE)
    shop.clock.set(begins)
    scheduler.tick()
    assert times(shop, campaign) == {"samoa": NINE.replace(tzinfo=ZoneInfo("Pacific/Pago_Pago")).astimezone(UTC)}


@pytest.mark.feature("CM-12")
def test_it_does_what_was_said_for_whom_the_hour_is_over(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("kiritimati", timezone="Pacific/Kiritimati")
    shop.people("samoa", timezone="Pacific/Pago_Pago")
    policies: tuple[Any, ...] = ("now", "next_day", "skip")
    made = {passed: shop.campaign(timing=Timing(clocks="recipient", passed=passed)) for passed in policies}
    for campaign in made.values():
        at_wall(shop, campaign, NINE)
    shop.clock.set(datetime(2026, 3, 4, 7, tzinfo=UTC))
    with shop.sessions.begin() as session:
        counted = audience.count(session, made["skip"], shop.now, shop.settings.hash_key)
    scheduler.tick()
    wanted = {"now": shop.now, "next_day": datetime(2026, 3, 4, 19, tzinfo=UTC), "skip": None}
    for passed, campaign in made.items():
        late, early = shop.ledger(campaign)
        assert early.not_before == datetime(2026, 3, 4, 20, tzinfo=UTC)
        assert (late.state, late.reason) == (("skipped", "hour_past") if passed == "skip" else ("queued", None))
        assert late.not_before == wanted[passed]
    assert counted.excluded == {"hour_past": 1}
    assert run(shop, made["skip"]).counts == {"total": 2, "sendable": 1, "content_held": 0, "hour_past": 1}


@pytest.mark.feature("CM-13")
def test_it_sends_in_its_hours_alone_over_a_weekend_and_no_more_a_day_than_the_quota(
    shop: Shop, relay: Relay, sender: Sender
) -> None:
    """A sender with jobs at all hours that name every row, and a quota of ten mails a day."""
    hours = Window(days=["mon", "tue", "wed", "thu", "fri"], begin="09:00", until="17:00")
    shop.people(*(f"p{number}" for number in range(20)))
    campaign = shop.campaign(timing=Timing(window=hours), timezone="Europe/Vienna")
    vienna = ZoneInfo("Europe/Vienna")
    shop.clock.set(datetime(2026, 3, 27, 15, tzinfo=vienna))
    shop.schedule(campaign)
    with shop.sessions.begin() as session:
        permits.set_terms(session, Terms(everything=Pace(per_day=10)), shop.now, MANAGER)
        audience.freeze(session, campaign, 1, shop.now, shop.settings.hash_key)
        transitions.begin(session, campaign, shop.now)
    per_hour: Counter[datetime] = Counter()
    ids = [row.id for row in shop.ledger(campaign)]
    while shop.now < datetime(2026, 3, 30, 11, tzinfo=vienna):
        with shop.sessions.begin() as session:
            windows.keep(session, shop.now)
            permits.let_in(session, shop.now)
        sent = sender.send(ids).states.get("accepted", 0)
        per_hour[shop.now.astimezone(vienna).replace(tzinfo=None)] = sent
        shop.clock.advance(HOUR)
    # Over that weekend the clocks are put forward, and the hours stay those of the clocks.
    assert +per_hour == {wall("2026-03-27T15:00"): 10, wall("2026-03-30T09:00"): 10}
    assert len(per_hour) == 67
    assert set(relay.received().values()) == {1}


def test_it_takes_no_row_at_the_instant_the_hours_end(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann", "bob")
    shop.people("cho", timezone="Asia/Tokyo")
    evening = Window(begin="08:00", until="14:00", clocks="recipient")
    campaign = shop.campaign(timing=Timing(window=evening), timezone="Europe/Vienna")
    shop.schedule(campaign)
    scheduler.tick()
    cho = shop.profile("cho")
    assert {row.profile_id: row.not_before for row in shop.ledger(campaign)}[cho] == datetime(
        2026, 3, 2, 23, tzinfo=UTC
    )
    ids = [row.id for row in shop.ledger(campaign)]
    shop.clock.set(datetime(2026, 3, 2, 13, tzinfo=UTC) - timedelta(seconds=1))
    with shop.sessions.begin() as session:
        claimed = deliveries.claim(session, ids, "one", shop.now)
        assert len(claimed) == 2
        assert len(deliveries.hand_over(session, claimed[:1], "one", shop.now)) == 1
        assert deliveries.hand_over(session, claimed[1:], "one", shop.now + timedelta(seconds=1)) == set()
        deliveries.release(session, claimed[1:])
        assert deliveries.claim(session, ids, "two", shop.now + timedelta(seconds=1)) == []
    # A test goes out at any hour.
    with shop.sessions.begin() as session:
        number = transitions.send_test(session, campaign, [cho], "me@example.com", shop.now, MANAGER)
    test = [row.id for row in shop.ledger(campaign) if row.occurrence == number]
    with shop.sessions.begin() as session:
        assert len(deliveries.claim(session, test, "two", shop.now + DAY)) == 1


def test_it_goes_by_the_hours_of_the_zone_it_is_scheduled_in_also_when_they_were_written_before(shop: Shop) -> None:
    campaign = shop.campaign(timing=Timing(window=Window(begin="09:00", until="17:00")))

    def kept() -> list[int]:
        """The hours of UTC at which its stretches begin, once another loop has come by."""
        with shop.sessions.begin() as other:
            windows.keep(other, shop.now)
        with shop.sessions.begin() as other:
            return [at.hour for at in other.scalars(select(OpenHours.opens_at))]

    at_wall(shop, campaign, NINE)
    assert kept() == [8]
    at_wall(shop, campaign, NINE, "Asia/Tokyo")
    assert kept() == [0]
    with shop.sessions.begin() as session:
        windows.forget(session, campaign)
    with shop.sessions.begin() as session:
        transitions.schedule(session, campaign, NINE, shop.now, MANAGER, timezone="America/New_York", is_sending=False)
        # Who looks while it is being moved sees the old zone.
        kept()
    assert kept() == [14]


@pytest.mark.feature("CM-14")
def test_it_sends_leaves_out_or_asks_when_it_is_late(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann")
    # One that a person holds back over its time is no late run: who resumes it knows.
    held = shop.campaign(timing=Timing(missed=Missed(late="ask", after_minutes=60)))
    shop.schedule(held, HOUR)
    with shop.sessions.begin() as session:
        transitions.pause(session, held, shop.now, MANAGER)
    at_once: dict[Any, int] = dict.fromkeys(("send", "skip", "ask"), 1)
    for late, expected in ((MINUTE, at_once), (4 * HOUR, at_once | {"skip": 0, "ask": 0})):
        made = {
            policy: shop.campaign(timing=Timing(missed=Missed(late=policy, after_minutes=60))) for policy in expected
        }
        for campaign in made.values():
            shop.schedule(campaign, HOUR)
        pass_time(shop, scheduler, sender, shop.now + HOUR + late)
        assert {policy: len(shop.ledger(number)) for policy, number in made.items()} == expected
    assert [shop.state(number) for number in made.values()] == ["finished", "finished", "paused"]
    left = run(shop, made["skip"])
    assert (left.state, left.missed, left.finished_at) == ("cancelled", "skipped", shop.now)
    with shop.sessions.begin() as session:
        assert "4 h 0 min late" in (session.get_one(Campaign, made["ask"]).trouble or "")
        for number in (made["ask"], held):
            transitions.resume(session, number, shop.now, MANAGER)
    pass_time(shop, scheduler, sender, shop.now + HOUR)
    assert [shop.state(number) for number in (made["ask"], held)] == ["finished", "finished"]
    assert relay.received() == {"ann@example.com": 6}


def test_it_is_not_late_with_what_is_scheduled_or_timed_anew_after_the_first_clocks_showed_it(
    shop: Shop, scheduler: Scheduler
) -> None:
    shop.people("ann")
    by_clocks = Timing(clocks="recipient", missed=Missed(late="ask", after_minutes=60))
    today, at_once, moved, slept = (
        shop.campaign(timing=Timing(missed=by_clocks.missed) if number == 2 else by_clocks) for number in range(4)
    )
    shop.schedule(at_once)
    for campaign in (today, moved):
        at_wall(shop, campaign, wall("2026-03-02T18:00"))
    with shop.sessions.begin() as session:
        content = campaigns.content(campaigns.campaign(session, moved))
        campaigns.update_campaign(
            session, moved, msgspec.structs.replace(content, timing=by_clocks), shop.now, MANAGER
        )  # fmt: skip
    assert scheduler.tick().frozen == [(campaign, 1) for campaign in (today, at_once, moved)]
    # What could not begin although its time had come is late as before, however its audience is written anew.
    at_wall(shop, slept, wall("2026-03-02T18:00"))
    shop.clock.advance(2 * HOUR)
    with shop.sessions.begin() as session:
        content = campaigns.content(campaigns.campaign(session, slept))
        changed = msgspec.structs.replace(content, audience={"any": [MEMBERS, {"always": True}]})
        campaigns.update_campaign(session, slept, changed, shop.now, MANAGER)
    scheduler.tick()
    assert (shop.state(slept), run(shop, slept).missed) == ("paused", "asked")


def test_it_leaves_a_late_run_out_when_told_and_goes_on_with_the_next(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann")
    web = Web(shop)
    campaign = shop.campaign(
        kind="recurring", repeat=Repeat(every="day"), timing=Timing(missed=Missed(late="ask", after_minutes=30))
    )
    try:
        api, page = web.program("manager"), web.browser("manager")
        told(api.call("POST", f"/campaigns/{campaign}/leave-out"), 409)
        at_wall(shop, campaign, NINE)
        shop.clock.set(datetime(2026, 3, 4, 9, tzinfo=UTC))
        scheduler.tick()
        shown = page.get(f"/campaigns/{campaign}/schedule").text
        assert "1 h 0 min late" in shown
        assert "Leave the late run out" in shown
        assert page.post(f"/campaigns/{campaign}/schedule", do="leave-out").status_code == 302
        listed = api.told("GET", f"/campaigns/{campaign}/schedule")["runs"]
        assert [(one["state"], one["missed"]) for one in listed] == [("due", None), ("cancelled", "skipped")]
        assert shop.ledger(campaign) == []
        shop.clock.set(datetime(2026, 3, 5, 8, 1, tzinfo=UTC))
        assert scheduler.tick().frozen == [(campaign, 2)]
    finally:
        web.close()


def test_it_keeps_a_change_of_the_clocks_while_scheduled_and_refuses_what_does_not_fit(shop: Shop) -> None:
    web = Web(shop)
    campaign = shop.campaign()
    at_wall(shop, campaign, NINE)
    try:
        page, api = web.browser("manager"), web.program("manager")
        path = f"/campaigns/{campaign}/schedule"
        form: dict[str, Any] = {"timing": "1", "clocks": "recipient", "passed": "skip", "joins": "send", "late": "ask"}
        hours = {"window": "on", "window-day": ["sat", "sun"], "window-begin": "10:00", "window-until": "00:00"}
        assert page.post(path, do="timing", **form, **hours, **{"late-minutes": "90"}).status_code == 302
        kept = api.told("GET", f"/campaigns/{campaign}")["timing"]
        assert kept["window"] == {"days": ["sat", "sun"], "begin": "10:00", "until": "24:00", "clocks": "campaign"}
        assert (kept["clocks"], kept["passed"], kept["missed"]) == (
            "recipient",
            "skip",
            {"late": "ask", "after_minutes": 90},
        )
        assert run(shop, campaign).due_at == NINE.replace(tzinfo=ZoneInfo("Pacific/Kiritimati"))
        for wrong, words in (
            ({**hours, "window-until": "09:00"}, "Until: must be later"),
            ({"window": "on"}, "Days: choose one"),
            ({"joins": "until_end"}, "Ends: is missing"),
            ({"late-minutes": "99999999"}, "Late after: must be at most"),
            ({"clocks": "nobody"}, "invalid enum value"),
        ):
            refused = page.post(path, do="timing", **form | wrong)
            assert refused.status_code == 400
            assert words.lower() in refused.text.lower()
        assert api.told("GET", f"/campaigns/{campaign}")["timing"] == kept
        page.post(path, do="timing", **form | {"clocks": "campaign"})
        assert run(shop, campaign).due_at == NINE.replace(tzinfo=ZoneInfo("Europe/Vienna"))
    finally:
        web.close()
    with shop.sessions.begin() as session, pytest.raises(Conflict, match="waits for being left out"):
        transitions.leave_out(session, campaign, shop.now, MANAGER)
