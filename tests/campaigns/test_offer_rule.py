"""To whom an offer may be shown, as rows of its page: kept, counted, refused by row, asked at opens."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import expect

from base.errors import InvalidInput
from campaigns import offers, ruleform, segments
from render.plan import LAYERS
from signals.rules import parse
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.test_pages import Form
from tests.campaigns.test_segments import bought, shop
from tests.campaigns.test_switches import open_page
from tests.campaigns.web import Browser, Web

__all__ = ["shop"]

BOUGHT = {"field": "purchases.count", "category": "shoes", "op": ">=", "value": 1}
DEEP = {"any": [{"all": [{"any": [BOUGHT, {"field": "now.weekday", "op": "=", "value": 5}]}]}]}


def kept(shop: Shop, number: int) -> dict[str, Any] | None:
    """The rule for whom an offer makes sense, as it is stored."""
    with shop.sessions.begin() as session:
        return offers.offer(session, number).relevant


def segment(shop: Shop, name: str) -> int:
    """A segment of who bought shoes."""
    with shop.sessions.begin() as session:
        return segments.create_segment(session, name, BOUGHT, shop.now, MANAGER).id


def save(browser: Browser, number: int, **changes: str) -> Any:
    """The page of an offer, sent as it is but for some fields."""
    form = Form(browser.get(f"/offers/{number}").text).fields
    return browser.post(f"/offers/{number}", **(form | changes))


def test_it_keeps_what_the_rows_say_shows_them_again_and_takes_them_away(shop: Shop, web: Web) -> None:
    browser, number = web.browser("manager"), shop.offer(name="Laces")
    inside = segment(shop, "Runners")
    rows = bought() | {"condition-1": f"out-{inside}"}
    assert save(browser, number, **rows).status_code == 302
    assert kept(shop, number) == {"all": [BOUGHT, {"not": {"segment": inside}}]}
    page = browser.get(f"/offers/{number}").text
    assert 'value="bought" data-needs="category comparison value" selected' in page
    assert f'<option value="out-{inside}" selected>not in “Runners”</option>' in page
    assert f'<option value="in-{inside}">in “Runners”</option>' in page
    assert save(browser, number, name="Red laces").status_code == 302
    assert kept(shop, number) == {"all": [BOUGHT, {"not": {"segment": inside}}]}
    assert f"/offers/{number}" in browser.get(f"/segments/{inside}").text
    assert save(browser, number, **{"condition-0": "", "condition-1": ""}).status_code == 302
    assert kept(shop, number) is None
    form = Form(browser.get("/offers/new").text).fields | {"name": "Hat", "landing": "https://shop.example.com/"}
    made = browser.post("/offers/new", **(form | bought(category="hats")))
    assert made.status_code == 302, made.text
    assert kept(shop, int(made.location.rsplit("/", 1)[1])) == {"all": [BOUGHT | {"category": "hats"}]}


@pytest.mark.parametrize(
    "rule",
    [
        BOUGHT,
        {"any": [BOUGHT]},
        {"always": True},
        {"field": "trait", "name": "first_name", "op": "=", "value": "Ann"},
        {"all": [{"field": "trait", "name": "nickName", "op": "present"}, {"not": {"segment": 1}}]},
        {"all": [BOUGHT, {"any": [{"segment": 1}, {"field": "complaint.open", "op": "=", "value": True}]}]},
    ],
)  # fmt: skip
def test_a_rule_that_rows_show_stays_as_it_was_written_until_a_row_is_changed(
    shop: Shop, web: Web, rule: dict[str, Any]
) -> None:
    segment(shop, "Runners")
    browser, number = web.browser("manager"), shop.offer(relevant=rule)
    assert "rows cannot show" not in browser.get(f"/offers/{number}").text
    assert save(browser, number, name="Another name").status_code == 302
    assert kept(shop, number) == rule
    changed = {"condition-7": "complaint", "value-7": "no", "join": ruleform.joined(rule)}
    assert save(browser, number, **changed).status_code == 302
    now = kept(shop, number)
    assert now is not None
    assert now[ruleform.joined(rule)][-1] == {"field": "complaint.open", "op": "=", "value": False}
    parse(now, {"shoes": 1, "hats": 2}, "eligibility")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (DEEP, "times they bought Shoes at least 1 or day of their week is 5"),
        ({"field": "product.stock", "op": "<", "value": 5}, "stock of the product less than 5"),
        ({"field": "trait", "name": "balance", "op": "<", "value": -5}, "balance less than -5"),
        ({"field": "orders.amount", "op": ">=", "value": 1250.5}, "spent in all at least 12.51"),
        ({"field": "trait", "name": "email_opt_in", "op": "=", "value": True}, "email_opt_in is yes"),
        ({"always": False}, "nobody"),
    ],
)
def test_a_rule_that_rows_cannot_show_is_said_in_words_and_kept(
    shop: Shop, web: Web, rule: dict[str, Any], words: str
) -> None:
    legal = {"field": "household.oldest", "op": ">=", "value": 18}
    browser, number = web.browser("manager"), shop.offer(relevant=rule, legal=legal)
    page = browser.get(f"/offers/{number}").text
    assert words in page
    assert "age of the oldest in their household at least 18" in page
    assert 'name="condition-0"' not in page
    assert save(browser, number, name="Another name").status_code == 302
    with shop.sessions.begin() as session:
        row = offers.offer(session, number)
        assert (row.name, row.relevant, row.legal) == ("Another name", rule, legal)


def test_a_fault_is_named_by_its_row_beside_what_was_typed(shop: Shop, web: Web) -> None:
    browser, number = web.browser("manager"), shop.offer(relevant=BOUGHT)
    for row, words, part in (
        (bought(1, value="few"), "needs a number for the value", "value"),
        (bought(1, category=""), "needs a category", "category"),
        (bought(1, category="gone"), "there is no category", "category"),
        (bought(1, condition="bought_within", days="4000"), "looks back at most 3660 days", "days"),
        (bought(1, condition="bought_within", days="-3"), "needs a whole number of days", "days"),
        (bought(1, condition="bought_within", days="a month"), "needs a whole number of days", "days"),
        ({"condition-1": "churn", "comparison-1": ">=", "value-1": "130"}, "needs a percentage from 0 to 100", "value"),
        ({"condition-1": "in-999"}, "names the segment 999, which there is not", "condition"),
        ({"condition-1": "intent", "comparison-1": "=", "value-1": "a" * 129}, "at most 128 characters", "value"),
        (
            {"condition-1": "trait", "name-1": "email", "comparison-1": "missing"},
            "asks for email, which is not kept",
            "name",
        ),
        ({"condition-1": "trait", "value-1": "blue"}, "needs the name of a trait", "name"),
        ({"condition-1": "intent", "comparison-1": ">=", "value-1": "3"}, "asks for a word", "comparison"),
    ):
        answer = save(browser, number, headline="Typed", **row)
        assert answer.status_code == 400
        typed, beside = answer.text.split('<div class="invalid-feedback d-block" id="rule-fault" role="alert">')
        assert beside.startswith("Row 2: "), beside[:80]
        assert words in beside.partition("</div>")[0]
        row_of_it = typed.rpartition("<fieldset")[2]
        (marked,) = re.findall(r"<(?:input|select)[^>]* aria-invalid[^>]*>", row_of_it)
        assert f'aria-describedby="rule-fault" autofocus name="{part}-1"' in marked
        assert 'value="Typed"' in typed
        assert Form(answer.text).fields["value-1"] == row.get("value-1", "")
    assert kept(shop, number) == BOUGHT


def test_no_rule_of_an_offer_may_name_a_segment_that_there_is_not(shop: Shop) -> None:
    for layer in LAYERS:
        with pytest.raises(InvalidInput, match="names the segment 999, which there is not") as refused:
            shop.offer(**{layer: {"not": {"segment": 999}}})
        assert refused.value.field == f"{layer}.not.segment"
        for number in (0, -1, 2**31, 2**80, True, "7", 7.0, None):
            with pytest.raises(InvalidInput, match="must be a whole number from 1 to 2147483647") as refused:
                shop.offer(**{layer: {"any": [BOUGHT, {"segment": number}]}})
            assert refused.value.field == f"{layer}.any[1].segment"


def test_it_counts_by_the_rows_what_opens_would_ask(shop: Shop, web: Web) -> None:
    browser, inside = web.browser("manager"), segment(shop, "Runners")

    def counted(**form: str) -> str:
        return browser.get(f"/segments/would-be?{urlencode(form | {'where': 'eligibility'})}").text

    assert "where=eligibility" in browser.get("/offers/new").text
    assert ">2</strong>" in counted(**bought())
    assert ">1</strong>" in counted(**{"condition-0": f"out-{inside}"})
    assert "Row 1: names the segment 999" in counted(**{"condition-0": "in-999"})
    named = {"condition-0": "trait", "name-0": "first_name", "comparison-0": "=", "value-0": "Ann"}
    assert "only opens can tell" in counted(**named)
    assert "kept sealed" in browser.get(f"/segments/would-be?{urlencode(named)}").text
    number = shop.offer()
    assert save(browser, number, **named).status_code == 302
    assert kept(shop, number) == {"all": [{"field": "trait", "name": "first_name", "op": "=", "value": "Ann"}]}


def test_rows_of_an_offer_are_chosen_and_counted_in_a_browser(
    shop: Shop, web: Web, serve: Any, chromium: Chromium
) -> None:
    number = shop.offer(name="Laces", fields={"headline": "x" * 500, "body": "y" * 500, "eyebrow": "z" * 500})
    page = open_page(serve("campaigns", shop.settings), chromium, web, f"/offers/{number}")
    count = page.locator(".rules-count")
    page.select_option("select[name=condition-0]", "bought")
    expect(count).to_contain_text("Row 1: needs a category")
    page.select_option("select[name=category-0]", "shoes")
    page.fill("input[name=value-0]", "1")
    expect(count).to_contain_text("2 of 3 customers")
    page.get_by_role("button", name="Save").locator("visible=true").first.click()
    expect(page.locator("body")).to_contain_text("Saved.")
    expect(page.locator("select[name=condition-0]")).to_have_value("bought")
    expect(count).to_contain_text("2 of 3 customers")
    assert kept(shop, number) == {"all": [BOUGHT]}
    page.select_option("select[name=condition-1]", "bought_within")
    boxes = [page.locator(f"[name={name}-1]").bounding_box() for name in ("category", "days", "comparison", "value")]
    assert len({box["y"] for box in boxes if box is not None}) == 1, "all that goes with the days stands in one line"
    page.context.close()


def test_without_scripts_it_says_where_they_are_counted(shop: Shop, web: Web) -> None:
    browser, number = web.browser("manager"), shop.offer()
    hint = browser.get(f"/offers/{number}").text.partition("<noscript>")[2].partition("</noscript>")[0]
    assert "Who would get it now" in hint
    hint = browser.get("/segments/new").text.partition("<noscript>")[2].partition("</noscript>")[0]
    assert "counted once this is saved" in hint
