"""The snippet in a real browser: a shop's page, a foreign page, a visitor who lies about who they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import make_server

from base import keys
from base.clock import FixedClock
from render.access import KeyFacts, encode_key
from render.identity import mint_identity
from render.snippet import snippet
from tests.browser.conftest import keep
from tests.render.mail import PROFILE, Mail
from tests.serving import serving

Show = Callable[..., Page]
PAGE = """<!doctype html><html lang="en"><head><title>Shop</title><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src {render};
script-src {render} 'nonce-watch'; connect-src {render}"><style>body{{font:16px sans-serif}}
.latebind:not(:has(img)){{display:block;padding:1rem;border:1px solid}}</style>
<script nonce="watch">shifted = 0;
new PerformanceObserver(list => list.getEntries().forEach(one => shifted += one.value))
.observe({{type: "layout-shift", buffered: true}});</script>
</head><body><h1>Shop</h1><div data-latebind-slot="hero" data-campaign="7" {attributes}>Our classics</div>
<div data-latebind-slot="nowhere" data-campaign="7">Our service</div>
<script async src="{render}{path}" integrity="{integrity}" crossorigin="anonymous" data-key="site1.public"
data-person="{person}"></script></body></html>"""


@contextmanager
def served(app: Any, host: str) -> Iterator[str]:
    """The origin of an app while it is served."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    with serving(server):
        yield f"http://{host}:{server.server_port}"


@pytest.fixture
def show(app: Flask, mail: Mail, chromium: Browser) -> Iterator[Show]:
    """Opens the shop's page; its own origin is the key's, that of 127.0.0.1 is not."""
    page_of: dict[str, str] = {}

    def shop(_environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [page_of["html"].encode()]

    with served(app, "localhost") as render, served(shop, "localhost") as origin:
        digest = hashlib.sha256(b"public").digest()
        mail.store.set(keys.api_key("site1"), encode_key(KeyFacts("site", digest, (origin,))))
        context = chromium.new_context(viewport={"width": 420, "height": 480})

        def shown(person: str = "", host: str = "localhost", attributes: str = "") -> Page:
            made = snippet()
            page_of["html"] = PAGE.format(
                render=render, path=made.path, integrity=made.integrity, person=person, attributes=attributes
            )
            page = context.new_page()
            with page.expect_request("**/v1/decide"):
                page.goto(origin.replace("localhost", host))
            expect(page.locator("[aria-busy]")).to_have_count(0)
            return page

        yield shown
        context.close()


def test_it_fills_a_page_of_the_shop_with_the_decision_for_the_person(show: Show, mail: Mail, noon: FixedClock) -> None:
    page = show(mint_identity(mail.tokens, PROFILE, noon.now().replace(hour=23)))
    slot = page.locator("[data-latebind-slot=hero]")
    assert slot.locator("a.latebind").inner_text().strip() == "discount"
    assert slot.locator("a").get_attribute("href") == "https://shop.example.com/shoes"
    (decision,) = {made.id for made in mail.decisions() if made.contact == "site/hero/page"}
    assert slot.get_attribute("data-decision") == decision
    assert page.locator("[data-latebind-slot=nowhere]").inner_text() == "Our service"
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    keep(page, "web-slot")


def test_it_shows_the_picture_in_room_that_was_kept_for_it(show: Show, mail: Mail, noon: FixedClock) -> None:
    page = show(
        mint_identity(mail.tokens, PROFILE, noon.now().replace(hour=23)),
        attributes='data-picture="600x200" data-dark style="max-width: 600px; aspect-ratio: 600 / 200"',
    )
    image = page.locator("[data-latebind-slot=hero] a.latebind img")
    assert image.get_attribute("alt") == "discount."
    page.wait_for_function("image => image.complete && image.naturalWidth", arg=image.element_handle())
    assert image.evaluate("image => [image.naturalWidth, image.naturalHeight, image.width, image.height]") == [
        1200, 400, 404, 135,
    ]  # fmt: skip
    assert page.evaluate("window.shifted") == 0, "nothing on the page moved"
    assert image.evaluate("image => image.currentSrc") == page.locator("img").get_attribute("src")
    seen = {(made.kind, made.content_type) for made in mail.fetches() if made.slot == 0}
    assert seen == {("picture", "image/webp")}
    keep(page, "web-slot-picture")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("image => image.currentSrc !== image.src && image.complete", arg=image.element_handle())
    decision = page.locator("[data-decision]").get_attribute("data-decision")
    assert {made.decision for made in mail.fetches() if made.slot == 0} == {decision}
    assert "dark" in {made.kind for made in mail.fetches()}
    keep(page, "web-slot-picture-dark")


def test_it_takes_a_forged_name_for_nobody(show: Show, mail: Mail) -> None:
    page = show("A" * 54)
    assert page.locator("[data-latebind-slot=hero] a").inner_text().strip() == "default"
    assert mail.records() == []


def test_it_leaves_a_foreign_page_as_it_was(show: Show, mail: Mail, noon: FixedClock) -> None:
    page = show(mint_identity(mail.tokens, PROFILE, noon.now().replace(hour=23)), host="127.0.0.1")
    assert page.locator("[data-latebind-slot=hero]").inner_text() == "Our classics"
    assert page.locator("a").count() == 0
    assert mail.records() == []
