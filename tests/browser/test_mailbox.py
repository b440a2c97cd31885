"""One mail through a real mail server into a real mailbox, read in a real webmail: the swap as people meet it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from playwright.sync_api import Browser
from sqlalchemy import Executable, select

from base import db
from base.clock import clock_from
from base.processes import free_port
from base.settings import Settings
from base.vault import Vault
from campaigns.models import Click, Decision, Delivery, Fetch
from campaigns.starting import LAYOUTS, message
from render.classify import MACHINE_SECONDS
from tests.browser.conftest import PORTS, Site, keep, until
from tests.browser.mailbox import DOMAIN, Mailbox, missing
from tests.browser.webmail import Reader
from workers.up import System

pytestmark = pytest.mark.slow

ANN: Final = f"ann@{DOMAIN}"
SHOP_HOST: Final = "127.0.0.3"
SHOES: Final = {"product_id": "aero-5", "category": "Running shoes", "price": 120, "quantity": 1}


class Shop(ThreadingHTTPServer):
    """Where clicks land: whatever path, a page."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((SHOP_HOST, 0), ShopPage)
        self._thread = threading.Thread(target=self.serve_forever, name="shop")
        self._thread.start()

    def address(self, path: str) -> str:
        return f"http://{SHOP_HOST}:{self.server_port}/{path}"

    def stop(self) -> None:
        """Close the shop, and return when it is closed."""
        self.shutdown()
        self._thread.join()
        self.server_close()


class ShopPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Shop</title>")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Post:
    """The system with a mail server as its relay, the mailbox behind that, and the shop that mails lead to."""

    site: Site
    mailbox: Mailbox
    shop: Shop

    @property
    def settings(self) -> Settings:
        return self.site.system.settings

    def call(self, method: str, path: str, content: Any = None) -> dict[str, Any]:
        """One call of the managers' API."""
        request = urllib.request.Request(
            f"{self.settings.web_url}/api/v1{path}",
            None if content is None else json.dumps(content).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self.site.system.access.api_key}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def rows(self, query: Executable) -> list[Any]:
        """The rows of a query in the system's database."""
        engine = db.connect(self.settings.database_url, vault=Vault.of(self.settings))
        try:
            with engine.connect() as connection:
                return list(connection.execute(query))
        finally:
            engine.dispose()


@pytest.fixture(scope="module")
def post(chromium: Browser) -> Iterator[Post]:
    """Everything that `latebind up` runs, its mail going through a mail server of its own."""
    lacking = missing()
    if lacking:
        assert not os.environ.get("CI"), f"CI must have a mailbox: {lacking}"
        pytest.skip(lacking)
    folder = Path(tempfile.mkdtemp(prefix="latebind-mailbox-"))
    # Postfix and PostgreSQL run as users of their own.
    folder.chmod(0o755)
    mailbox = Mailbox(folder)
    environ = {f"LATEBIND_{name}_PORT": str(free_port()) for name in PORTS}
    # A loaded machine is no reason for a default: what deadlines do has tests of its own.
    environ |= {"LATEBIND_VAR": str(folder / "var"), "LATEBIND_RENDER_WORKERS": "1", "LATEBIND_DEADLINE_MS": "5000"}
    system = System(Settings.from_environment(environ | {"LATEBIND_SMTP_URL": mailbox.smtp_url}))
    shop = Shop()
    try:
        with ThreadPoolExecutor(1) as beside:
            started = beside.submit(mailbox.start)
            system.start()
            started.result()
        yield Post(Site(system, chromium), mailbox, shop)
    finally:
        system.stop()
        mailbox.stop()
        shop.stop()
        shutil.rmtree(folder, ignore_errors=True)


def campaign(post: Post) -> int:
    """A campaign of three pictures: the first is a discount until shoes are bought, then a thank-you."""
    designs = {one["name"]: one["id"] for one in post.call("GET", "/creatives")["creatives"]}
    defaults = {one["name"]: one["id"] for one in post.call("GET", "/offers")["offers"]}

    def offer(name: str, kind: str, design: str, page: str, **changes: Any) -> int:
        content = {"name": name, "kind": kind, "creative_id": designs[design], "landing": post.shop.address(page)}
        return int(post.call("POST", "/offers", content | changes)["id"])

    discount = offer(
        "Shoes, 20 % off", "replacement", "Restock discount", "shoes",
        purpose_category="running-shoes", category="running-shoes", fields={"headline": "Fresh running shoes"},
    )  # fmt: skip
    thanks = offer(
        "Thank you for the shoes", "thank-you", "Thank you", "thank-you", after_category="running-shoes", priority=-1
    )
    socks = offer("Socks", "cross-sell", "Complement tile", "socks", fields={"headline": "Socks that stay up"})
    written = message(
        LAYOUTS[0], "Running shoes", "Example Shop", "shop@latebind-shoes.eu", "1 Example Street, Example Town"
    )
    content = {
        "name": "Running shoes",
        "message_id": post.call("POST", "/messages", msgspec.to_builtins(written))["id"],
        "slots": [
            {"slot": 0, "default": defaults["Neutral hero"], "offers": [discount, thanks]},
            {"slot": 1, "default": defaults["Neutral tile"], "offers": [socks]},
            {"slot": 2, "default": defaults["Neutral tile"]},
        ],
        "default_landing": post.shop.address(""),
    }
    return int(post.call("POST", "/campaigns", content)["id"])


