"""What pages say of a fault in a form: the field by the name that stands on the page, in units that are typed there."""

from __future__ import annotations

import re

import pytest

from campaigns import campaigns
from tests.campaigns.web import Web


def test_it_names_the_line_of_a_tracking_plan(web: Web) -> None:
    desk = web.desk("admin")
    desk.get("/system/tracking-plan/")
    refused = desk.post("/system/tracking-plan/", name="Fitting Booked", p1="height", type1="number", most1="tall")
    assert (refused.status_code, "Up to, line 2: must be a number" in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("return_cost", "-5", "A return: must be an amount from 0 to 100,000.00"),
        ("service_cost", "much", "A service contact: must be an amount such as 4.50"),
    ],
)
def test_it_tells_what_costs_may_be_in_units_of_the_currency(web: Web, field: str, typed: str, words: str) -> None:
    number, desk = web.shop.campaign(), web.desk("manager")
    path = f"/campaigns/{number}/schedule"
    desk.get(path)
    refused = desk.post(path, do="costs", margin_share="40", profit_days="30", **{field: typed})
    assert (refused.status_code, words in refused.text) == (400, True), refused.text


@pytest.mark.parametrize("typed", ["-1", "0", "1.5", "first"])
def test_it_names_the_offer_whose_turn_is_none(web: Web, typed: str) -> None:
    shop, desk = web.shop, web.desk("manager")
    number, shoes = shop.campaign(), shop.offer(name="Red shoes")
    with shop.sessions.begin() as session:
        slots = campaigns.campaign(session, number).slots
    desk.get(f"/campaigns/{number}/offers")
    form = {f"default-{place}": str(one["default"]) for place, one in enumerate(slots)}
    refused = desk.post(f"/campaigns/{number}/offers", **form, **{f"turn-0-{shoes}": typed})
    assert refused.status_code == 400
    assert "Turn: of “Red shoes” must be a whole number such as 1, and at least 1" in refused.text


def test_a_note_of_blanks_keeps_the_page_and_says_so_beside_the_field(web: Web) -> None:
    (ann,) = web.shop.people("ann")
    desk = web.desk("support")
    desk.get(f"/customers/{ann}")
    refused = desk.post(f"/customers/{ann}/notes", kind="complaint", text="  ")
    assert refused.status_code == 400
    beside = refused.text.partition('id="told-text"')[2].partition("</form>")[0]
    assert "It must not be empty." in beside
    assert '<option value="complaint" selected>' in refused.text
    assert '<li class="timeline-entry' in refused.text


def test_it_names_the_receiver_of_an_export_and_asks_for_https_first(web: Web) -> None:
    desk = web.desk("manager")
    number = web.program("manager").told("POST", "/segments", {"name": "All", "rule": {"always": True}})["id"]
    desk.get("/exports/")
    for url in ("http://localhost:1/x", "http://shop.example.com/x", "shop.example.com"):
        page = desk.post("/exports/", name="Ads", segment=str(number), url=url)
        assert (page.status_code, "Receiver: must begin with https://" in page.text) == (400, True), url
        assert re.search(rf'aria-describedby="e-url" [^>]*value="{re.escape(url)}"', page.text), "kept, and marked"
    assert "Receiver: must use port 80 or 443" in desk.post("/exports/", name="Ads", segment=str(number),
                                                            url="https://shop.example.com:1/").text  # fmt: skip


def test_a_fault_of_a_band_or_of_the_guard_stands_where_it_was_typed(web: Web) -> None:
    desk = web.desk("manager")
    desk.get("/scores/")
    for edges, told in (
        ({"at_least": "50", "below": "20"}, "Up to: must be greater than the other edge"),
        ({"at_least": "", "below": ""}, "From: must be given, or the other edge"),
    ):
        page = desk.post("/scores/bands", name="Odd", score="churn", **edges)
        field = told.partition(":")[0]
        above, _, card = page.text.partition('id="bands"')
        assert (page.status_code, told in card, told in above) == (400, True, False)
        assert 'action="/scores/bands#bands"' in card, "a browser goes there"
        marked = re.findall(r'is-invalid"[^>]* id="f-(\w+)"', page.text)
        assert marked == [{"Up to": "below", "From": "at_least"}[field]]
    page = desk.post("/scores/guard", **{"margin": "35", "contact": "4.5", "return": "-2"})
    card = page.text.partition('id="guard"')[2]
    assert (page.status_code, "A return costs: must not be below 0" in card) == (400, True)
    for kept in ('value="35"', 'value="4.5"', 'value="-2"'):
        assert kept in card
