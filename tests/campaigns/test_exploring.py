"""The decision explorer: rankings as they are and under changed facts, which come true, and nothing is kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec.structs import replace
from sqlalchemy import text

from campaigns.campaigns import SlotChoice
from campaigns.exploring import Changes, changed
from signals.moments import unix_ms
from signals.products import take_products
from tests.campaigns.shop import Shop
from tests.campaigns.web import Program, Web, unsigned
from tests.render.shoe_shop import NOON, facts, plan, product, state

SOCKS = {"id": "socks-1", "title": "Socks", "price": "9.90 EUR", "product_type": "Shoes",
         "availability": "in_stock", "quantity": 5}  # fmt: skip


class Explorer:
    """A campaign of a replacement until shoes are bought, thanks after, gold for members, and socks in stock."""

    def __init__(self, web: Web) -> None:
        self.shop: Shop = web.shop
        self.program: Program = web.program("manager")
        shop = self.shop
        shop.intake.categories.learn(["Shoes"], create=True)
        (self.person,) = shop.people("ann")
        assert take_products(shop.intake, shop.source, [SOCKS], shop.now).refused == 0
        default = shop.offer("neutral", name="Default")
        member = {"field": "trait", "name": "card", "op": "=", "value": "gold"}
        offers = [
            shop.offer("replacement", name="Shoes", purpose_category="shoes", ends_at=shop.now + timedelta(days=2)),
            shop.offer("thank-you", name="Thanks", after_category="shoes", priority=1),
            shop.offer("service", name="Gold", beneficial=member, priority=2),
            shop.offer("cross-sell", name="Tights", product="socks-1", needs_stock=True, shows_price=True, priority=-1),
        ]
        slots = [SlotChoice(slot=0, default=default, offers=offers), SlotChoice(slot=1, default=default)]
        self.campaign = shop.campaign(slots=slots, published=False)

    def explored(self, profile: int | None = None, **changes: Any) -> Any:
        """The one place that has offers."""
        asked = {"profile": self.person if profile is None else profile, "changes": changes}
        (place,) = self.program.told("POST", f"/campaigns/{self.campaign}/explore", asked)["places"]
        return place

    def refused(self, **changes: Any) -> str:
        """The field that is at fault."""
        asked = {"profile": self.person, "changes": changes}
        answer = self.program.call("POST", f"/campaigns/{self.campaign}/explore", asked)
        assert answer.status_code == 400, answer.text
        return str((answer.json or {})["field"])


def fate(place: Any, name: str) -> tuple[str, str | None]:
    after = next(line["after"] for line in place["lines"] if line["name"] == name)
    return after["removed_by"], after["rule"]


def kept(shop: Shop) -> dict[str, Any]:
    """Everything that the stores hold, but for the access log and the counting of keys' use."""
    with shop.sessions.begin() as session:
        names = session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")).all()
        tables = {
            name: sorted(session.scalars(text(f'SELECT t::text FROM "{name}" t')).all())
            for name in names
            if name not in ("access_log", "unchained")
        }
    return tables | {str(key): shop.store.dump(key) for key in shop.store.scan_iter()}


