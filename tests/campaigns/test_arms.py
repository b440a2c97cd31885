"""A/B/n: people drawn into arms by a key, counted by arm, and an alarm when an arm loses people."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from base.errors import InvalidInput
from campaigns import alarms, arms, campaigns, creatives, watch
from campaigns.campaigns import ArmIn, SlotChoice, Swap
from campaigns.models import Campaign
from render.arms import Arm, Split
from render.faults import validate
from render.plan import decode
from render.starting import STARTING
from tests.campaigns.mailing import mailed, words
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Web
from workers.reckoner import count


def trying(shop: Shop) -> dict[str, Any]:
    """A campaign's content with three arms: as it is, without its first offer, and with it in another design."""
    first, second, default = shop.offer(), shop.offer(), shop.offer("neutral")
    content = {name: value for name, value in msgspec.to_builtins(STARTING[1]).items() if name not in ("id", "name")}
    with shop.sessions.begin() as session:
        other = creatives.create_creative(session, "Another", content, shop.now, MANAGER).id
    return {
        "slots": [SlotChoice(slot=0, default=default, offers=[first, second]), SlotChoice(slot=1, default=default)],
        "arms": [
            ArmIn(name="As it is", share=0.5),
            ArmIn(name="Without", share=0.25, without=[first]),
            ArmIn(name="Other look", share=0.25, creatives=[Swap(offer=first, creative=other)]),
        ],
    }


@pytest.mark.feature("CM-66")
def test_it_writes_the_arm_that_an_open_draws_beside_every_delivery(web: Web) -> None:
    campaign = mailed(web, 400, content_holdout=0.25, **trying(web.shop))
    with web.shop.sessions.begin() as session:
        row = campaigns.campaign(session, campaign)
        plan = decode(web.shop.blobs.get(row.plan_hash or ""))
    assert isinstance(plan.split, Split)
    ledger = web.shop.ledger(campaign)
    decided = [row for row in ledger if row.holdout == "none"]
    assert [row.arm for row in decided] == [plan.split.arm_of(row.profile_id) for row in decided]
    assert {row.arm for row in ledger if row.holdout == "content"} == {None}
    sizes = [sum(row.arm == number for row in decided) / len(decided) for number in range(3)]
    assert sizes == pytest.approx([0.5, 0.25, 0.25], abs=0.1)
    # Another campaign's key draws other groups: who is in which arm here says nothing of there.
    other = msgspec.structs.replace(plan.split, key=b"another")
    same = sum(other.arm_of(row.profile_id) == row.arm for row in decided) / len(decided)
    assert same == pytest.approx(0.375, abs=0.1)


@pytest.mark.feature("CM-66")
def test_it_shows_each_arm_its_own_offers_and_designs(web: Web) -> None:
    campaign = web.shop.campaign(**trying(web.shop))
    with web.shop.sessions.begin() as session:
        plan = decode(web.shop.blobs.get(campaigns.campaign(session, campaign).plan_hash or ""))
    (first, second), design = plan.slots[0].offers, plan.offers[0].creative
    other = next(creative.id for creative in plan.creatives if creative.id != design)
    shown = [(version.slots[0].offers, version.offer_by_id[first].creative) for version in plan.by_arm]
    assert shown == [((first, second), design), ((second,), design), ((first, second), other)]
    assert {version.creatives for version in plan.by_arm} == {plan.creatives}
    assert isinstance(plan.split, Split)
    wrong = msgspec.structs.replace(
        plan, split=Split(key=b"k", arms=(Arm(name="a", share=1.0), Arm(name="a", share=0.0, without=(99,))))
    )
    assert [fault.partition(":")[0] for fault in validate(wrong)] == ["arms", "arms[1].share", "arms[1]"]


def test_it_counts_success_by_arm(web: Web) -> None:
    program, browser = web.program("manager"), web.browser("manager")
    campaign = mailed(web, 60, content_holdout=0.0, **trying(web.shop))
    program.told("PUT", f"/campaigns/{campaign}/goal", {"metric": "orders", "window_days": 7})
    told = program.told("GET", f"/campaigns/{campaign}/arms")
    assert [arm["group"] for arm in told["arms"]] == ["As it is", "Without", "Other look"]
    assert sum(arm["people"] for arm in told["arms"]) == 60
    assert [(one["first"], one["against"]) for one in told["lifts"]] == [
        ("Without", "As it is"), ("Other look", "As it is")
    ]  # fmt: skip
    assert [one["stage"] for one in told["checks"]] == ["mailed", "opened"]
    page = words(browser.get(f"/campaigns/{campaign}/results").text)
    assert "Not enough data Without against As it is:" in page
    assert "Groups are whole: people mailed: As it is" in page


