"""Who joins a campaign after it was scheduled, and who is never mailed twice for it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from campaigns import campaigns, joining, segments
from campaigns.campaigns import CampaignIn, Trigger
from campaigns.models import Campaign
from campaigns.timing import Repeat, Timing
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Web, told
from tests.workers.relay import Relay
from tests.workers.timing import (
    DAY,
    HOUR,
    MEMBERS,
    MINUTE,
    pass_time,
    run,
    score,
    states,
)
from workers.schedule import Scheduler
from workers.sending import Sender


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


@pytest.mark.feature("CM-03")
def test_it_mails_who_is_in_a_live_segment_in_the_minute_of_sending(
    shop: Shop, relay: Relay, scheduler: Scheduler, sender: Sender
) -> None:
    def moved(name: str, town: str) -> None:
        shop.send({"type": "identify", "userId": name, "traits": {"town": town}})

    shop.people("ann", "bob", town="Linz")
    shop.people("cara", "dan", town="Graz")
    with shop.sessions.begin() as session:
        rule = {"field": "trait", "name": "town", "op": "=", "value": "Linz"}
        segment = segments.create_segment(session, "Linz", rule, shop.now, MANAGER).id
    campaign = shop.campaign(audience={"segment": segment})
    due = shop.now + HOUR
    shop.schedule(campaign, HOUR)
    pass_time(shop, scheduler, sender, due - MINUTE)
    assert relay.mails == []
    moved("bob", "Graz")
    moved("cara", "Linz")
    pass_time(shop, scheduler, sender, due)
    moved("dan", "Linz")
    pass_time(shop, scheduler, sender, due + HOUR)
    assert sorted(address for address, _ in relay.mails) == ["ann@example.com", "cara@example.com"]
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