def test_it_shows_what_each_change_of_facts_does_to_the_ranking_and_keeps_nothing(web: Web) -> None:
    made = Explorer(web)
    shop = made.shop
    before = kept(shop)
    plain = made.explored()
    assert [line["name"] for line in plain["lines"]] == ["Shoes", "Tights", "Gold", "Thanks"]
    assert all(line["before"] == line["after"] for line in plain["lines"])
    assert (plain["before"], fate(plain, "Shoes"), fate(plain, "Thanks")) == (
        "Shoes", ("shown", None), ("makes sense now", "nothing bought yet"),
    )  # fmt: skip
    with shop.sessions.begin() as session:
        shoes = session.scalar(text("SELECT id FROM category WHERE slug = 'shoes'"))
    bought = made.explored(bought=[shoes])
    assert (bought["before"], bought["after"], fate(bought, "Shoes")) == (
        "Shoes", "Thanks", ("makes sense now", "purpose met"),
    )  # fmt: skip
    later = made.explored(at=(shop.now + timedelta(days=3)).isoformat())
    assert (later["after"], fate(later, "Shoes"), fate(later, "Tights")) == (
        "Default", ("may have it", "ended"), ("makes sense now", "feed stale"),
    )  # fmt: skip
    assert fate(made.explored(product="socks-1", stock=0), "Tights") == ("makes sense now", "out of stock")
    assert made.explored(trait="card", value="gold")["after"] == "Gold"
    assert fate(made.explored(complained=True), "Shoes")[1] == "complaint open"
    assert kept(shop) == before

    # What was supposed comes true: the ranking is then what it was said to be.
    shop.send(shop.order("ann", "shoes", shop.now))
    true = made.explored()
    assert [line["after"] for line in true["lines"]] == [line["after"] for line in bought["lines"]]


def test_it_names_the_fact_that_cannot_be_changed(web: Web) -> None:
    made = Explorer(web)
    assert made.refused(product="no-such") == "product"
    assert made.refused(stock=3) == "product"
    assert made.refused(stock=-1) == "changes.stock"
    assert made.refused(price="free") == "changes.price"
    manager, path = web.browser("manager"), f"/campaigns/{made.campaign}/explore"
    page = manager.get(f"{path}?customer={made.person}").text
    assert "Shoes, as before" in page
    changed = manager.post(path, person="ann", bought="shoes", stock="", price="", trait="")
    assert "Thanks instead of Shoes" in changed.text
    assert "names nobody we know" in manager.post(path, person="nobody@example.com").text
    assert "names the category none" in manager.post(path, bought="none").text
    looks = "SELECT count(*) FROM access_log WHERE action = 'explore' AND profile_id = :p"
    with web.shop.sessions.begin() as session:
        assert session.scalar(text(looks), {"p": made.person}) == 2


def test_it_takes_a_number_from_a_url_and_neither_a_search_nor_a_fact(web: Web) -> None:
    explorer = Explorer(web)
    manager, path = web.browser("manager"), f"/campaigns/{explorer.campaign}/explore"
    unknown = manager.get(f"{path}?person=ann@example.com&bought=shoes&trait=card&value=gold").text
    assert unsigned(unknown) == unsigned(manager.get(path).text)
    assert "somebody unknown" in unknown
    assert "somebody unknown instead" in manager.get(f"{path}?customer={explorer.person}").text


def test_it_leaves_the_form_as_it_was_filled_in_where_something_must_be_put_right(web: Web) -> None:
    explorer = Explorer(web)
    filled = {"customer": explorer.person, "product": "socks-1", "price": "abc", "stock": "3"}
    page = web.browser("manager").post(f"/campaigns/{explorer.campaign}/explore", **filled)
    assert "Nothing to compare yet" in page.text
    assert "<option selected>socks-1</option>" in page.text
    assert 'value="abc"' in page.text
    assert f'name="customer" value="{explorer.person}"' in page.text
    nobody = web.browser("manager").post(
        f"/campaigns/{explorer.campaign}/explore", customer=explorer.person, person="nobody@example.com"
    )
    assert f'name="customer" value="{explorer.person}"' in nobody.text


def test_it_supposes_a_price_whatever_sale_is_known() -> None:
    known = facts(state(), products={"tights-1": replace(product(), sale_cents=2999)})

    def supposed(**changes: Any) -> tuple[int, int | None]:
        told = changed(plan(), known, Changes(product="tights-1", **changes), NOON).products["tights-1"]
        return told.priced(unix_ms(NOON)).price_cents, told.stock

    assert supposed(stock=3) == (2999, 3)
    assert supposed(price_cents=4000) == (4000, 5)
