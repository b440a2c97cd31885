"""Where a browser is after a form was refused: at the field at fault, in sight, with scripts and without."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from campaigns import permissions, segments
from signals.suppression import suppress
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.test_pages import Form
from tests.campaigns.web import PASSWORD, Web

PAGES: Final = Path(__file__).parents[2] / "templates" / "ui"
IN_SIGHT: Final = """() => {
    const box = document.activeElement.getBoundingClientRect();
    return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight;
}"""
FORMS: Final = {
    "/offers/{offer}": ("value_cents", "much"),
    "/customers/{ann}/household": ("other", "nobody"),
    "/system/sources": ("name", " "),
    "/customers/{ann}": ("text", " "),
    "/segments/new": ("name", " "),
    "/customers/{ann}/permissions": ("why", " "),
}
"""A page, and what to type into which field of it."""


@pytest.fixture
def numbers(shop: Shop) -> dict[str, int]:
    """An offer and a customer to put in paths."""
    return {"offer": shop.offer(name="Laces"), "ann": shop.people("ann")[0]}


@pytest.fixture
def visit(web: Web, serve: Any, chromium: Browser) -> Iterator[Any]:
    """Opens a path as an admin, in a window that most forms do not fit into."""
    served, contexts = serve("campaigns", web.shop.settings), []

    def opened(path: str, *, scripts: bool = True) -> Page:
        context = chromium.new_context(viewport={"width": 1000, "height": 500}, java_script_enabled=scripts)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{served.url}/sign-in")
        page.fill("input[name=email]", web.person("admin"))
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
        page.wait_for_url(lambda url: "/sign-in" not in url)
        page.goto(served.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()


def refused(page: Page, path: str, field: str, typed: str) -> None:
    """Send a form of the page with this in one of its fields, and whatever else it wants filled in."""
    page.goto(path)
    form = page.locator(f"form:has([name={field}])").last
    for box in form.locator("input:required, textarea:required").all():
        if not box.input_value():
            box.fill("Something")
    form.locator(f"[name={field}]").fill(typed)
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        form.locator("button.btn-primary").last.click()
    assert answer.value.status == 400, path
    page.wait_for_load_state()


def comes_in_sight(page: Page) -> bool:
    """Whether what has the focus is in sight, once the browser has scrolled there; asked from outside, for a page
    without scripts has no timers."""
    for _ in range(50):
        if page.evaluate(IN_SIGHT):
            return True
        page.wait_for_timeout(100)
    return False


@pytest.mark.parametrize("scripts", [True, False])
def test_a_refused_form_comes_back_at_the_field_at_fault(visit: Any, numbers: dict[str, int], scripts: bool) -> None:
    page = visit("/", scripts=scripts)
    root = page.url.partition("//")[2].partition("/")[0]
    for path, (field, typed) in FORMS.items():
        at = f"http://{root}{path.format(**numbers)}"
        page.goto(at)
        assert page.locator("[autofocus], [aria-invalid]").count() == 0, path
        assert page.evaluate("document.activeElement.tagName") == "BODY", f"{path}: nothing is wrong yet"
        refused(page, at, field, typed)
        expect(page.locator("main :focus")).to_have_count(1)
        assert page.evaluate("document.activeElement.name") == field, path
        assert page.evaluate("document.activeElement.getAttribute('aria-invalid')") == "true", path
        assert comes_in_sight(page), path
        told = page.locator(f"[id='{page.locator(':focus').get_attribute('aria-describedby')}']")
        assert told.is_visible(), f"{path}: it says what is wrong with it"


def test_a_fold_opens_over_a_field_at_fault_and_a_sentence_stands_in_where_no_field_is(
    visit: Any, numbers: dict[str, int]
) -> None:
    page = visit(f"/offers/{numbers['offer']}")
    page.locator("summary", has_text="Costs, who gets the discount").click()
    page.fill("#f-prior", "likely")
    page.locator("button:has-text('Save') >> visible=true").first.click()
    expect(page.locator("#f-prior")).to_be_focused()
    assert comes_in_sight(page)
    page.goto(page.url.partition("/offers")[0] + "/system/tracking-plan/")
    for field, typed in (("name", "Fitting Booked"), ("p0", "height"), ("p1", "age"), ("most1", "old")):
        page.fill(f"[name={field}]", typed)
    expect(page.locator("[name=p3]")).to_be_hidden()
    page.click("text=Plan it")
    expect(page.locator("[name=most1]")).to_be_focused()
    assert comes_in_sight(page)
    page.goto(page.url.partition("/system")[0] + "/system/gateways/")
    page.fill("#f-name", "Texts")
    page.fill("#f-url", "http://texts.example")
    page.click("text=Set up >> visible=true >> nth=-1")
    expect(page.locator("main .alert-danger")).to_be_focused()
    assert comes_in_sight(page)


def test_every_field_that_a_page_marks_is_marked_in_one_way() -> None:
    marked = [path.name for path in PAGES.rglob("*.html") if re.search(r"is-invalid|aria-invalid", path.read_text())]
    assert marked == ["macros.html"]


def test_rows_bear_the_numbers_that_faults_name_them_by(web: Web, numbers: dict[str, int]) -> None:
    desk, few = web.desk("manager"), {"condition-1": "orders", "comparison-1": ">=", "value-1": "few"}
    campaign = web.shop.campaign(published=False)
    for path in ("/segments/new", f"/offers/{numbers['offer']}", f"/campaigns/{campaign}/audience"):
        form = Form(desk.get(path).text).fields | {"name": "Many"}
        page = desk.post(path, **(form | few))
        assert page.status_code == 400, path
        row = page.text.partition('<legend class="visually-hidden">Row 2</legend>')[2].partition("</fieldset>")[0]
        assert 'aria-hidden="true">2</span>' in row
        assert re.search(r'aria-invalid="true" aria-describedby="rule-fault" autofocus name="value-1"', row), path
        assert "Row 2: needs a number for the value" in row
        assert page.text.count("Row 2: needs") == 1, f"{path}: once, where it was typed"


@pytest.mark.parametrize(
    ("row", "part", "said"),
    [
        ({"condition": "trait", "name": "email_sha", "comparison": ">=", "value": "3"}, "comparison", "kept sealed"),
        ({"condition": "bought", "category": "gone", "comparison": ">=", "value": "1"}, "category", "no category"),
        ({"condition": "in-999"}, "condition", "names the segment 999, which there is not"),
    ],
)
def test_a_row_that_cannot_be_asked_any_more_is_marked_wherever_rows_are(
    web: Web, numbers: dict[str, int], row: dict[str, str], part: str, said: str
) -> None:
    desk, shop = web.desk("manager"), web.shop
    typed = {"condition-0": "orders", "comparison-0": ">=", "value-0": "1"}
    typed |= {f"{name}-1": value for name, value in row.items()}
    with shop.sessions.begin() as session:
        rule = {"field": "orders.count", "op": ">=", "value": 2}
        segment = segments.create_segment(session, "Standing", rule, shop.now, MANAGER).id
    campaign = shop.campaign(published=False)
    for path in ("/segments/new", f"/segments/{segment}", f"/campaigns/{campaign}/audience"):
        page = desk.post(path, **(Form(desk.get(path).text).fields | {"name": "Many"} | typed))
        assert page.status_code == 400, path
        at = page.text.partition('<legend class="visually-hidden">Row 2</legend>')[2].partition("</fieldset>")[0]
        assert re.search(rf'aria-invalid="true" aria-describedby="rule-fault" autofocus name="{part}-1"', at), path
        assert "Row 2: " in at, path
        assert said in at, path
        assert "alert-danger" not in page.text, path
        again = Form(page.text).fields
        assert {name: again.get(name) for name in typed} == typed, f"{path}: what was typed stays until it is changed"
    counted = desk.get(f"/segments/would-be?{urlencode(typed)}").text
    assert "Not complete yet. Row 2: " in counted
    assert said in counted


def test_a_row_that_leads_back_to_its_own_segment_is_marked(web: Web, shop: Shop) -> None:
    desk = web.desk("manager")
    with shop.sessions.begin() as session:
        rule = {"field": "orders.count", "op": ">=", "value": 2}
        inner = segments.create_segment(session, "Inner", rule, shop.now, MANAGER).id
        outer = segments.create_segment(session, "Outer", {"segment": inner}, shop.now, MANAGER).id
    form = Form(desk.get(f"/segments/{inner}").text).fields | {"condition-1": f"out-{outer}"}
    page = desk.post(f"/segments/{inner}", **form)
    assert page.status_code == 400
    assert re.search(r'aria-invalid="true" aria-describedby="rule-fault" autofocus name="condition-1"', page.text)
    assert "Row 2: the segment Inner contains itself" in page.text


def test_it_says_how_many_rows_are_the_most_once_all_are_filled(visit: Any) -> None:
    page = visit("/segments/new")
    full = page.locator(".rules-full")
    for number in range(8):
        assert not full.is_visible(), number
        page.select_option(f"select[name=condition-{number}]", "orders")
    assert full.is_visible()
    assert "8 rows" in full.inner_text()


def test_a_reason_that_is_missing_is_marked_in_the_form_that_asks_for_it(web: Web, shop: Shop) -> None:
    ann, bob = shop.people("ann", "bob")
    support = web.desk("support")
    path = f"/customers/{ann}/household"
    support.get(path)
    assert support.post(path, chosen=str(bob), why="Told us").status_code == 302
    with shop.sessions.begin() as session:
        suppress(session, shop.settings.hash_key, "ann@example.com", "bounced", shop.now)
        (mark,) = [one.mark for one in permissions.addresses(session, ann)]
    allowed = f"/customers/{ann}/permissions"
    for at, form, marked in (
        (path, {"other": "bob", "role": ""}, "f-why"),
        (f"{path}/leave", {}, "why-left"),
        (allowed, {"purpose": "email"}, "why-consent"),
        (f"/customers/{ann}/addresses/lift", {"address": mark}, "Why this address may be mailed again"),
    ):
        page = support.post(at, **form, why=" ")
        assert page.status_code == 400, at
        (field,) = re.findall(r"<input[^>]* aria-invalid[^>]*>", page.text)
        assert f'"{marked}"' in field, at
        assert not re.search(r"alert-danger|\bWhy: ", page.text), f"{at}: said once, under the name that it has there"


def test_a_line_of_the_tracking_plan_that_holds_something_or_is_at_fault_is_in_sight(visit: Any) -> None:
    page = visit("/system/tracking-plan/")
    more = page.locator(".lines-full")
    page.fill("[name=name]", "Fitting Booked")
    for line in range(8):
        assert not more.is_visible(), line
        page.fill(f"[name=p{line}]", f"part{line}")
    assert "more lines come once it is saved" in more.inner_text()
    for line, (name, typed) in enumerate((("most", "5"), ("least", "1"), ("values", "red"))):
        page.fill(f"[name={name}{line + 2}]", typed)
    page.check("[name=required6]")
    page.select_option("[name=type7]", "whole")
    for line in (7, 6, 5, 4, 3, 2, 1):
        page.fill(f"[name=p{line}]", "")
        assert page.locator(f"[name=p{line}]").is_visible(), f"{line}: it is written in"
    page.locator("[name=p0]").focus()
    seen = [page.locator(f"[name=p{line}]").is_visible() for line in range(8)]
    assert seen == [True, True, True, True, True, False, True, True], "line 6 alone is empty behind an empty one"
    page.click("text=Plan it")
    expect(page.locator("[name=p2]")).to_be_focused()
    expect(page.locator("[name=p2]")).to_have_attribute("aria-invalid", "true")
    for line in (2, 3, 4, 6):
        expect(page.locator(f"[name=p{line}]")).to_be_visible()


def test_the_last_line_of_the_tracking_plan_comes_back_at_fault_where_those_before_it_were_emptied(web: Web) -> None:
    desk = web.desk("admin")
    page = desk.post("/system/tracking-plan/", name="Fitting Booked", least15="5")
    assert page.status_code == 400
    assert re.search(r'<input class="form-control is-invalid"[^>]* autofocus name="p15"', page.text)


CUT_OFF: Final = """box => {
    const pen = document.createElement("canvas").getContext("2d"), cut = [];
    for (const option of box.options) {
        box.value = option.value;
        const looks = getComputedStyle(box);
        pen.font = `${looks.fontWeight} ${looks.fontSize} ${looks.fontFamily}`;
        const room = box.clientWidth - parseFloat(looks.paddingLeft) - parseFloat(looks.paddingRight);
        if (pen.measureText(option.textContent).width > room) cut.push(option.textContent);
    }
    return cut;
}"""
"""The options of a select that are longer than it, when they are chosen."""


HIDDEN_PART: Final = """box => {
    const pen = document.createElement("canvas").getContext("2d"), looks = getComputedStyle(box);
    pen.font = `${looks.fontWeight} ${looks.fontSize} ${looks.fontFamily}`;
    const room = box.clientWidth - parseFloat(looks.paddingLeft) - parseFloat(looks.paddingRight);
    return Math.max(0, pen.measureText(box.value).width - room);
}"""
"""How much of what is typed in a field, in pixels, is not in sight."""


@pytest.mark.parametrize(("field", "typed"), [("days", "40000"), ("value", "abcd")])
def test_what_was_typed_is_in_sight_beside_the_mark_of_its_fault(
    visit: Any, shop: Shop, field: str, typed: str
) -> None:
    shop.intake.categories.learn(["Shoes"], create=True)
    page = visit("/segments/new")
    page.fill("[name=name]", "Many")
    page.select_option("[name=condition-0]", "bought_within")
    page.select_option("[name=category-0]", "shoes")
    for name, told in ({"days": "30", "value": "1"} | {field: typed}).items():
        page.fill(f"[name={name}-0]", told)
    page.click("button.btn-primary >> visible=true")
    at_fault = page.locator(f"[name={field}-0][aria-invalid]")
    expect(at_fault).to_be_focused()
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert at_fault.evaluate(HIDDEN_PART) == 0, width
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_no_condition_of_a_row_is_cut_off(visit: Any, numbers: dict[str, int]) -> None:
    page = visit("/segments/new")
    root = page.url.partition("/segments")[0]
    for path in ("/segments/new", f"/offers/{numbers['offer']}"):
        page.goto(root + path)
        for opened in page.locator("details:has(.rules):not([open]) > summary").all():
            opened.click()
        page.select_option("[name=condition-0]", "orders")
        page.select_option("[name=condition-1]", "orders")
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            for row, tied in ((0, False), (1, False), (1, True)):
                if row:
                    page.set_checked(f"[name=tie-{row}]", tied)
                assert page.locator(f"[name=condition-{row}]").evaluate(CUT_OFF) == [], (path, width, row, tied)