@pytest.fixture(scope="module")
def mailed(post: Post) -> int:
    """The number of the campaign, once its mail is in Ann's mailbox and people's time has come.

    Who looks at a mail in its first seconds counts as a machine.
    """
    post.site.tell(type="identify", userId="ann", traits={"email": ANN, "firstName": "Ann"})
    post.site.tell(type="track", userId="ann", event="Product Viewed", properties={"category": "Running shoes"})
    number = campaign(post)
    clock, early = clock_from(post.settings), timedelta(seconds=MACHINE_SECONDS)
    post.call("POST", f"/campaigns/{number}/publish")
    post.call("POST", f"/campaigns/{number}/schedule", {"due_at": clock.now().isoformat()})
    until(lambda: post.rows(select(Delivery.id).where(Delivery.sent_at < clock.now() - early)), "the mail to be sent")
    until(lambda: post.mailbox.messages(ANN), "the mail in Ann's mailbox")
    return number


def promised(post: Post, number: int, profile: int) -> tuple[list[str], list[str]]:
    """What the preview says the mail would show now, slot by slot: the offers' names and the pictures' SHA-256."""
    slots = post.call("POST", f"/campaigns/{number}/preview", {"profile": profile})["slots"]
    return [slot["offer_name"] for slot in slots], [slot["sha256"] for slot in slots]


def hashes(pictures: Mapping[str, bytes]) -> list[str]:
    return [hashlib.sha256(picture).hexdigest() for picture in pictures.values()]


def looks(post: Post) -> list[tuple[str, dict[int, list[str]]]]:
    """Ann's opens as they were recorded: each decision, with what every fetch of a slot was served by SHA-256."""
    found: dict[str, dict[int, list[str]]] = {}
    fields = (Fetch.decision_id, Fetch.slot, Fetch.sha256)
    people = select(*fields).where(Fetch.fetch_class == "person", Fetch.kind == "picture")
    for row in post.rows(people.order_by(Fetch.at)):
        found.setdefault(row.decision_id, {}).setdefault(row.slot, []).append(row.sha256.hex())
    return list(found.items())


@pytest.mark.feature("EC-09", "EC-11")
def test_it_swaps_the_offer_of_a_mail_in_a_real_mailbox_and_leads_to_what_was_seen(post: Post, mailed: int) -> None:
    profile = post.call("POST", "/customers/search", {"q": ANN})["customers"][0]["profile"]
    names, discount = promised(post, mailed, profile)
    assert names == ["Shoes, 20 % off", "Socks", "Neutral tile"]
    reader = Reader(post.site.browser.new_page(viewport={"width": 1280, "height": 1000}), post.settings.render_url)
    reader.sign_in(post.mailbox.webmail_url, ANN)
    reader.open()
    assert reader.is_asked_whether_to_load()
    assert reader.asked == []
    reader.allow()
    assert hashes(reader.pictures()) == discount
    keep(reader.page, "webmail")
    reader.open()
    assert not reader.is_asked_whether_to_load()
    assert hashes(reader.pictures()) == discount, "nothing happened, so nothing changed"

    order = {"order_id": "1", "total": 120, "products": [SHOES]}
    post.site.tell(type="track", userId="ann", event="Order Completed", properties=order)
    names, thanks = promised(post, mailed, profile)
    assert names == ["Thank you for the shoes", "Socks", "Neutral tile"]
    # A scanner has seen the thank-you by now; Ann's screen still shows the discount.
    urllib.request.urlopen(reader.asked[0].url, timeout=30).close()
    assert reader.click() == post.shop.address("shoes")
    reader.open()
    assert hashes(reader.pictures()) == thanks != discount
    keep(reader.page, "webmail-after")
    assert reader.click() == post.shop.address("thank-you")
    reader.page.close()

    until(lambda: len(post.rows(select(Click.id))) == 2, "the records of both clicks")
    # Each open has one decision for its three pictures; the second look was the first open gone on.
    (first, before), (second, after) = looks(post)
    assert before == {slot: [sha256, sha256] for slot, sha256 in enumerate(discount)}
    assert after == {slot: [sha256] for slot, sha256 in enumerate(thanks)}
    # Not one fetch more: none while the webmail held the pictures back, none of the dark ones; and one of the scanner.
    assert len(post.rows(select(Fetch.id))) == 3 * len(discount) + 1
    assert len(post.rows(select(Decision.id))) == 3, "Ann's two and the scanner's"
    # Two decisions were shown within the hold, so the second click says that it might mean the first.
    clicks = select(Click.decision_id, Click.fetch_class, Click.ambiguous).order_by(Click.at)
    assert post.rows(clicks) == [(first, "person", False), (second, "person", True)]


def test_it_keeps_the_headers_of_a_mail_whole_on_its_way_into_the_mailbox(post: Post, mailed: int) -> None:
    (mail,) = post.mailbox.messages(ANN)
    row = select(Delivery.message_id, Delivery.state).where(Delivery.campaign_id == mailed)
    assert post.rows(row) == [(mail["Message-ID"], "accepted")]
    assert re.fullmatch(rf"<{re.escape(post.settings.render_url)}/u/[\w-]{{54}}>", mail["List-Unsubscribe"])
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "DKIM-Signature" not in mail, "mails are not signed, and do not say that they are"
