"""Somebody who may do everything, and fresh things to do it to."""

from __future__ import annotations

import base64
import itertools
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import select, text

from campaigns import audience, keyring, people, transitions
from campaigns.admin_log import Actor
from campaigns.models import Delivery, User
from signals.catalog import slug
from signals.identity import address_hash
from signals.intake import take
from signals.products import take_products
from signals.suppression import suppress
from tests.campaigns.shop import MESSAGE, named
from tests.campaigns.test_pages import Form
from tests.campaigns.web import PASSWORD, Browser, Program, Web
from tests.misbehaving import photo

SCENARIO = {"name": "Sees it", "expected": [{"slot": 0, "kind": "replacement"}]}
_numbers = itertools.count(1)
OUT_ONLY = ("id", "state", "due_at", "plan", "killed", "missing", "trouble", "locked", "next_plan", "next_plan_at")


@dataclass
class Desk:
    """An admin at a browser and with a program, and fresh things to change."""

    web: Web
    browser: Browser = field(init=False)
    program: Program = field(init=False)

    def __post_init__(self) -> None:
        self.browser = self.web.browser("admin")
        self.program = self.web.program("admin")
        self.web.shop.people("ada")

    def campaign(self, state: str = "draft") -> int:
        number = self.web.shop.campaign()
        if state != "draft":
            self.web.shop.schedule(number)
        if state == "paused":
            self.program.told("POST", f"/campaigns/{number}/pause")
        return number

    def late(self) -> int:
        """A campaign that waits for a word on its late run."""
        number = self.campaign("paused")
        with self.web.shop.sessions.begin() as session:
            session.execute(text("UPDATE occurrence SET missed = 'asked' WHERE campaign_id = :one"), {"one": number})
        return number

    def unknown(self) -> tuple[int, int]:
        """A campaign with a delivery whose outcome is unknown."""
        number = self.campaign("scheduled")
        shop = self.web.shop
        with shop.sessions.begin() as session:
            audience.freeze(session, number, 1, shop.now, shop.settings.hash_key)
            session.execute(text("UPDATE delivery SET state = 'unknown'"))
            row = session.scalar(select(Delivery.id).where(Delivery.campaign_id == number))
        assert row is not None
        return number, row

    def failed(self) -> int:
        """A campaign that is sending, with a delivery that failed."""
        number, _ = self.unknown()
        with self.web.shop.sessions.begin() as session:
            transitions.begin(session, number, self.web.shop.now)
            session.execute(text("UPDATE delivery SET state = 'failed' WHERE campaign_id = :c"), {"c": number})
        return number

    def segment_id(self) -> int:
        """A new segment."""
        return int(self.program.told("POST", "/segments", self.segment())["id"])

    def export(self) -> int:
        """A new export, which is fetched as files."""
        number = self.segment_id()
        return int(self.program.told("POST", "/exports", {"name": f"File {number}", "segment": number})["id"])

    def gateway(self) -> int:
        """A new gateway for text messages."""
        made = {"name": f"Gateway {next(_numbers)}", "kind": "sms", "url": "https://gateway.example.com/"}
        return int(self.program.told("POST", "/gateways", made)["id"])

    def batch(self, export: int) -> str:
        """What the newest file of an export is named."""
        return self.program.call("GET", f"/exports/{export}/file").headers["Latebind-Batch"]

    def stopped(self) -> str:
        """The address of Ada, which gets no mail any more."""
        with self.web.shop.sessions.begin() as session:
            suppress(session, self.web.shop.settings.hash_key, "ada@example.com", "bounced", self.web.shop.now)
        return address_hash(self.web.shop.settings.hash_key, "ada@example.com").hex()

    def user(self) -> int:
        made = {"email": f"new{self.web.shop.campaign(published=False)}@example.com", "name": "New",
                "password": PASSWORD, "roles": ["support"]}  # fmt: skip
        return int(self.program.told("POST", "/users", made)["id"])

    def creative(self) -> dict[str, Any]:
        known = self.program.told("GET", "/creatives")["creatives"][0]
        return {"name": f"Copy {self.web.shop.campaign(published=False)}", "document": known["document"]}

    def creative_form(self, number: int | None = None) -> dict[str, Any]:
        """What the editor's form of a creative holds, under a name of its own."""
        page = self.browser.get(f"/creatives/{number}" if number else "/creatives/new").text
        fields = {name: value for name, value in Form(page).fields.items() if name not in ("do", "csrf_token")}
        return fields | {"name": f"Form {self.web.shop.campaign(published=False)}"}

    def picture(self) -> int:
        """A picture of the library."""
        made = {"name": "Beach", "file": base64.b64encode(photo()).decode()}
        return int(self.program.told("POST", "/pictures", made)["id"])

    def product(self) -> str:
        """A product of the feed."""
        items = [{"id": "towel", "title": "Towel", "price": "5 EUR"}]
        assert take_products(self.web.shop.intake, self.web.shop.source, items, self.web.shop.now).refused == 0
        return "towel"

    def relation(self) -> dict[str, Any]:
        """What a manager may set by hand, of a category of its own."""
        name = f"Category {self.web.shop.campaign(published=False)}"
        items = [{"id": name, "title": name, "price": "5 EUR", "product_type": name}]
        assert take_products(self.web.shop.intake, self.web.shop.source, items, self.web.shop.now).refused == 0
        return {"kind": "interval", "category": slug(name), "days": 30}

    def segment(self) -> dict[str, Any]:
        return {"name": f"Segment {self.web.shop.campaign(published=False)}", "rule": {"always": True}}

    def offer(self) -> dict[str, Any]:
        number = self.web.shop.campaign(published=False)
        return {"name": f"Offer for {number}", "kind": "neutral", "creative_id": self.web.shop.creative(),
                "landing": "https://shop.example.com/"}  # fmt: skip

    def message(self) -> dict[str, Any]:
        return dict(msgspec.to_builtins(named(MESSAGE)))

    def written(self) -> dict[str, Any]:
        told = self.program.told("GET", f"/campaigns/{self.web.shop.campaign(published=False)}")
        kept = {name: value for name, value in told.items() if name not in OUT_ONLY}
        return kept | {"name": f"{told['name']} again"}

    def call(self) -> tuple[str, dict[str, Any]]:
        """Where an agent tells what a customer said to the offer of a call, and what they tell."""
        path = f"/customers/{self.web.shop.profile('ada')}/offer"
        number = self.campaign()
        told = self.program.told("GET", f"{path}?campaign={number}")
        place = next(one for one in told["places"] if one["offer"] is not None)
        return path, {
            "campaign": number, "request": told["request"], "slot": place["slot"], "offer": place["offer"],
            "outcome": "taken",
        }  # fmt: skip

    def merge(self) -> str:
        """The path of a merge of two fresh customers."""
        one, other = self.two()
        made = self.program.told("POST", f"/customers/{one}/merges", {"other": other})
        return f"/customers/{one}/merges/{made['id']}"

    def two(self) -> tuple[int, int]:
        """Two fresh customers."""
        number = self.web.shop.campaign(published=False)
        one, other = self.web.shop.people(f"one{number}", f"other{number}")
        return one, other

    def merged_on_page(self) -> str:
        """Where a merge that was made on the page of a customer is undone."""
        one, other = self.two()
        self.browser.get(f"/customers/{one}/merges")
        answer = self.browser.post(f"/customers/{one}/merges", chosen=str(other))
        assert answer.status_code == 302, answer.text
        (path,) = re.findall(r'action="(/customers/\d+/merges/\d+/undo)"', self.browser.get(answer.location).text)
        return str(path)

    def lives_with(self) -> str:
        """The path of the household of a fresh customer who lives with another one."""
        number = self.web.shop.campaign(published=False)
        one, other = self.web.shop.people(f"one{number}", f"other{number}")
        self.program.told("POST", f"/customers/{one}/household", {"other": other, "why": "Told us"})
        return f"/customers/{one}/household"

    def lives_with_page(self) -> Any:
        """The same by the page of the customer."""
        number = self.web.shop.campaign(published=False)
        one, other = self.web.shop.people(f"one{number}", f"other{number}")
        return self.browser.post(f"/customers/{one}/household", chosen=str(other), why="Told us")

    def told_on_page(self) -> Any:
        """The same through the page's form, which names the contact otherwise."""
        path, said = self.call()
        return self.browser.post(path, channel="call", contact=said.pop("request"), **said)

    def scenario(self) -> str:
        """Where a scenario of a campaign is."""
        at = f"/campaigns/{self.campaign()}/scenarios"
        return f"{at}/{self.new_id(at, SCENARIO)}"

    def dkim_key(self, name: str) -> int:
        """A DKIM key that nothing is signed with yet."""
        made = {"domain": "example.com", "algorithm": "ed25519", "selector": name}
        return self.new_id("/system/dkim-keys", made)

    def asked(self) -> tuple[int, int]:
        """A campaign that another person wrote and asked approval for, and the number of that."""
        other = self.web.program("manager")
        number = self.web.shop.campaign()
        return number, int(other.told("POST", f"/campaigns/{number}/approvals", {"note": "Meant so"})["id"])

    def owned(self) -> Program:
        """A program whose key an admin made."""
        shop = self.web.shop
        with shop.sessions.begin() as session:
            owner = session.scalar(select(User.id).where(User.email == "admin@example.com"))
            key, secret = people.issue_key(session, "own", "server", ["admin"], shop.now, Actor("user", owner))
            keyring.announce(session, shop.store, key)
        return Program(self.program.client, secret)

    def locked(self) -> int:
        number = self.campaign()
        self.program.told("POST", f"/campaigns/{number}/lock")
        return number

    def bought(self) -> dict[str, Any]:
        """A purchase of ada's, as a correction names it."""
        shop = self.web.shop
        shop.send(shop.order("ada", "shoes", shop.now))
        told = self.program.told("GET", f"/customers/{shop.profile('ada')}/timeline?kind=order")
        return {"event": max(entry["event"] for entry in told["entries"]), "line": 0}

    def taken_back(self) -> Any:
        """A correction that was made and is taken back."""
        path, bought = f"/customers/{self.web.shop.profile('ada')}/corrections", self.bought()
        self.program.told("POST", path, bought | {"word": "gift"})
        return self.program.told("DELETE", f"{path}/{bought['event']}/0")

    def complaint(self) -> str:
        """The number of a complaint that was added."""
        path = f"/customers/{self.web.shop.profile('ada')}/notes"
        return str(self.program.told("POST", path, {"kind": "complaint", "text": "The gate came late."})["number"])

    def refused(self) -> int:
        """A signal that was refused: an order without a number."""
        shop = self.web.shop
        body = {"type": "track", "userId": "ada", "event": "Order Completed", "properties": {}}
        (outcome,) = take(shop.intake, shop.source, [msgspec.json.encode(body)], shop.now)
        assert outcome.status == "rejected"
        with shop.sessions.begin() as session:
            return int(session.scalar(text("SELECT max(id) FROM rejected_event")))

    def planned(self, name: str) -> int:
        """An event of the tracking plan."""
        wanted = {"name": name, "definition": {"properties": {"size": {"type": "text"}}}}
        return int(self.program.told("PUT", "/tracking-plan", wanted)["id"])

    def source(self, name: str) -> int:
        return self.new_id("/sources", {"name": name, "kind": "server"})

    def new_id(self, path: str, body: dict[str, Any]) -> int:
        return int(self.program.told("POST", path, body)["id"])
