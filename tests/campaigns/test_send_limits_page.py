"""The limits of sending as people and programs set them, and as a campaign that waits tells of them."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from campaigns import audience, sendlimits, transitions
from campaigns.models import Delivery
from tests.campaigns.web import Web

FORM = {
    "per_second": "50", "per_hour": "", "per_day": "100000",
    "domains-0": "Gmail.com, googlemail.com", "per_hour-0": "2000", "domains-1": "*", "per_second-1": "5",
    "warm-0": "news.example.com", "begins-0": "2026-03-01", "ceilings-0": "50, 100, 500",
    "stop_percent": "7.5", "stop_least": "50",
}  # fmt: skip


def test_it_sets_limits_on_the_page_and_tells_them_by_the_api(web: Web) -> None:
    admin, manager = web.desk("admin"), web.desk("manager")
    admin.get("/system/send-limits/")
    assert admin.post("/system/send-limits/", **FORM).status_code == 302
    told = web.program("manager").told("GET", "/system/send-limits")
    assert told["limits"] == {
        "everything": {"per_second": 50, "per_hour": None, "per_day": 100_000},
        "domains": [
            {"domains": ["gmail.com", "googlemail.com"], "per_second": None, "per_hour": 2000, "per_day": None},
            {"domains": ["*"], "per_second": 5, "per_hour": None, "per_day": None},
        ],
        "warm_ups": [{"domain": "news.example.com", "begins_at": "2026-03-01T00:00:00Z", "ceilings": [50, 100, 500]}],
        "breaker": {"share": 0.075, "least": 50},
    }
    assert [(one["key"], one["most"]) for one in told["used"]] == [
        ("all", 50), ("all", 100_000), ("domain:gmail.com", 2000), ("sender:news.example.com", 100),
    ]  # fmt: skip
    page = manager.get("/system/send-limits/").text
    assert 'value="gmail.com, googlemail.com"' in page
    assert "day 2 of 3, at most 100 mails" in page
    assert "Set the limits" not in page
    # What the page shows is what it takes.
    written = web.program("admin").told("PUT", "/system/send-limits", told["limits"])
    assert written == told["limits"]


def test_it_names_the_field_that_is_wrong_and_keeps_what_was_typed(web: Web) -> None:
    admin, program = web.desk("admin"), web.program("admin")
    admin.get("/system/send-limits/")
    for changes, words in (
        ({"per_second": "0"}, "Per second: must be at least 1"),
        ({"domains-0": "not a domain"}, "must be domains such as example.com, not not"),
        ({"domains-1": "gmail.com"}, "must name gmail.com once"),
        ({"domains-2": "example.org"}, "must have a number of mails for example.org"),
        ({"begins-0": ""}, "needs the day on which the domain begins to send"),
        ({"stop_least": "3"}, "must be at least 20"),
        ({"ceilings-0": "50, 40"}, "must not shrink from one day to the next"),
    ):
        answer = admin.post("/system/send-limits/", **(FORM | changes))
        assert answer.status_code == 400
        assert words in answer.text, words
        assert 'value="100000"' in answer.text
    refused = program.call("PUT", "/system/send-limits", {"everything": {"per_hour": 0}})
    assert refused.status_code == 400
    assert program.told("GET", "/system/send-limits")["limits"]["everything"]["per_day"] is None


def test_it_says_in_the_campaign_why_mails_wait_and_until_when(web: Web) -> None:
    shop = web.shop
    shop.people("ann", "bob", "cleo")
    campaign = shop.campaign()
    shop.schedule(campaign)
    with shop.sessions.begin() as session:
        audience.freeze(session, campaign, 1, shop.now, shop.settings.hash_key)
        transitions.begin(session, campaign, shop.now)
        session.execute(
            update(Delivery)
            .where(Delivery.id > 1)
            .values(reason="limit_hour", waits_for="all 3600", not_before=shop.now + timedelta(minutes=9))
        )
    page = web.desk("manager").get(f"/campaigns/{campaign}/progress").text
    assert f"2 mails wait: {sendlimits.WORDS['limit_hour']}; the next from 2 Mar 2026, 12:09:00." in page
