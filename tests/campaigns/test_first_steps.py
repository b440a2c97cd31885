"""What a new user meets: long lists of offers, turns given twice, long names, the number before a send, the menu."""

from __future__ import annotations

import re

import pytest

from campaigns import creatives
from campaigns.campaigns import SlotChoice
from campaigns.models import Campaign, Creative
from campaigns.wording import FLAG_NAMES
from render.guard import FLAGS
from signals.catalog import Category
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Browser, Web

OPENED = re.compile(r'<details class="mb-3" open><summary class="mb-2">([^<]+)<')
LISTED = re.compile(r'name="turn-0-(\d+)"')


def rows(browser: Browser, campaign: int, query: str = "") -> list[int]:
    """The offers that the first place lists, in its order."""
    return [int(number) for number in LISTED.findall(browser.get(f"/campaigns/{campaign}/offers{query}").text)]


def drafted(shop: Shop, *chosen: int) -> int:
    """A draft whose first place shows these offers."""
    default = shop.offer("neutral")
    slots = [SlotChoice(slot=0, default=default, offers=list(chosen)), SlotChoice(slot=1, default=default)]
    return shop.campaign(published=False, slots=slots)


def chosen(shop: Shop, campaign: int) -> list[int]:
    with shop.sessions.begin() as session:
        return list(session.get_one(Campaign, campaign).slots[0]["offers"])


def test_it_searches_fifty_offers_and_keeps_those_that_have_a_turn_in_sight(shop: Shop, web: Web) -> None:
    made = [shop.offer(name=f"Deal {number:02}") for number in range(50)]
    shoes = shop.offer("cross-sell", name="Laces")
    campaign, browser = drafted(shop, made[7], made[3]), web.browser("manager")
    listed = rows(browser, campaign)
    assert listed[:2] == [made[7], made[3]]
    assert {*made, shoes} <= set(listed)
    assert rows(browser, campaign, "?q=CROSS-sell+lac") == [made[7], made[3], shoes]
    assert "No further offer fits" in browser.get(f"/campaigns/{campaign}/offers?q=nothing").text
    turns = {f"turn-0-{made[7]}": "1", f"turn-0-{made[3]}": "2", f"turn-0-{shoes}": "3"}
    form = {"default-0": chosen_default(shop, campaign), "default-1": chosen_default(shop, campaign)}
    saved = browser.post(f"/campaigns/{campaign}/offers", default_landing="https://shop.example.com/", **turns, **form)
    assert saved.status_code == 302, saved.text
    assert chosen(shop, campaign) == [made[7], made[3], shoes]


