"""The keys of programs and pages, and how a shop's server names its visitors."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import select

from base import keys
from base.tokens import Purpose, TokenKeys
from campaigns import people
from campaigns.models.accounts import ApiKey
from render.identity import MOST_MINUTES, read_identity
from signals.erasure import erase
from signals.events import Event
from signals.profiles import Profile
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web, told


def test_it_makes_a_site_key_on_the_page_shows_it_once_and_revokes_it(shop: Shop, web: Web) -> None:
    desk = web.desk("admin")
    desk.get("/system/keys")
    made = desk.post(
        "/system/keys", name="Shop pages", kind="site", origins="https://Shop.example.com/\nhttp://localhost:3000"
    )
    found = re.search(r"<code>(lb[0-9a-f]{12}\.[\w-]+)</code>", made.text)
    assert found
    key_id = found[1].partition(".")[0]
    assert "data-latebind-slot" in made.text
    assert found[1] not in desk.get("/system/keys").text
    assert "https://shop.example.com, http://localhost:3000" in desk.get("/system/keys").text
    stored = shop.store.get(keys.api_key(key_id))
    with shop.sessions.begin() as session:
        (row,) = people.keys(session)
        assert (row.kind, row.origins) == ("site", ["https://shop.example.com", "http://localhost:3000"])
        assert isinstance(stored, bytes)
        assert b"https://shop.example.com" in stored
    assert desk.post(f"/system/keys/{key_id}/revoke").status_code == 302
    assert shop.store.get(keys.api_key(key_id)) is None
    assert web.desk("manager").get("/system/keys").status_code == 403


def test_it_refuses_what_is_no_origin(shop: Shop, web: Web) -> None:
    desk, program = web.desk("admin"), web.program("admin")
    desk.get("/system/keys")
    for origin in (
        "", "shop.example.com", "http://shop.example.com", "https://shop.example.com/page", "https://u@shop.example.com",
        "*", "null", "https://shop.example.com:x", "javascript:alert(1)", "https://",
    ):  # fmt: skip
        answer = desk.post("/system/keys", name="Shop pages", kind="site", origins=origin)
        assert (answer.status_code, 'role="alert"' in answer.text) == (400, True)
        body = {"name": "Shop pages", "kind": "site", "origins": [origin]}
        assert told(program.call("POST", "/keys", body), 400)["field"] == "origins"
    assert [row.kind for row in _rows(shop)] == ["server"]


def test_it_names_a_customer_to_servers_for_good_and_to_pages_for_a_while(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    program, tokens = web.program("support"), TokenKeys.from_settings(shop.settings)
    named = program.told("POST", "/customers/identity", {"type": "user_id", "value": "ann", "minutes": 30})
    assert tokens.read(named["profile"], Purpose.PROFILE).profile == ann
    assert read_identity(tokens, named["person"], shop.now + timedelta(minutes=29)) == ann
    assert read_identity(tokens, named["person"], shop.now + timedelta(minutes=31)) is None
    assert program.call("POST", "/customers/identity", {"type": "user_id", "value": "nobody"}).status_code == 404
    longer = {"type": "user_id", "value": "ann", "minutes": MOST_MINUTES + 1}
    assert program.call("POST", "/customers/identity", longer).status_code == 400
    assert (
        web.program("manager").call("POST", "/customers/identity", {"type": "user_id", "value": "ann"}).status_code
        == 403
    )


@pytest.mark.feature("DE-11")
def test_it_names_whom_signals_with_a_shared_address_alone_count_for(shop: Shop, web: Web) -> None:
    program, tokens = web.program("support"), TokenKeys.from_settings(shop.settings)
    shop.people("ann", "bob", "cleo", "dora")
    home = {"email": "home@example.com"}
    for name in ("bob", "ann", "dora", "cleo"):
        shop.send({"type": "identify", "userId": name, "traits": home})
        shop.clock.advance(timedelta(hours=1))
    root_of = shop.known()

    def named() -> int:
        answer = program.told("POST", "/customers/identity", {"type": "email", "value": " Home@example.com"})
        return tokens.read(answer["profile"], Purpose.PROFILE).profile

    def counted() -> int:
        """Who has the order that is told with the address alone."""
        number = f"o{shop.now.timestamp()}"
        told = {"event": "Order Completed", "properties": {"order_id": number, "total": 1}}
        shop.send({"type": "track", "anonymousId": number, "context": {"traits": home}} | told)
        ordered = select(Profile.root_id).join(Event, Event.profile_id == Profile.id)
        with shop.sessions.begin() as session:
            return session.scalars(ordered.where(Event.order_id == number)).one()

    assert named() == counted() == root_of["bob"], "who stated it first"
    for left, heir in (("bob", "ann"), ("ann", "dora")):
        erase(shop.intake, root_of[left], shop.now)
        shop.clock.advance(timedelta(hours=1))
        assert named() == counted() == root_of[heir], f"after {left} it is {heir}'s"


def _rows(shop: Shop) -> list[ApiKey]:
    with shop.sessions.begin() as session:
        return people.keys(session)


def test_pages_and_logs_name_the_key_that_did_something(shop: Shop, web: Web) -> None:
    shop.send(*({"type": "identify", "userId": name, "traits": {}} for name in ("ann", "bob", "cy")))
    ann, bob, cy = (shop.profile(name) for name in ("ann", "bob", "cy"))
    program, desk, campaign = web.program("admin"), web.desk("admin"), shop.campaign()
    kept = f"api key {program.key.partition('.')[0]}"
    named = {"name": "key “program”", "actor": kept, "user_id": None}
    program.told("POST", f"/customers/{ann}/household", {"other": bob, "why": "Told by phone"})
    program.told("POST", f"/customers/{bob}/merges", {"other": cy})
    program.told("POST", f"/campaigns/{campaign}/kill", {})
    program.told("GET", f"/customers/{ann}")
    for log in ("changes", "looks"):
        newest = program.told("GET", f"/system/{log}")["entries"][0]
        assert {one: newest[one] for one in named} == named, log
    paths = (f"/customers/{ann}/household", f"/customers/{bob}/merges", f"/campaigns/{campaign}/schedule")
    for path in ("/system/", *paths):
        page = desk.get(path).text
        assert "key “program”" in page, path
        assert kept not in page, path
    program.told("POST", f"/campaigns/{campaign}/lock")
    assert 'Locked by <strong class="wrap-any">key “program”<' in desk.get(f"/campaigns/{campaign}/checks/").text
    desk.post(f"/campaigns/{campaign}/checks/unlock")
    assert program.told("GET", "/system/changes")["entries"][0]["name"] == "A Person"
