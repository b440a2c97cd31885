"""The page of the event stream at a browser: what it says of names, where it lies, and that it holds still."""

from __future__ import annotations

import io
import re
from typing import Any, Final

from playwright.sync_api import Browser, expect

from signals.importing import import_events
from signals.tabular import Rows, by_name, from_csv
from tests.campaigns.shop import Shop
from tests.campaigns.test_switches import open_page
from tests.campaigns.web import Web

ROWS: Final = "document.querySelectorAll('#stream tbody tr').length"


def test_it_says_how_names_are_looked_for_and_names_what_came_lately(shop: Shop, web: Web) -> None:
    shop.people("ann")
    shop.send(shop.order("ann", "Shoes", shop.now))
    support = web.desk("support")
    how = "Names are looked for as they were sent, capitals too."
    everything, other, known = (support.get(f"/stream/?{of}").text for of in ("", "name=order", "name=Order+Completed"))
    assert [how in page for page in (everything, other, known)] == [False, True, True]
    assert "Nothing fits" in other
    offered = everything.partition('<datalist id="event-names">')[2].partition("</datalist>")[0]
    assert '<option value="Order Completed">' in offered
    assert offered.count("<option") == len(set(re.findall(r'value="([^"]+)"', offered))), "each once"


def test_it_says_of_a_row_of_a_file_which_it_is_and_whether_anything_of_it_is_kept(shop: Shop, web: Web) -> None:
    rows = from_csv(
        io.BytesIO(b"userId,timestamp,event\nann,2026-01-05T09:00:00Z,Sold\nann,x,y,z\nann,someday,Sold\n"),
        lambda head: Rows(by_name(head)),
    )
    assert import_events(shop.intake, shop.source, rows, shop.now).rejected == 2
    for role in ("admin", "support"):
        desk = web.desk(role)
        page = desk.get("/stream/?status=refused").text
        assert "No name" not in page
        wide = desk.get(re.findall(r'href="(/stream/refused/\d+)"[^>]*>row of a table<', page)[0]).text
        assert "The row has 4 fields, the first line names 3 (row 2)." in wide
        assert ">Nothing of what it said is kept.<" in wide
        named = desk.get(re.findall(r'href="(/stream/refused/\d+)"[^>]*>Sold<', page)[0]).text
        assert "(row 3)." in named
        assert "someday" in named
        assert "Nothing of what it said" not in named


def test_it_lights_the_entry_of_the_menu_that_one_comes_from(web: Web) -> None:
    for role, path, title in (
        ("support", "/stream/", "Customers"), ("admin", "/stream/", "System"), ("support", "/segments/", "Customers"),
        ("manager", "/segments/", "Audience tools"),
    ):  # fmt: skip
        page = web.desk(role).get(path).text
        assert re.findall(r'aria-current="page">([^<]+)</a>', page) == [title], (role, path)


def test_it_takes_neither_the_focus_nor_the_row_from_under_a_pointer(
    shop: Shop, web: Web, serve: Any, chromium: Browser
) -> None:
    shop.people("ann")
    page = open_page(serve("campaigns", shop.settings), chromium, web, "/stream/", role="support")

    def came(name: str) -> None:
        shop.send({"type": "track", "userId": "ann", "event": name})

    def polled() -> None:
        """Wait until what was asked after this would have been shown."""
        page.wait_for_timeout(3_500)

    page.locator("#signals").focus()
    came("Lift Pressed")
    expect(page.locator("#stream")).to_contain_text("Lift Pressed", timeout=20_000)
    assert page.evaluate("document.activeElement.id") == "signals", "the list's own frame keeps it too"
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.id")
    assert focused.startswith("taken-")
    came("Door Opened")
    polled()
    assert page.evaluate("document.activeElement.id") == focused
    assert "Door Opened" not in page.locator("#stream").inner_text(), "it stands still under the keyboard"
    page.evaluate("document.activeElement.blur()")
    expect(page.locator("#stream")).to_contain_text("Door Opened", timeout=20_000)

    rows = page.evaluate(ROWS)
    page.locator("#stream tbody a").last.hover()
    came("Light Switched")
    polled()
    assert page.evaluate(ROWS) == rows, "it stands still under a pointer"
    page.mouse.move(5, 5)
    expect(page.locator("#stream")).to_contain_text("Light Switched", timeout=20_000)
    page.evaluate("id => document.getElementById(id).focus({focusVisible: false})", focused)
    came("Bell Rung")
    expect(page.locator("#stream")).to_contain_text("Bell Rung", timeout=20_000)
    assert page.evaluate("document.activeElement.id") == focused, "a link that was clicked stays where one is"
    page.context.close()
