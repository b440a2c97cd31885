"""Who may not approve, and ways round an approval that are closed: after the end, by another brand, by the switch."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from campaigns import authorship, campaigns, creatives, offers, scenarios, segments, transitions
from campaigns.admin_log import Actor
from campaigns.campaigns import SlotChoice
from campaigns.models import Approval
from campaigns.scenarios import Expected, ScenarioIn
from tests.campaigns.shop import MANAGER, named
from tests.campaigns.test_approvals import Office
from tests.campaigns.web import Web
from workers.schedule import Scheduler


def rebrand(office: Office, brand: str) -> None:
    """Move the campaign to another brand, as whoever may write it can."""
    with office.shop.sessions.begin() as session:
        written = campaigns.content(campaigns.campaign(session, office.campaign))
        changed = msgspec.structs.replace(written, brand=brand)
        campaigns.update_campaign(session, office.campaign, changed, office.shop.now, MANAGER)


def test_it_asks_for_approval_by_the_brand_that_was_approved_too_and_after_the_end(web: Web) -> None:
    office, shop = Office(web), web.shop
    scheduler = Scheduler(shop.settings, shop.sessions, shop.store, shop.queues, shop.blobs, shop.clock)
    office.admin.told("PUT", "/system/approval", {"brand": "Shoes", "required": False})
    office.approve(office.ask(due_at=office.moment()))
    rebrand(office, "Shoes")
    office.admin.told("POST", f"{office.at}/publish")
    refused = office.scheduled()
    assert (refused.status_code, "approved" in refused.text) == (409, True)

    rebrand(office, "")
    office.approve(office.ask())
    scheduler.tick()
    assert shop.state(office.campaign) == "sending"
    rebrand(office, "Shoes")
    assert office.admin.call("POST", f"{office.at}/publish").status_code == 409
    rebrand(office, "")
    with shop.sessions.begin() as session:
        transitions.cancel(session, office.campaign, shop.now, MANAGER)
    office.edit("A third word")
    assert office.admin.call("POST", f"{office.at}/publish").status_code == 409
    # A change of a cancelled campaign's mails can be approved as any other.
    assert office.approve(office.ask()).status_code == 302
    assert office.admin.told("GET", office.at)["missing"] == []


def test_it_pins_no_picture_that_nobody_approved(web: Web) -> None:
    office, shop = Office(web), web.shop
    own = shop.offer("neutral", fields={"headline": "Everything is free"})
    office.approve(office.ask(due_at=office.moment()))
    with shop.sessions.begin() as session:
        default = campaigns.campaign(session, office.campaign).slots[0]["default"]
    assert "the published plan" in office.admin.call("POST", f"{office.at}/kill?offer={own}").text
    page = office.writer.get(f"{office.at}/schedule").text
    assert (f'value="{own}"' in page, f'value="{default}"' in page) == (False, True)
    office.admin.told("POST", f"{office.at}/kill?offer={default}")
    with shop.sessions.begin() as session:
        written = offers.content(offers.offer(session, default))
        changed = msgspec.structs.replace(written, fields={"headline": "Everything is free"})
        offers.update_offer(session, default, changed, shop.now, MANAGER)
    assert office.admin.call("POST", f"{office.at}/kill?offer={default}").status_code == 400
    office.admin.told("POST", f"{office.at}/kill")


@pytest.mark.feature("CM-18")
def test_it_counts_whoever_wrote_an_offer_a_creative_a_segment_or_a_scenario_as_an_author(web: Web) -> None:
    office, shop = Office(web), web.shop
    by = {name: Actor(f"api key {name}") for name in ("offer", "creative", "inner", "outer", "scenario", "later")}
    with shop.sessions.begin() as session:
        row = campaigns.campaign(session, office.campaign)
        shown = offers.offer(session, row.slots[0]["offers"][0])
        drawn = creatives.creative(session, shown.creative_id)
        offers.update_offer(session, shown.id, offers.content(shown), shop.now, by["offer"])
        creatives.update_creative(session, drawn.id, drawn.name, drawn.document, shop.now, by["creative"])
        inner = segments.create_segment(session, "Inner", {"always": True}, shop.now, by["inner"]).id
        outer = segments.create_segment(session, "Outer", {"segment": inner}, shop.now, by["outer"]).id
        made = ScenarioIn(name="S", expected=(Expected(slot=0, kind="neutral"),))
        gone = scenarios.add(session, row, made, shop.now, by["scenario"]).id
        scenarios.remove(session, row, gone, shop.now, by["scenario"])
        changed = msgspec.structs.replace(campaigns.content(row), audience={"segment": outer})
        campaigns.update_campaign(session, office.campaign, changed, shop.now, MANAGER)
        # Written before the approval, and not in what is approved.
        late = offers.create_offer(session, named(offers.content(shown)), shop.now, by["later"]).id

    def authors(number: int) -> set[str]:
        with shop.sessions.begin() as session:
            row = campaigns.campaign(session, office.campaign)
            found = authorship.authors(session, row, session.get_one(Approval, number))
            return {name.removeprefix("api key ") for name in found} & set(by)

    first = office.ask(due_at=office.moment())
    assert authors(first) == set(by) - {"later"}
    assert office.approve(first).status_code == 302
    shop.clock.advance(timedelta(minutes=1))
    with shop.sessions.begin() as session:
        row = campaigns.campaign(session, office.campaign)
        slot = row.slots[0]
        places = [SlotChoice(slot=0, default=slot["default"], offers=[*slot["offers"], late])]
        changed = msgspec.structs.replace(campaigns.content(row), slots=[*places, *campaigns.content(row).slots[1:]])
        campaigns.update_campaign(session, office.campaign, changed, shop.now, MANAGER)
    assert authors(office.ask(due_at=office.moment())) == {"later"}
