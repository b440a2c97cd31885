"""How offers compete, as managers set it: worth and rest of an offer, draws of a place, factors, the contact limit."""

from __future__ import annotations

from typing import Any

import pytest

from campaigns import campaigns, contacts, offers
from campaigns.campaigns import CampaignIn, SlotChoice
from campaigns.models import Offer
from campaigns.offers import OfferIn
from campaigns.ranking import FatigueIn, PolicyIn
from render.arbitration import Policy
from render.plan import decode
from tests.campaigns.web import Web, told

WORTH = {"incentive_cents": "2.50", "aftercare_cents": "0.75", "lever": "1,5", "prior": "4", "value_cents": "20",
         "rest_after": "ignored", "rest_times": "3", "rest_within_days": "30", "rest_off_days": "60"}  # fmt: skip


def test_it_keeps_what_an_offer_gives_away_and_when_it_rests(web: Web) -> None:
    browser = web.browser("manager")
    number = web.shop.offer()
    page = browser.get(f"/offers/{number}")
    with web.shop.sessions.begin() as session:
        row = offers.offer(session, number)
        usual = {"name": row.name, "kind": row.kind, "creative_id": row.creative_id, "landing": row.landing}
    assert 'name="lever" type="text" value="1"' in page.text
    assert browser.post(f"/offers/{number}", **usual, **WORTH).status_code == 302
    with web.shop.sessions.begin() as session:
        content = offers.content(offers.offer(session, number))
        assert (content.incentive_cents, content.aftercare_cents, content.lever, content.prior) == (250, 75, 1.5, 0.04)
        assert offers.offer(session, number).fatigue == [
            {"after": "ignored", "times": 3, "within_days": 30, "off_days": 60}
        ]
    again = browser.get(f"/offers/{number}").text
    for shown in ('name="lever" type="text" value="1.5"', 'value="2.50"', 'value="60"'):
        assert shown in again
    for field, value, said in (
        ("lever", "much", "must be a number"),
        ("lever", "101", "must be at most 100"),
        ("prior", "101", "from 0 to 100"),
        ("rest_off_days", "", "is missing"),
    ):
        refused = browser.post(f"/offers/{number}", **(usual | WORTH | {field: value}))
        assert (refused.status_code, said in refused.text) == (400, True), field


def test_it_publishes_how_a_place_draws_and_what_counts(web: Web) -> None:
    browser = web.browser("manager")
    number = web.shop.campaign()
    browser.get(f"/campaigns/{number}/offers")
    with web.shop.sessions.begin() as session:
        row = campaigns.campaign(session, number)
        first, second = row.slots
        form = {
            f"turn-0-{first['offers'][0]}": "1", "default-0": first["default"], "default-1": second["default"],
            "default_landing": row.default_landing, "mode-0": "model", "policy-0": "softmax", "temperature-0": "0.25",
            "floor-0": "4", "top-0": "3", "factor-probability": "on", "factor-value": "on", "factor-context": "on",
            "lift-complaint": "3", "ranks": "effect",
        }  # fmt: skip
    assert browser.post(f"/campaigns/{number}/offers", **form).status_code == 302
    plan = decode(web.shop.blobs.get(web.shop.publish(number)))
    assert plan.slots[0].policy == Policy("softmax", temperature_cents=25.0, floor=0.04, top=3)
    assert plan.arbitration.lever is False  # type: ignore[union-attr]
    assert plan.arbitration.effect is True  # type: ignore[union-attr]
    assert [(one.name, one.weights) for one in plan.arbitration.contexts] == [  # type: ignore[union-attr]
        ("complaint", {"service": 3.0})
    ]
    page = browser.get(f"/campaigns/{number}/offers").text
    assert 'value="softmax" selected' in page
    assert '<option value="effect" selected>' in page
    assert 'name="lift-complaint" inputmode="decimal" placeholder="1" value="3"' in page
    # A context of the API's own is kept by the form that cannot show it.
    program = web.program("manager")
    kept_so = program.told("GET", f"/campaigns/{number}")
    content = {name: kept_so[name] for name in CampaignIn.__struct_fields__}
    own = {"name": "payday", "rule": {"field": "now.weekday", "op": "=", "value": 5}, "weights": {"upsell": 2.0}}
    content["arbitration"] = {"contexts": [own]}
    program.told("PUT", f"/campaigns/{number}", content)
    assert "payday" in browser.get(f"/campaigns/{number}/offers").text
    kept = form | {"keep_contexts": "1", "factor-lever": "on", "ranks": "chance"}
    assert browser.post(f"/campaigns/{number}/offers", **kept).status_code == 302
    with web.shop.sessions.begin() as session:
        assert campaigns.campaign(session, number).arbitration == {"contexts": [own]}
    for field, value in (
        ("floor-0", "40"), ("lift-cancelling", "much"), ("top-0", "99"), ("policy-0", "thompson"),
    ):  # fmt: skip
        assert browser.post(f"/campaigns/{number}/offers", **(form | {field: value})).status_code == 400, field