def test_it_lists_so_many_offers_and_says_how_many_more_there_are(
    shop: Shop, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("campaigns.views.turns.MOST_LISTED", 4)
    made = [shop.offer(name=f"Deal {number}") for number in range(9)]
    campaign = drafted(shop, made[8])
    page = web.browser("manager").get(f"/campaigns/{campaign}/offers").text
    assert [int(number) for number in LISTED.findall(page)] == [made[8], *made[:4]]
    assert re.search(r"[45] more are not listed", page), "those of the shop's own beginning count too"


def test_it_names_the_categories_of_offers_as_people_do_and_finds_offers_by_either(shop: Shop, web: Web) -> None:
    with shop.sessions.begin() as session:
        session.add(Category(slug="rain-jackets", name="Jackets for rain"))
    offer, browser = shop.offer("cross-sell", name="Dry", category="rain-jackets"), web.browser("manager")
    campaign = drafted(shop)
    page = browser.get(f"/campaigns/{campaign}/offers").text
    assert "cross-sell · Jackets for rain<" in page
    assert "· rain-jackets" not in page
    assert rows(browser, campaign, "?q=jackets+for") == rows(browser, campaign, "?q=rain-jackets") == [offer]


def chosen_default(shop: Shop, campaign: int) -> int:
    with shop.sessions.begin() as session:
        return int(session.get_one(Campaign, campaign).slots[0]["default"])


def test_it_warns_where_two_offers_were_given_the_same_turn(shop: Shop, web: Web) -> None:
    one, two, three = (shop.offer(name=name) for name in ("Socks", "Shoes", "Hats"))
    campaign, browser = drafted(shop), web.browser("manager")
    rows(browser, campaign)
    default = chosen_default(shop, campaign)
    form = {"default-0": default, "default-1": default, "default_landing": "https://shop.example.com/"}
    same = {f"turn-0-{one}": "2", f"turn-0-{two}": "2", f"turn-0-{three}": "1"}
    assert browser.post(f"/campaigns/{campaign}/offers", **form, **same).status_code == 302
    page = browser.get(f"/campaigns/{campaign}/offers").text
    assert "alert-warning" in page
    assert "In hero, “Socks” and “Shoes” have the same turn, 2. They get it in this order" in page
    assert chosen(shop, campaign) == [three, one, two]
    apart = same | {f"turn-0-{two}": "3"}
    assert browser.post(f"/campaigns/{campaign}/offers", **form, **apart).status_code == 302
    assert "the same turn" not in browser.get(f"/campaigns/{campaign}/offers").text


def test_it_says_before_a_send_how_many_people_it_goes_to(shop: Shop, web: Web) -> None:
    shop.people("ann", "bob")
    shop.people("cleo", consent=False)
    campaign, browser = drafted(shop, shop.offer()), web.browser("manager")
    schedule, counted = (browser.get(f"/campaigns/{campaign}/{part}").text for part in ("schedule", "audience/count"))
    assert 'data-confirm-counted="This mails {people} now, as counted on this page.' in schedule
    assert f'hx-get="/campaigns/{campaign}/audience/count" hx-trigger="load"' in schedule
    found = re.search(r'id="would-be-mailed" data-words="([^"]+)">(\d+)<', counted)
    assert found is not None
    with shop.sessions.begin() as session:
        people_mailed = int(found[2])
        assert session.get_one(Campaign, campaign).state == "draft"
    assert found[1] == f"{people_mailed} people"


def test_it_refuses_a_long_name_instead_of_cutting_it(shop: Shop, web: Web) -> None:
    browser = web.browser("manager")
    page = browser.get("/campaigns/new").text
    field = re.search(r'<input[^>]*id="f-name"[^>]*>', page)
    assert field is not None
    assert "maxlength" not in field[0], "a browser cuts what is pasted, and says nothing"
    form = {"layout": "offers", "landing": "https://shop.example.com/"}
    answer = browser.post("/campaigns/new", name="n" * 121, **form)
    assert (answer.status_code, "Name: must have at most 120 characters" in answer.text) == (400, True)
    assert f'value="{"n" * 121}"' in answer.text
    with shop.sessions.begin() as session:
        assert session.query(Campaign).count() == 0


def test_it_refuses_a_long_name_of_an_offer_too(shop: Shop, web: Web) -> None:
    browser, offer = web.browser("manager"), shop.offer()
    field = re.search(r'<input[^>]*id="f-name"[^>]*>', browser.get(f"/offers/{offer}").text)
    assert field is not None
    assert "maxlength" not in field[0], "a browser cuts what is pasted, and says nothing"
    answer = browser.post(f"/offers/{offer}", name="n" * 121, kind="replacement", landing="https://shop.example.com/")
    assert (answer.status_code, "must have at most 120 characters" in answer.text) == (400, True)
    assert f'value="{"n" * 121}"' in answer.text


def test_it_says_who_asked_for_the_scores_that_are_computed(shop: Shop, web: Web) -> None:
    browser = web.browser("manager")
    browser.get("/scores/")
    browser.post("/scores/run")
    assert "Asked for by A Person," in browser.get("/scores/").text


def test_it_asks_for_success_before_the_first_mail_only_where_none_has_left(shop: Shop, web: Web) -> None:
    browser, campaign = web.browser("manager"), shop.campaign()
    for state, asks in (("draft", True), ("scheduled", True), ("sending", False), ("finished", False)):
        with shop.sessions.begin() as session:
            session.get_one(Campaign, campaign).state = state
        page = browser.get(f"/campaigns/{campaign}/schedule").text
        assert ("Name it before the first mail leaves" in page) == asks, state


def test_it_tells_what_goes_out_from_what_is_finished(shop: Shop, web: Web) -> None:
    states = ("sending", "paused", "finished")
    for state in states:
        campaign = shop.campaign(name=f"It is {state}")
        with shop.sessions.begin() as session:
            session.get_one(Campaign, campaign).state = state
    page = web.browser("manager").get("/").text
    going, _, rest = page.partition("still answering opens")
    assert ("It is sending" in going, "It is paused" in going, "It is finished" in going) == (True, True, False)
    assert "It is finished" in rest


def steps(browser: Browser) -> list[str]:
    """Where the first steps on Home lead to."""
    _, _, section = browser.get("/").text.partition('id="first-steps"')
    return re.findall(r'<a class="btn" href="([^"]+)"', section.partition("</section>")[0])


def test_home_leads_through_the_first_steps_until_they_are_done(shop: Shop, web: Web) -> None:
    manager, admin = web.browser("manager"), web.browser("admin")
    write_keys = ["/system/sources", "/system/shops/"]
    left = ["/offers/new", "/creatives/", "/campaigns/new"]
    assert (steps(manager), steps(admin)) == (left, write_keys + left)
    assert "An admin makes the keys" in manager.get("/").text
    shop.people("ann")
    assert steps(admin) == left
    offer = shop.offer()
    assert steps(admin) == ["/creatives/", "/campaigns/new"]
    campaign = drafted(shop, offer)
    assert steps(admin) == ["/creatives/"]
    with shop.sessions.begin() as session:
        creatives.create_creative(session, "Ours", session.query(Creative).limit(1).one().document, shop.now, MANAGER)
    assert (steps(admin), "First steps" in admin.get("/").text) == ([], False)
    with shop.sessions.begin() as session:
        session.query(Creative).filter_by(name="Ours").delete()
        session.get_one(Campaign, campaign).state = "scheduled"
    assert steps(admin) == [], "who has published a campaign is past them"


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        ("/segments/", "Audience tools"), ("/exports/", "Audience tools"), ("/scores/", "Audience tools"),
        ("/relations/", "Offers"),
        ("/stream/", "System"), ("/customers/likely", "Customers"), ("/products/", "Products"),
        ("/system/shops/", "System"),
    ],
)  # fmt: skip
def test_it_marks_the_entry_of_the_menu_that_a_page_lies_under(web: Web, path: str, entry: str) -> None:
    page = web.browser("admin").get(path)
    assert page.status_code == 200, path
    assert re.findall(r'aria-current="page">([^<]+)</a>', page.text) == [entry]


def test_it_calls_flags_by_words(web: Web) -> None:
    assert set(FLAG_NAMES) == set(FLAGS)
    page = web.browser("manager").get("/scores/").text
    assert [name for name in FLAG_NAMES.values() if f">{name}<" not in page] == []


def test_it_folds_the_rare_fields_of_an_offer_until_they_say_something(shop: Shop, web: Web) -> None:
    browser = web.browser("manager")
    page = browser.get("/offers/new").text
    assert len(re.findall(r"<details", page)) == 6
    assert '<details class="mb-3" open' not in page
    number = shop.offer("cross-sell", cap_total=50, lever=1.0)
    page = browser.get(f"/offers/{number}").text
    assert re.findall(r'<details class="mb-3" open><summary class="mb-2">([^<]+)<', page) == [
        "How often it may be shown"
    ]
    refused = browser.post(
        "/offers/new", name="Late", kind="cross-sell", landing="https://shop.example.com/", lever="much"
    )
    opened = OPENED.findall(refused.text)
    assert (refused.status_code, opened) == (400, ["Costs, who gets the discount, and how it is ranked"])
