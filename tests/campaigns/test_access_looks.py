"""The access log: every look at a person by page and API is noted, and support sees no more than it must."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from campaigns.models import AccessEntry
from tests.campaigns.desk import Desk
from tests.campaigns.test_access_logs import entries
from tests.campaigns.web import Web


def looks(desk: Desk) -> Iterator[tuple[str, Callable[[], Any]]]:
    ada = desk.web.shop.profile("ada")
    number, _ = desk.unknown()
    support, manager = desk.web.browser("support"), desk.web.browser("manager")
    support.get("/customers/")
    for query in ("nobody", "ada@example.com"):
        yield query, partial(support.post, "/customers/", q=query)
    yield "customer", partial(support.get, f"/customers/{ada}")
    yield "stream", partial(support.get, "/stream/")
    yield "signal", partial(support.get, f"/stream/refused/{desk.refused()}")
    for name in ("merges", "known", "household"):
        yield name, partial(support.get, f"/customers/{ada}/{name}")
    segment = f"/segments/{desk.segment_id()}/members"
    yield segment, partial(support.get, segment)
    yield segment, partial(desk.program.call, "GET", segment)
    yield "erase", partial(desk.browser.get, f"/customers/{ada}/erase")
    for path in (f"/campaigns/{number}/ledger", f"/campaigns/{number}/ledger.csv",
                 f"/campaigns/{number}/preview?customer={ada}",
                 f"/campaigns/{number}/preview/mail?customer={ada}"):  # fmt: skip
        yield path, partial(manager.get, path)
    yield "search", lambda: desk.program.call("POST", "/customers/search", {"q": "ada@example.com"})
    for path in (f"/customers/{ada}", f"/customers/{ada}/timeline", "/customers/ties", "/customers/likely",
                 f"/customers/{ada}/merges", f"/customers/{ada}/known", f"/customers/{ada}/household",
                 "/signals", f"/signals/refused/{desk.refused()}",
                 f"/campaigns/{number}/deliveries"):  # fmt: skip
        yield path, partial(desk.program.call, "GET", path)
    yield "preview", lambda: desk.program.call("POST", f"/campaigns/{number}/preview", {"profile": ada})


@pytest.mark.feature("SU-12")
def test_it_notes_every_look_at_a_person(web: Web) -> None:
    desk = Desk(web)
    for path, look in looks(desk):
        before = len(entries(web, AccessEntry))
        assert look().status_code in (200, 302), path
        newest = entries(web, AccessEntry)[before:]
        assert newest, path
        assert newest[-1].remote == "127.0.0.1"
        assert newest[-1].user_id is not None or newest[-1].actor.startswith("api key ")
        assert "@" not in str(newest[-1].detail), "no address is kept in the log"


@pytest.mark.feature("SU-12")
def test_it_notes_every_search_also_one_that_finds_nobody(web: Web) -> None:
    desk = Desk(web)
    ada, number = web.shop.profile("ada"), web.shop.campaign()
    searches: dict[str, Callable[[str], Any]] = {
        "customers": lambda typed: desk.browser.post("/customers/", q=typed),
        "stream": lambda typed: desk.browser.post("/stream/", person=typed),
        "merge": lambda typed: desk.browser.post(f"/customers/{ada}/merges", other=typed),
        "household": lambda typed: desk.browser.post(
            f"/customers/{ada}/household", other=typed, role="", why="Said so"
        ),
        "preview": lambda typed: desk.browser.post(f"/campaigns/{number}/preview", person=typed),
        "test": lambda typed: desk.browser.post(
            f"/campaigns/{number}/schedule", do="test", person=typed, address="me@example.com"
        ),
    }
    for place, search in searches.items():
        for typed, found in (("nobody@example.com", 0), ("ada@example.com", 1)):
            before = len(entries(web, AccessEntry))
            search(typed)
            noted = [row.detail for row in entries(web, AccessEntry)[before:] if row.action == "search"]
            assert noted == [{"found": found}], (place, typed)


@pytest.mark.feature("SU-12")
def test_it_lets_support_export_no_list_and_masks_what_they_need_not_see(web: Web) -> None:
    desk = Desk(web)
    number, _ = desk.unknown()
    support, manager, admin = (web.browser(role) for role in ("support", "manager", "admin"))
    assert support.get(f"/campaigns/{number}/ledger.csv").status_code == 403
    assert web.program("support").call("GET", f"/campaigns/{number}/deliveries").status_code == 403
    assert "Export" not in support.get(f"/campaigns/{number}/ledger").text
    assert "Ada" in support.get(f"/campaigns/{number}/ledger").text
    assert "Ada" not in manager.get(f"/campaigns/{number}/ledger").text
    export = manager.get(f"/campaigns/{number}/ledger.csv").text
    assert export.count("\r\n") == 2
    assert "@" not in export
    page = f"/customers/{web.shop.profile('ada')}"
    assert "a•••@example.com" in support.get(page).text
    assert "ada@example.com" not in support.get(page).text
    assert "ada@example.com" in admin.get(page).text
    assert "ada@example.com" not in web.program("support").call("GET", page).text