def written(web: Web, campaign: int) -> list[dict[str, Any]]:
    """The arms of a campaign as it is written now."""
    with web.shop.sessions.begin() as session:
        return campaigns.campaign(session, campaign).arms


def test_it_keeps_the_arms_that_a_form_describes(web: Web) -> None:
    browser = web.browser("manager")
    campaign = web.shop.campaign(published=False)
    at = f"/campaigns/{campaign}/arms/"
    with web.shop.sessions.begin() as session:
        offer = campaigns.campaign(session, campaign).slots[0]["offers"][0]
    browser.get(at)
    form = {"name-0": "A", "share-0": "50", "name-1": "B", "share-1": "50", f"look-1-{offer}": "without"}
    assert browser.post(at, **form).status_code == 302
    kept = written(web, campaign)
    assert [(arm["name"], arm["share"], arm["without"]) for arm in kept] == [("A", 0.5, []), ("B", 0.5, [offer])]
    assert '<option value="without" selected>' in browser.get(at).text
    alone = browser.post(at, **{"name-0": "A", "share-0": "50"})
    assert alone.status_code == 400
    assert "must be none, or two and more" in alone.text
    assert browser.post(at).status_code == 302
    assert written(web, campaign) == []


def test_it_lets_nobody_move_to_another_arm(web: Web) -> None:
    content = trying(web.shop)
    campaign = mailed(web, 10, **content)
    with web.shop.sessions.begin() as session:
        row = campaigns.campaign(session, campaign)
        changed = msgspec.structs.replace(campaigns.content(row), arms=content["arms"][:2])
        campaigns.update_campaign(session, campaign, changed, web.shop.now, MANAGER)
    with pytest.raises(InvalidInput, match="people are in its arms"):
        web.shop.publish(campaign)


# --- groups that lose people

PEOPLE = 40_000
FILL = """
    INSERT INTO delivery (campaign_id, occurrence, profile_id, state, holdout, arm, created_at, sent_at)
    SELECT :campaign, 1, number, 'accepted', 'none', number % 2, :now, :now FROM generate_series(1, :people) AS number
"""
OPEN = """
    INSERT INTO "fetch" (id, at, profile_id, campaign_id, occurrence, slot, kind, lane, fetch_class, size,
                         content_type, personal, rung, public, public_sha256)
    SELECT number::text, :now, number, :campaign, 1, 0, 'picture', 'live', 'person', 1, 'image/jpeg', false, 'drawn',
           '', '' FROM generate_series(CAST(:first AS int), :people) AS number
    WHERE number % 2 = 0 OR number % 40 >= :lost
"""


@pytest.mark.feature("CM-66")
def test_it_alarms_when_an_arm_loses_a_twentieth_of_its_exposures(web: Web) -> None:
    """Of the people who opened, one in twenty of the second arm is not on record."""
    shop = web.shop
    campaign = shop.campaign(
        arms=[ArmIn(name="First", share=0.5), ArmIn(name="Second", share=0.5)],
    )
    half = {"campaign": campaign, "now": shop.now, "people": PEOPLE // 2}
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE campaign SET state = 'finished' WHERE id = :campaign"), half)
        session.execute(
            text(
                "INSERT INTO occurrence (campaign_id, number, state, due_at, frozen_at)"
                " VALUES (:campaign, 1, 'finished', :now, :now)"
            ),
            half,
        )
        session.execute(text(FILL), half | {"people": PEOPLE})
        # Up to here everybody who opened was counted.
        session.execute(text(OPEN), half | {"first": 1, "lost": 0})
        # So large a campaign is counted ahead; until then nothing is known of it.
        assert arms.keep_checks(session, shop.now) == 0
        count(session, shop.blobs, campaign, shop.now)
        assert arms.keep_checks(session, shop.now) == 2
        assert arms.broken(session, shop.now) == 0
        session.execute(text('DELETE FROM "fetch"'))
        session.execute(text(OPEN), half | {"first": 1, "people": PEOPLE, "lost": 2})
        count(session, shop.blobs, campaign, shop.now)
        assert arms.keep_checks(session, shop.now) == 2
        assert session.get(Campaign, campaign) is not None
        seen = watch.measures(session, shop.blobs, shop.store, shop.store, shop.now)
    firing = [one.alarm.name for one in alarms.standings(seen) if one.is_firing]
    assert "GroupsBroken" in firing
    told = {one["stage"]: one for one in web.program("manager").told("GET", f"/campaigns/{campaign}/arms")["checks"]}
    assert told["opened"]["counts"] == {"First": PEOPLE // 2, "Second": PEOPLE // 2 * 19 // 20}
    assert (told["mailed"]["is_broken"], told["opened"]["is_broken"]) == (False, True)
    page = words(web.browser("manager").get(f"/campaigns/{campaign}/results").text)
    assert "The groups are not whole. Of people who opened, possibly: First 20,000 (19,500 expected)" in page
