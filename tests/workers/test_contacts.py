"""How often a person may be mailed, over all campaigns, and which mail goes first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from base.errors import InvalidInput
from campaigns import audience, contacts, deliveries, transitions
from campaigns.contacts import LIMITED, ONCE, Limit
from render.arbitration import Arbitration, Context
from signals.suppression import Suppression
from tests.campaigns.shop import MANAGER, Shop
from workers.schedule import Scheduler

TWO_A_WEEK = Limit(most=2, period_days=7)


@pytest.fixture
def limited(shop: Shop) -> Shop:
    """Two mails a week."""
    with shop.sessions.begin() as session:
        contacts.set_limit(session, TWO_A_WEEK, shop.now, MANAGER)
    return shop


def reason(shop: Shop, campaign: int) -> tuple[str, str | None]:
    """What became of the one person's row."""
    (row,) = shop.ledger(campaign)
    return row.state, row.reason


def due(shop: Shop, campaign: int, days: int) -> None:
    """Have the campaign due in so many days."""
    with shop.sessions.begin() as session:
        transitions.schedule(session, campaign, shop.now + timedelta(days=days), shop.now, MANAGER, is_sending=False)


@pytest.mark.feature("CM-34")
def test_it_sends_two_of_three_in_a_week_those_of_highest_priority(limited: Shop, scheduler: Scheduler) -> None:
    limited.people("ann")
    campaigns: dict[str, int] = {}
    for name, priority, day in (("low", 0, 0), ("high", 5, 2), ("middle", 3, 4)):
        campaigns[name] = limited.campaign(name=name, priority=priority)
        due(limited, campaigns[name], day)
    for _ in range(6):
        scheduler.tick()
        limited.clock.advance(timedelta(days=1))
    assert reason(limited, campaigns["low"]) == ("skipped", LIMITED), "first in time, yet the others go before it"
    assert {limited.ledger(campaigns[name])[0].state for name in ("high", "middle")} == {"queued"}
    with limited.sessions.begin() as session:
        counted = audience.frozen(session, campaigns["low"], 1)
    assert (counted.total, counted.sendable, counted.excluded) == (1, 0, {LIMITED: 1})


@pytest.mark.feature("CM-34")
@pytest.mark.parametrize(("hours", "is_sent"), [(7 * 24 - 1, False), (7 * 24, True)])
def test_it_mails_again_when_the_period_is_over(limited: Shop, scheduler: Scheduler, hours: int, is_sent: bool) -> None:
    limited.people("ann", "bob")
    for name in ("one", "two"):
        limited.schedule(limited.campaign(name=name))
    scheduler.tick()
    limited.clock.advance(timedelta(hours=hours))
    third = limited.campaign(name="three")
    limited.schedule(third)
    scheduler.tick()
    expected = ("queued", None) if is_sent else ("skipped", LIMITED)
    assert {(row.state, row.reason) for row in limited.ledger(third)} == {expected}


def test_it_counts_what_reached_somebody_and_no_tests(limited: Shop, scheduler: Scheduler) -> None:
    (ann,) = limited.people("ann")
    first = limited.campaign(name="one")
    limited.schedule(first)
    with limited.sessions.begin() as session:
        for _ in range(3):
            transitions.send_test(session, first, [ann], "tester@example.org", limited.now, MANAGER)
    scheduler.tick()
    with limited.sessions.begin() as session:
        claimed = deliveries.claim(session, [row.id for row in limited.ledger(first)], "here", limited.now)
        row = next(row for row in claimed if not row.key.is_test)
        failed = deliveries.Settled(row.id, row.fence, "failed", "refused")
        deliveries.settle(session, [failed], limited.now)
    for name in ("two", "three"):
        other = limited.campaign(name=name)
        limited.schedule(other)
        scheduler.tick()
        assert reason(limited, other) == ("queued", None)
    last = limited.campaign(name="four")
    limited.schedule(last)
    scheduler.tick()
    assert reason(limited, last) == ("skipped", LIMITED)


@pytest.mark.feature("CM-33")
def test_it_sends_what_must_go_at_the_limit_but_once_a_period_and_never_against_the_law(
    limited: Shop, scheduler: Scheduler
) -> None:
    limited.people("ann", "bob")
    before = [limited.campaign(name=name) for name in ("one", "two")]
    for campaign in before:
        limited.schedule(campaign)
    scheduler.tick()
    recall = limited.campaign(name="recall", mandatory=True)
    limited.schedule(recall)
    with limited.sessions.begin() as session:
        bob = next(row for row in limited.ledger(before[0]) if row.profile_id == limited.profile("bob"))
        assert bob.address_hash is not None
        session.add(Suppression(address_hash=bob.address_hash, reason="asked us", at=limited.now))
    scheduler.tick()
    rows = {row.profile_id: (row.state, row.reason) for row in limited.ledger(recall)}
    assert rows == {
        limited.profile("ann"): ("queued", None),
        limited.profile("bob"): ("skipped", "suppressed"),
    }
    with limited.sessions.begin() as session:
        again = audience.freeze(session, recall, 2, limited.now + timedelta(days=6), limited.settings.hash_key)
        later = audience.freeze(session, recall, 3, limited.now + timedelta(days=8), limited.settings.hash_key)
    assert again.excluded[ONCE] == 1
    assert (later.sendable, ONCE in later.excluded) == (1, False)


def test_it_does_not_count_what_must_go_against_the_others(limited: Shop, scheduler: Scheduler) -> None:
    limited.people("ann")
    for name, mandatory in (("recall", True), ("terms", True), ("one", False), ("two", False)):
        campaign = limited.campaign(name=name, mandatory=mandatory)
        limited.schedule(campaign)
        scheduler.tick()
        assert reason(limited, campaign) == ("queued", None)


def test_it_has_no_limit_until_one_is_set_and_none_after_it_is_lifted(shop: Shop) -> None:
    with shop.sessions.begin() as session:
        assert contacts.limit(session) is None
        contacts.set_limit(session, TWO_A_WEEK, shop.now, MANAGER)
        assert contacts.limit(session) == TWO_A_WEEK
        contacts.set_limit(session, None, shop.now, MANAGER)
        assert contacts.limit(session) is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"arbitration": Arbitration(contexts=(Context("x", {"field": "moon"}, {}),))}, "arbitration"),
        (
            {"arbitration": Arbitration(contexts=(Context("x", {"always": True}, {"gift": 1.0}),))},
            "arbitration.contexts[0].weights",
        ),
    ],
)
def test_it_keeps_no_campaign_whose_contexts_cannot_be(shop: Shop, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        shop.campaign(**changes)
    assert caught.value.field.startswith(field)