def test_it_refuses_what_it_does_not_know_of_how_offers_compete_and_reads_what_is_stored(web: Web) -> None:
    program, browser = web.program("manager"), web.browser("manager")
    own = {"name": "payday", "rule": {"field": "now.weekday", "op": "=", "value": 5}, "weights": {"upsell": 2.0}}
    rest: dict[str, Any] = {"after": "ignored", "times": 2, "within_days": 30, "off_days": 60}
    offer = web.shop.offer(fatigue=[FatigueIn(**rest), FatigueIn(**rest | {"times": 3})])
    default = web.shop.offer("neutral")
    choice = SlotChoice(slot=0, default=default, offers=[offer], mode="model", policy=PolicyIn("softmax", top=3))
    number = web.shop.campaign(slots=[choice, SlotChoice(slot=1, default=default)])
    written = program.told("GET", f"/campaigns/{number}")
    content = {name: written[name] for name in CampaignIn.__struct_fields__}
    (first, second), policy = content["slots"], content["slots"][0]["policy"]
    faults: tuple[tuple[dict[str, Any], str], ...] = (
        ({"arbitration": {"contexts": [own], "levers": False}}, "arbitration.levers"),
        ({"arbitration": {"contexts": [own | {"weight": 2}]}}, "arbitration.contexts[0].weight"),
        ({"slots": [first | {"policy": policy | {"topp": 2}}, second]}, "slots[0].policy.topp"),
    )
    for changed, field in faults:
        refused = told(program.call("PUT", f"/campaigns/{number}", content | changed), 400)
        assert (refused["field"], "unknown field" in refused["detail"]) == (field, True)
    kept = program.told("GET", f"/offers/{offer}")
    body = {name: kept[name] for name in OfferIn.__struct_fields__} | {"fatigue": [rest | {"for": 1}]}
    assert told(program.call("PUT", f"/offers/{offer}", body), 400)["field"] == "fatigue[0].for"

    # What another version wrote is read without what this one does not know.
    program.told("PUT", f"/campaigns/{number}", content | {"arbitration": {"contexts": [own], "lever": False}})
    before = [program.told("GET", path) for path in (f"/campaigns/{number}", f"/offers/{offer}")]
    with web.shop.sessions.begin() as session:
        row = campaigns.campaign(session, number)
        row.arbitration = {"contexts": [own | {"later": 1}], "lever": False, "later": 2}
        row.slots = [row.slots[0] | {"policy": policy | {"later": 3}}, *row.slots[1:]]
        session.get_one(Offer, offer).fatigue = [rest | {"later": 4}, rest | {"times": 3}]
    assert [program.told("GET", path) for path in (f"/campaigns/{number}", f"/offers/{offer}")] == before
    assert "payday" in browser.get(f"/campaigns/{number}/offers").text
    form = {f"turn-0-{offer}": "1", "default-0": default, "default-1": default, "mode-0": "model"}
    form |= {"default_landing": "https://shop.example.com/", "keep_contexts": "1"}
    assert browser.post(f"/campaigns/{number}/offers", **form).status_code == 302
    with web.shop.sessions.begin() as session:
        assert (campaigns.campaign(session, number).arbitration or {})["contexts"] == [own]
    web.shop.publish(number)


@pytest.mark.parametrize("by", ["page", "api"])
def test_it_sets_and_lifts_how_many_mails_a_person_gets(web: Web, by: str) -> None:
    browser, program = web.browser("admin"), web.program("admin")
    browser.get("/system/")
    if by == "page":
        assert browser.post("/system/contact-limit", most="2", period_days="7").status_code == 302
    else:
        program.told("PUT", "/system/contact-limit", {"most": 2, "period_days": 7})
    assert program.told("GET", "/system/contact-limit") == {"limit": {"most": 2, "period_days": 7}}
    assert "at most 2 mails within 7 days" in browser.get(f"/campaigns/{web.shop.campaign()}/audience").text
    browser.post("/system/contact-limit", most="2", period_days="")
    assert "must be given with the other" in browser.get("/system/").text
    if by == "page":
        browser.post("/system/contact-limit", most="", period_days="")
    else:
        program.told("DELETE", "/system/contact-limit")
    with web.shop.sessions.begin() as session:
        assert contacts.limit(session) is None
