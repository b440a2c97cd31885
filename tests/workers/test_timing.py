"""How mails get their moments: recipients' clocks, send windows, late runs, late joiners, and the calendar."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from sqlalchemy import select, update

from base.errors import Conflict
from campaigns import audience, campaigns, deliveries, joining, permits, runs, segments, transitions, waves, windows
from campaigns.campaigns import CampaignIn, Trigger
from campaigns.models import Campaign, Click, Delivery, Fetch, Occurrence, OpenHours
from campaigns.sendlimits import Pace, Terms
from campaigns.timing import Missed, Repeat, Timing, Window
from signals.scores import assign
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Web, told
from tests.workers.relay import Relay
from tests.workers.test_schedule import another
from workers.schedule import Scheduler
from workers.sending import Sender


def wall(time: str) -> datetime:
    """A wall time, which has no zone."""
    return datetime.fromisoformat(time)


MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NINE = wall("2026-03-04T09:00")
"""A Wednesday, two days after the tests' present."""
MEMBERS = {"all": [{"field": "score", "name": "best", "op": ">=", "value": 0.5}]}
ZONES: dict[str, Any] = {
    "kiritimati": "Pacific/Kiritimati", "kathmandu": "Asia/Kathmandu", "kolkata": "Asia/Kolkata",
    "lord": "Australia/Lord_Howe", "samoa": "Pacific/Pago_Pago", "empty": "", "offset": "GMT-8",
    "nowhere": "Mars/Olympus", "number": 7, "lower": "europe/vienna",
}  # fmt: skip
BY_CLOCKS = Timing(clocks="recipient")


def at_wall(shop: Shop, campaign: int, wall: datetime, zone: str = "Europe/Vienna") -> None:
    """Schedule a campaign for a wall time."""
    with shop.sessions.begin() as session:
        transitions.schedule(session, campaign, wall, shop.now, MANAGER, timezone=zone)


def times(shop: Shop, campaign: int) -> dict[str, datetime | None]:
    """When each person's mail may leave."""
    names = {number: name for name, number in shop.known().items()}
    return {names[row.profile_id]: row.not_before for row in shop.ledger(campaign)}


def states(shop: Shop, campaign: int) -> Counter[str]:
    return Counter(row.reason or row.state for row in shop.ledger(campaign))


def run(shop: Shop, campaign: int, number: int = 1) -> Occurrence:
    with shop.sessions.begin() as session:
        return session.get_one(Occurrence, (campaign, number))


def pass_time(shop: Shop, scheduler: Scheduler, sender: Sender, moment: datetime) -> None:
    """Let it become a moment, with the loop and a sender at work then that has jobs naming everything which waits."""
    shop.clock.set(moment)
    scheduler.tick()
    with shop.sessions.begin() as session:
        ids = session.scalars(select(Delivery.id).where(Delivery.state == "queued")).all()
    if sender.send(ids).claimed:
        scheduler.tick()


