"""The page on which a shop is connected."""

from __future__ import annotations

from signals.shops import tally
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web, told


def test_it_connects_a_shop_shows_its_secret_once_and_lists_what_it_tells(shop: Shop, web: Web) -> None:
    desk, program = web.desk("admin"), web.program("admin")
    desk.get("/system/shops/")
    made = desk.post("/system/shops/", name="Our Woo", platform="woocommerce", currency="eur", prefix="woo-").text
    (listed,) = program.told("GET", "/shops")["shops"]
    assert listed["url"] in made
    assert "Integration v3" in made
    with shop.sessions.begin() as session:
        tally(session, listed["id"], "coupon.created", "unknown topic", shop.now)
        tally(session, listed["id"], "", "forged", shop.now)
        tally(session, listed["id"], "customers/redact", "to be erased", shop.now)
    page = desk.get("/system/shops/").text
    for words in (
        listed["url"], "coupon.created", "acknowledged, not understood", "that was shown when", "unknown (not signed)",
        "Prefix for customer and order numbers", "asks for customers to be erased",
    ):  # fmt: skip
        assert words in page, words
    new = program.call("POST", "/shops", {"name": "Ours", "platform": "shopify", "secret": "shpss_12345"}).json
    assert new is not None
    assert new["secret"] == "shpss_12345"
    assert "shpss_12345" not in desk.get("/system/shops/").text
    assert desk.post(f"/system/sources/{new['id']}/end").status_code == 302
    assert "ended" in desk.get("/system/shops/").text
    assert web.desk("manager").get("/system/shops/").status_code == 403


def test_it_says_what_is_wrong_with_a_shop(web: Web) -> None:
    desk, program = web.desk("admin"), web.program("admin")
    desk.get("/system/shops/")
    for form in ({"platform": "shopify"}, {"platform": "odd"}, {"platform": "woocommerce", "currency": "EURO"},
                 {"platform": "shopify", "secret": "schlüssel-wort"}):  # fmt: skip
        answer = desk.post("/system/shops/", name="Shop", **form)
        assert (answer.status_code, 'role="alert"' in answer.text) == (400, True), form
    assert told(program.call("POST", "/shops", {"name": "S", "platform": "shopify"}), 400)["field"] == "secret"
