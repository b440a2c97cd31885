"""Sources of signals: made on a page, named by the API, ended for good."""

from __future__ import annotations

import re
from dataclasses import replace

from signals.shops import create_shop
from signals.sources import keyless_sender, sender_by_key
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web, told
from workers.checkup import examine


def test_it_adds_a_source_shows_its_key_once_and_ends_it(shop: Shop, web: Web) -> None:
    desk, program = web.desk("admin"), web.program("admin")
    desk.get("/system/sources")
    made = desk.post("/system/sources", name="Shop pages", kind="browser", origins="https://Shop.example.com/")
    found = re.search(r"<code>([\w-]{32})</code>", made.text)
    assert found
    assert found[1] not in desk.get("/system/sources").text
    with shop.sessions.begin() as session:
        sender = sender_by_key(session, found[1])
        assert sender is not None
        assert (sender.name, sender.kind, sender.origins) == (
            "Shop pages",
            "browser",
            frozenset({"https://shop.example.com"}),
        )
    listed = {one["id"]: one for one in program.told("GET", "/sources")["sources"]}
    assert listed[sender.id]["disabled_at"] is None
    assert desk.post(f"/system/sources/{sender.id}/end").status_code == 302
    with shop.sessions.begin() as session:
        assert sender_by_key(session, found[1]) is None
    listed = {one["id"]: one for one in program.told("GET", "/sources")["sources"]}
    assert listed[sender.id]["disabled_at"] == shop.now.isoformat()
    assert web.desk("manager").get("/system/sources").status_code == 403


def test_it_says_of_each_source_what_its_kind_means(shop: Shop, web: Web) -> None:
    desk = web.desk("admin")
    desk.get("/system/sources")
    desk.post("/system/sources", name="Pages", kind="browser", origins="https://shop.example.com")
    with shop.sessions.begin() as session:
        keyless_sender(session, "till", shop.now)
    page = desk.get("/system/sources").text
    for words in (
        "2 Mar 2026: its word counts in full",
        "Browser, from https://shop.example.com, since 2 Mar 2026: tells only what visitors do",
        "Files, without a key, loaded by <code>latebind import</code>: their word counts in full. Nobody can send",
        "Everybody can see the key, so it tells only what visitors do.",
    ):
        assert words in page, words
    assert '<td class="wrap-any">till</td><td>files, without a key</td>' in desk.get("/system/").text
    assert 'till <span class="text-secondary small">files, without a key</span>' in desk.get("/system/traits/").text


def test_it_says_what_is_wrong_with_a_source(web: Web) -> None:
    desk, program = web.desk("admin"), web.program("admin")
    desk.get("/system/sources")
    for field, form in (
        ("name", {"name": " ", "kind": "server"}),
        ("name", {"name": "Latebind", "kind": "server"}),
        ("kind", {"name": "Tills", "kind": "till"}),
        ("origins", {"name": "Pages", "kind": "browser", "origins": "shop.example.com"}),
    ):
        answer = desk.post("/system/sources", **form)
        assert (answer.status_code, 'role="alert"' in answer.text) == (400, True), field
    body = {"name": "Pages", "kind": "browser", "origins": ["http://shop.example.com"]}
    assert told(program.call("POST", "/sources", body), 400)["field"] == "origins"
    program.told("POST", "/sources", {"name": "Tills", "kind": "server"})
    assert told(program.call("POST", "/sources", {"name": "Tills", "kind": "server"}), 400)["field"] == "name"
    assert program.call("DELETE", "/sources/999999").status_code == 404


def test_it_names_shops_that_number_alike_and_says_what_to_do(shop: Shop, web: Web) -> None:
    admin = web.desk("admin")
    with shop.sessions.begin() as session:
        for name in ("Old Woo", "Older Woo"):
            source, row, _ = create_shop(session, name, "woocommerce", b"k" * 32, shop.now, prefix=name)
            row.prefix, row.prefixes_orders = "", False
    page = admin.get("/system/sources").text
    assert "Older Woo and Old Woo number their customers and orders alike" in page
    assert "connect them anew, each with a prefix of its own" in page
    found = {finding.part: finding for finding in examine(replace(shop.settings, dry_run=True))}["shops"]
    assert (found.well, "Older Woo and Old Woo" in found.words) == (False, True)
    assert "shops" not in {finding.part for finding in examine(shop.settings, health=True)}
    admin.post(f"/system/sources/{source.id}/end")
    assert "number their" not in admin.get("/system/sources").text
    found = {finding.part: finding for finding in examine(replace(shop.settings, dry_run=True))}["shops"]
    assert (found.well, found.words) == (True, "no two number their orders alike")