def abroad(shop: Shop) -> None:
    """People in many zones, in none that there is, and one whose signals told it."""
    for name, zone in ZONES.items():
        shop.people(name, timezone=zone)
    shop.people("traveller", "unknown")
    for name, zone, ago in (
        ("traveller", "Asia/Tokyo", timedelta(hours=5)),
        ("traveller", "America/New_York", timedelta(hours=3)),
        ("traveller", "GMT+5", timedelta(hours=1)),
        ("unknown", "Asia/Tokyo", timedelta(days=120)),
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
    zones = dict.fromkeys([*ZONES, "unknown"], "Europe/Vienna") | known | {"traveller": "America/New_York"}
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
        transitions.schedule(session, campaign, NINE, shop.now, MANAGER, timezone="America/New_York")
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


def score(shop: Shop, number: int, **values: float) -> None:
    """Give people the score that makes members of them."""
    assign(
        shop.intake, {shop.profile(name): {"best": value} for name, value in values.items()}, shop.now, number, shop.now
    )


@pytest.mark.feature("CM-05")
def test_it_mails_late_joiners_by_the_mode_that_the_page_names(
    shop: Shop, scheduler: Scheduler, sender: Sender
) -> None:
    modes: dict[Any, tuple[set[str], str]] = {
        "scheduling": ({"early", "gone"}, "when it is scheduled; who joins later gets none"),
        "send": ({"early", "between"}, "when it begins; who joins later gets none"),
        "until_end": ({"early", "between", "late"}, "when it begins and to whoever joins until it ends, once each"),
    }
    shop.people("early", "gone", "between", "late", "last")
    score(shop, 1, early=0.9, gone=0.9)
    ends = shop.now + 2 * DAY
    made = {joins: shop.campaign(audience=MEMBERS, timing=Timing(joins=joins), ends_at=ends) for joins in modes}
    web = Web(shop)
    try:
        page = web.browser("manager")
        for joins, campaign in made.items():
            shop.schedule(campaign, HOUR)
            assert modes[joins][1] in page.get(f"/campaigns/{campaign}/schedule").text
            assert modes[joins][1] in page.get(f"/campaigns/{campaign}/audience/count").text
    finally:
        web.close()
    shop.clock.advance(MINUTE)
    score(shop, 2, between=0.9, gone=0.1)
    pass_time(shop, scheduler, sender, shop.now + HOUR)
    score(shop, 3, late=0.9)
    pass_time(shop, scheduler, sender, shop.now + HOUR)
    pass_time(shop, scheduler, sender, ends)
    score(shop, 4, last=0.9)
    pass_time(shop, scheduler, sender, ends + HOUR)
    names = {number: name for name, number in shop.known().items()}
    for joins, campaign in made.items():
        got = Counter(names[row.profile_id] for row in shop.ledger(campaign) if row.state == "accepted")
        assert got == dict.fromkeys(modes[joins][0], 1), joins
        assert shop.state(campaign) == "finished"


def test_it_takes_the_snapshot_anew_when_the_audience_or_the_mode_is_changed(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann", "bob")
    score(shop, 1, ann=0.9)
    campaign = shop.campaign(timing=Timing(joins="scheduling"))
    shop.schedule(campaign, HOUR)
    with shop.sessions.begin() as session:
        content = campaigns.content(campaigns.campaign(session, campaign))
        wanted = {name: getattr(content, name) for name in content.__struct_fields__} | {"audience": MEMBERS}
        campaigns.update_campaign(session, campaign, campaigns.CampaignIn(**wanted), shop.now, MANAGER)
    score(shop, 2, bob=0.9, ann=0.1)
    shop.clock.advance(HOUR)
    scheduler.tick()
    assert [row.profile_id for row in shop.ledger(campaign)] == [shop.profile("ann")]


def test_it_refuses_once_begun_what_would_mail_people_again_and_mails_nobody_twice_whatever_is_written(
    shop: Shop, scheduler: Scheduler
) -> None:
    shop.people("ann", "bob")
    ends = shop.now + 2 * DAY
    joined = shop.campaign(timing=Timing(joins="until_end"), ends_at=ends)
    evergreen = shop.campaign(kind="evergreen")
    weekly = shop.campaign(kind="recurring", repeat=Repeat())
    for campaign in (joined, evergreen, weekly):
        shop.schedule(campaign)
    scheduler.tick()
    web = Web(shop)
    try:
        api, page = web.program("manager"), web.browser("manager")
        for campaign, field, changes in (
            (joined, "timing.joins", {"timing": {"joins": "send"}}),
            (joined, "kind", {"kind": "evergreen", "timing": {"joins": "send"}}),
            (evergreen, "kind", {"kind": "broadcast"}),
            (evergreen, "timing.newcomers_only", {"timing": {"newcomers_only": True}}),
            (weekly, "repeat", {"repeat": {"every": "day"}}),
        ):
            written = api.told("GET", f"/campaigns/{campaign}")
            kept = {name: written[name] for name in CampaignIn.__struct_fields__}
            refused = told(api.call("PUT", f"/campaigns/{campaign}", kept | changes), 409)
            assert f"{field}: cannot be changed" in str(refused)
            told(api.call("PUT", f"/campaigns/{campaign}", kept | {"priority": 1}))
        path, ending = f"/campaigns/{joined}/schedule", f"{ends:%Y-%m-%dT%H:%M}"
        form = {"timing": "1", "do": "timing", "late": "skip", "ends_at": ending}
        assert 'name="joins"' not in page.get(path).text
        assert page.post(path, **form).status_code == 302
        assert page.post(path, **form, joins="send").status_code == 409
        assert api.told("GET", f"/campaigns/{joined}")["timing"]["joins"] == "until_end"
    finally:
        web.close()
    # As if it had been written past that: who was taken in stays so, and what goes out once does so once.
    assert states(shop, joined) == states(shop, evergreen) == {"queued": 2}
    with shop.sessions.begin() as session:
        session.get_one(Campaign, joined).timing = {}
        session.get_one(Campaign, evergreen).kind = "recurring"
    shop.people("cho")
    shop.clock.advance(5 * MINUTE)
    scheduler.tick()
    assert states(shop, joined) == {"queued": 2}
    assert run(shop, joined, 2).state == "cancelled"
    assert states(shop, evergreen) == {"queued": 3}


def test_it_looks_once_more_at_the_end_for_who_came_since_the_look_before(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("early", "mid", "last")
    score(shop, 1, early=0.9)
    ends = shop.now + DAY
    taking: list[dict[str, Any]] = [
        {"audience": MEMBERS, "timing": Timing(joins="until_end")},
        {"audience": MEMBERS, "kind": "evergreen"},
        {"kind": "triggered", "trigger": Trigger(event="Waved")},
        {"kind": "evergreen"},
    ]
    joined, evergreen, triggered, unbegun = (shop.campaign(**more, ends_at=ends) for more in taking)
    for campaign in (joined, evergreen, triggered):
        shop.schedule(campaign)
    shop.schedule(unbegun, DAY - timedelta(seconds=30))
    pass_time(shop, scheduler, sender, shop.now)
    score(shop, 2, mid=0.9)
    pass_time(shop, scheduler, sender, ends - MINUTE)
    assert (run(shop, joined, 3).due_at, run(shop, evergreen, 3).due_at) == (ends, ends)
    # Nothing runs over the end.
    score(shop, 3, last=0.9)
    shop.clock.set(ends + HOUR)
    for name, at in (("mid", ends - timedelta(seconds=5)), ("last", ends + timedelta(seconds=5))):
        shop.send({"type": "track", "userId": name, "event": "Waved", "timestamp": at.isoformat()})
    pass_time(shop, scheduler, sender, shop.now)
    names = {number: name for name, number in shop.known().items()}
    everybody = {"early": 1, "mid": 1, "last": 1}
    for campaign, mailed in ((joined, everybody), (evergreen, everybody), (triggered, {"mid": 1}), (unbegun, {})):
        assert Counter(names[row.profile_id] for row in shop.ledger(campaign) if row.state == "accepted") == mailed
        assert shop.state(campaign) == "finished"


@pytest.mark.feature("CM-21")
def test_it_mails_new_members_of_a_segment_once_however_often_they_join(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob", "cho")
    shop.people("shy", consent=False)
    with shop.sessions.begin() as session:
        segment = segments.create_segment(session, "Best", MEMBERS, shop.now, MANAGER).id
    campaign = shop.campaign(kind="evergreen", audience={"segment": segment}, needs_consent=["email"])
    shop.schedule(campaign)
    steps: tuple[tuple[dict[str, float], set[str]], ...] = (
        ({}, set()),
        ({"ann": 0.9}, {"ann"}),
        ({"ann": 0.1}, {"ann"}),
        ({"ann": 0.9, "bob": 0.9}, {"ann", "bob"}),
        ({"bob": 0.1}, {"ann", "bob"}),
        ({"bob": 0.9, "shy": 0.9}, {"ann", "bob"}),
        ({"shy": 0.1, "ann": 0.1}, {"ann", "bob"}),
    )
    for number, (changed, mailed) in enumerate(steps):
        score(shop, number, **changed)
        pass_time(shop, scheduler, sender, shop.now + 5 * MINUTE)
        assert relay.received() == {f"{name}@example.com": 1 for name in mailed}, number
    # Who could not be mailed is listed once with the reason, and is mailed once that is over.
    assert states(shop, campaign) == {"accepted": 2, "no_consent": 1}
    score(shop, 10, shy=0.9)
    shop.send(shop.consent("shy", True))
    pass_time(shop, scheduler, sender, shop.now + 5 * MINUTE)
    assert states(shop, campaign) == {"accepted": 3, "no_consent": 1}
    # Two profiles become one person, who had their mail; and somebody new at an address that had it gets none.
    shop.send({"type": "identify", "userId": "dan", "traits": {"email": "ann@example.com"}}, shop.consent("dan", True))
    score(shop, 11, dan=0.9)
    pass_time(shop, scheduler, sender, shop.now + 5 * MINUTE)
    assert set(relay.received().values()) == {1}
    assert len(relay.mails) == 3
    assert shop.state(campaign) == "sending"


def test_it_passes_over_who_is_there_already_when_only_newcomers_are_meant(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    shop.people("ann", "bob")
    score(shop, 1, ann=0.9)
    campaign = shop.campaign(kind="evergreen", audience=MEMBERS, timing=Timing(newcomers_only=True))
    shop.schedule(campaign)
    pass_time(shop, scheduler, sender, shop.now)
    score(shop, 2, bob=0.9)
    pass_time(shop, scheduler, sender, shop.now + 5 * MINUTE)
    assert relay.received() == {"bob@example.com": 1}
    assert joining.LOOK_EVERY <= 5 * MINUTE


def test_it_comes_again_by_the_calendar_once_among_many_loops(shop: Shop) -> None:
    shop.people("ann")
    campaign = shop.campaign(kind="recurring", repeat=Repeat(every="day"), ends_at=datetime(2026, 3, 31, 7, tzinfo=UTC))
    at_wall(shop, campaign, wall("2026-03-27T09:00"))
    loops = [another(shop) for _ in range(3)]
    frozen: list[tuple[int, int]] = []
    for day in range(27, 32):
        shop.clock.set(datetime(2026, 3, day, 9, 1, tzinfo=ZoneInfo("Europe/Vienna")))
        threads = [threading.Thread(target=lambda loop=loop: frozen.extend(loop.tick().frozen)) for loop in loops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert frozen == [(campaign, number) for number in (1, 2, 3, 4)]
    with shop.sessions.begin() as session:
        rows = session.scalars(select(Occurrence).order_by(Occurrence.number)).all()
    # Over the weekend the clocks are put forward: the wall time stays, the instant is an hour earlier.
    assert [row.due_at.hour for row in rows] == [8, 8, 7, 7]
    assert {row.wall.time().isoformat() for row in rows if row.wall} == {"09:00:00"}


@pytest.mark.parametrize(
    ("repeat", "first", "expected"),
    [
        (Repeat(every="month"), wall("2026-01-31T09:00"), ["01-31", "02-28", "03-31", "04-30"]),
        (Repeat(every="month", each=3), wall("2026-03-15T09:00"), ["03-15", "06-15", "09-15", "12-15"]),
        (Repeat(every="week", days=["fri", "mon"]), wall("2026-03-04T09:00"), ["03-06", "03-09", "03-13", "03-16"]),
        (Repeat(every="week", each=2), wall("2026-03-04T09:00"), ["03-04", "03-18", "04-01", "04-15"]),
        (Repeat(every="day", each=10), wall("2026-03-04T09:00"), ["03-04", "03-14", "03-24", "04-03"]),
    ],
)
def test_it_counts_days_weeks_and_months_by_the_calendar(repeat: Repeat, first: datetime, expected: list[str]) -> None:
    found = runs.walls(repeat, first)
    assert [f"{next(found):%m-%d}" for _ in expected] == expected


def test_it_ends_after_so_many_times_and_makes_up_for_none_it_slept_through(shop: Shop, scheduler: Scheduler) -> None:
    shop.people("ann")
    campaign = shop.campaign(kind="recurring", repeat=Repeat(every="day", times=3))
    at_wall(shop, campaign, NINE, "UTC")
    frozen = []
    for day in (4, 7, 8, 9):
        shop.clock.set(datetime(2026, 3, day, 9, 5, tzinfo=UTC))
        frozen += scheduler.tick().frozen
    assert frozen == [(campaign, 1), (campaign, 2), (campaign, 3)]
    assert [run(shop, campaign, number).due_at.day for number in (1, 2, 3)] == [4, 5, 8]


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


def seen(shop: Shop, name: str, kind: type[Fetch] | type[Click], fetch_class: str, times: list[datetime]) -> None:
    """Fetches or clicks of somebody, as the recorder would have kept them."""
    profile = shop.profile(name)
    with shop.sessions.begin() as session:
        for at in times:
            common = {
                "id": f"{name}-{fetch_class}-{at:%d%H%M}", "at": at.astimezone(UTC), "profile_id": profile, "slot": 0,
                "campaign_id": 1, "occurrence": 1, "fetch_class": fetch_class, "public": b"", "public_sha256": b"",
            }  # fmt: skip
            fetched = {"kind": "picture", "lane": "live", "size": 1, "content_type": "image/jpeg", "rung": "rules"}
            session.add(
                Click(**common, outcome="redirect") if kind is Click else Fetch(**common, **fetched, personal=False)
            )


def test_it_mails_people_at_the_hour_they_usually_open_and_the_others_at_the_time(
    shop: Shop, scheduler: Scheduler
) -> None:
    tokyo, vienna = ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/Vienna")
    shop.people("lark", "machine", timezone="Asia/Tokyo")
    shop.people("owl", "twice", "once_a_day")
    days = [datetime(2026, 2, day, 0, 20, tzinfo=UTC) for day in (10, 12, 14, 16)]

    def at(zone: ZoneInfo, hour: int, which: list[datetime]) -> list[datetime]:
        return [day.replace(tzinfo=zone, hour=hour) for day in which]

    seen(shop, "lark", Fetch, "person", at(tokyo, 6, days[:3]) + at(tokyo, 22, days[:2]))
    seen(shop, "machine", Fetch, "prefetch", at(tokyo, 3, days))
    seen(shop, "owl", Click, "person", at(vienna, 21, days))
    seen(shop, "twice", Fetch, "person", at(vienna, 7, days[:2]))
    seen(shop, "once_a_day", Fetch, "person", [days[0].replace(hour=11, minute=minute) for minute in range(5)])
    campaign = shop.campaign(timing=Timing(clocks="recipient", own_hours=True))
    at_wall(shop, campaign, NINE)
    start = NINE.replace(hour=0, tzinfo=ZoneInfo("Pacific/Kiritimati"))
    assert run(shop, campaign).due_at == start
    shop.clock.set(start.astimezone(UTC))
    scheduler.tick()
    hours = {
        "lark": (tokyo, 6),
        "machine": (tokyo, 9),
        "owl": (vienna, 21),
        "twice": (vienna, 9),
        "once_a_day": (vienna, 9),
    }
    assert times(shop, campaign) == {
        name: NINE.replace(hour=hour, tzinfo=zone).astimezone(UTC) for name, (zone, hour) in hours.items()
    }
