"""A small running world: real servers and processes, the running-shoes campaign published and sent by the product.

Everything runs as in production, each program a process of its own on one stepped clock: PostgreSQL, Valkey, the mail
sink, render and signals under gunicorn, the recorder, the schedule loop and a sender. Who kills a part starts it again.
Programs are born in a nursery, which spares each the loading of its modules.
"""

from __future__ import annotations

import itertools
import secrets
import subprocess
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import TextClause, text

from base import db, stores
from base.clock import SteppedClock, monotonic, pause
from base.environment import environment
from base.processes import free_port
from base.recordstreams import RecordStreams
from base.settings import Settings
from base.tokens import TokenKeys
from base.values import KEY_BYTES, TOKEN_KEY_BYTES
from campaigns import campaigns, creatives
from campaigns.campaigns import CampaignIn, SlotChoice
from campaigns.mail import SlotIn
from campaigns.models import Creative
from render.plan import Mode
from render.starting import BY_NAME
from tests.campaigns.shop import MANAGER, TEXT, Shop, named
from tests.databases import PII_KEYS, VAULT
from tests.nursery import Born, nursery
from tests.opening import opened
from tests.promises.reader import Mail, fetch, read_mail, signal
from tests.serving import Served, outer_environment

PROGRAMS: Final = {
    "inbox": ("inbox",),
    "recorder": ("recorder",),
    "schedule": ("schedule",),
    "sender": ("worker", "send"),
}
COMMANDS: Final = tuple(f"workers.commands.{name}" for name in ("inbox", "recorder", "schedule", "worker"))
_numbers = itertools.count(1)


def until(true: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait for something to become true; fail naming it."""
    deadline = monotonic() + seconds
    while not true():
        assert monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        pause(0.05)


@dataclass
class Program:
    """A `latebind` command in a process of its own."""

    process: Born
    log: Path

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it as an operator does."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass(frozen=True)
class Story:
    """The running-shoes campaign and its mails by the person's name."""

    campaign: int
    discount: int
    thanks: int
    attire: int
    default: int
    product: str
    mails: Mapping[str, Mail]
    names: tuple[str, ...]

    def mail(self, name: str = "") -> Mail:
        """One person's mail; the first person's where none is named."""
        return self.mails[name or self.names[0]]


@dataclass
class World:
    """One installation. `hot_url` is where render finds Valkey, which may be a proxy that stalls; each of the
    `render_workers` learns for itself which node of a cluster is lost."""

    folder: Path
    database_url: str
    store_url: str
    start_at: datetime
    hot_url: str = ""
    queue_url: str = ""
    render_workers: int = 2
    programs: dict[str, Program] = field(default_factory=dict)
    apps: dict[str, Served] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = SteppedClock(self.folder / "clock", self.start_at)
        ports = {f"LATEBIND_{name}_PORT": str(free_port()) for name in ("SMTP", "INBOX")}
        read = Settings.from_environment(ports | {"LATEBIND_VAR": str(self.folder / "var")})
        self.settings = replace(
            read,
            database_url=self.database_url,
            redis_url=self.store_url,
            queue_url=self.queue_url or self.store_url,
            clock_file=self.folder / "clock",
            token_keys={1: secrets.token_bytes(TOKEN_KEY_BYTES)},
            record_key=secrets.token_bytes(KEY_BYTES),
            subject_key=secrets.token_bytes(KEY_BYTES),
            session_key=secrets.token_bytes(KEY_BYTES),
            hash_key=secrets.token_bytes(KEY_BYTES),
            pii_keys=PII_KEYS,
            render_workers=self.render_workers,
            # A loaded machine is no reason for a default: what deadlines do has tests of its own.
            deadline_ms=5000,
        )
        self.settings.var.mkdir(parents=True)
        self._read: dict[Path, tuple[int, Mail]] = {}
        self.engine = db.connect(self.database_url, vault=VAULT)
        self.sessions = db.sessions(self.engine)
        self.store = stores.connect(self.store_url)
        self.tokens = TokenKeys.from_settings(self.settings)
        self.shop = Shop(self.settings, self.sessions, self.store, self.clock)

    def start(self) -> None:
        """Start every program, all at once."""
        for name in PROGRAMS:
            self.run(name)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self.serve, ("render", "signals")))
        # The shop has sold shoes before, so rules may speak of them.
        self.tell(self.buy("the first customer"))

    def stop(self) -> None:
        """Stop what runs; the servers belong to whoever made them."""
        for program in self.programs.values():
            if program.process.poll() is None:
                program.process.terminate()
        for program in self.programs.values():
            program.stop()
        for app in self.apps.values():
            app.stop()
        self.engine.dispose()
        self.store.close()
        self.clock.close()

    def run(self, name: str, called: str = "") -> Program:
        """Start a program anew, or one more of it that is `called` otherwise."""
        log = self.folder / f"{name}-{next(_numbers)}.log"
        process = nursery(*COMMANDS).born(
            ("latebind", *PROGRAMS[name]), outer_environment() | environment(self.settings), log
        )
        self.programs[called or name] = Program(process, log)
        return self.programs[called or name]

    def serve(self, name: str, **changes: Any) -> Served:
        """Start an app anew, on another port; `changes` are settings. The last word of the name is the app."""
        app = name.split()[-1]
        settings = replace(self.settings, **changes)
        if app == "render" and self.hot_url:
            settings = replace(settings, redis_url=self.hot_url)
        self.apps[name] = Served.start(app, settings, self.folder / f"{app}-{next(_numbers)}.log", by_birth=True)
        return self.apps[name]

    @property
    def render(self) -> Served:
        """The render app."""
        return self.apps["render"]

    @property
    def signals(self) -> Served:
        """The signals intake."""
        return self.apps["signals"]

    # --- what people do

    def tell(self, *calls: Mapping[str, Any]) -> None:
        """Send signals over HTTP; returns once the intake has answered 200."""
        made = [
            {"messageId": f"w-{next(_numbers):08d}", "timestamp": self.clock.now().isoformat()} | dict(call)
            for call in calls
        ]
        assert signal(self.signals.url, *made).status == 200

    def buy(self, name: str, category: str = "shoes", product: str = "shoes-1") -> dict[str, Any]:
        """The call of a purchase of one thing."""
        line = {"product_id": product, "category": category, "price": 79.9, "quantity": 1}
        properties = {"order_id": f"o-{next(_numbers)}", "products": [line], "total": 79.9, "currency": "EUR"}
        return {"type": "track", "userId": name, "event": "Order Completed", "properties": properties}

    def give_back(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """The call that returns everything of an order."""
        properties = {"order_id": order["properties"]["order_id"]}
        return {"type": "track", "userId": order["userId"], "event": "Order Refunded", "properties": properties}

    def stock(self, product: str, quantity: int, price: str = "49.90 EUR") -> None:
        """Send the feed's word on one product."""
        item = {
            "id": product, "title": "Running tights", "price": price, "product_type": "Attire",
            "availability": "in_stock" if quantity else "out_of_stock", "quantity": quantity,
        }  # fmt: skip
        request = urllib.request.Request(
            f"{self.signals.url}/v1/products?feed=part",
            data=msgspec.json.encode({"products": [item]}),
            headers={"Authorization": "Basic c2hvcDo=", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert msgspec.json.decode(answer.read())["stored"] == 1

    # --- what the product knows

    def sql(self, statement: str) -> TextClause:
        """A statement to be executed in a session."""
        return text(statement)

    def settle(self) -> None:
        """Wait for as long as a process may hold what it has read of a campaign."""
        pause(1.0)

    def rows(self, query: str, **values: Any) -> list[Any]:
        """The rows of a query."""
        with self.sessions.begin() as session:
            return opened(session.execute(text(query), values))

    def recorded(self, seconds: float = 40) -> None:
        """Wait until the recorder has moved everything to the database and done what follows."""
        spool = self.settings.var / "spool"
        until(lambda: not list(spool.glob("*.spool")), "the spool to be drained", seconds)
        until(lambda: not RecordStreams(self.store).length(), "the record streams to be empty", seconds)

    def credited(self) -> None:
        """Wait until every order is credited that will be: the recorder looks when nothing else waits."""
        newest = self.rows("SELECT max(id) AS id FROM event")[0].id
        position = "SELECT coalesce(max(position), 0) AS n FROM loop_cursor WHERE name = 'outcomes'"
        until(lambda: self.rows(position)[0].n >= newest, "orders to be credited")

    def metric(self, name: str, label: str = "") -> int:
        """One counter of render, over all its processes."""
        with urllib.request.urlopen(f"{self.render.url}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        wanted = f"latebind_render_{name}_total{label} "
        return round(float(next(line.rpartition(" ")[2] for line in lines if line.startswith(wanted))))

    def too_slow(self) -> int:
        """Opens that this machine was too busy for: the store did not answer in its 80 ms, a drawing was late, or a
        process was so far behind that it left the decision out."""
        return sum(map(self.metric, ("unread", "unagreed", "late_drawings"))) + self.metric("shed", '{step="decision"}')

    def at_hand(self, picture: str) -> None:
        """Have a picture fetched until it comes in time, as it then does for everybody who is shown the same."""

        def in_time() -> bool:
            slow = self.too_slow()
            fetch(self.render.url, picture)
            return self.too_slow() == slow

        until(in_time, "the picture to be drawn in time")

    # --- the campaign

    def story(
        self,
        tag: str,
        people: int = 1,
        slots: int = 1,
        send: bool = True,
        mode: Mode = "rules",
        fmt: Literal["jpg", "png", "gif"] = "jpg",
        **changes: Any,
    ) -> Story:
        """Publish the running-shoes campaign to people of its own and have it sent.

        `changes` are those of its offers by name, such as `discount={"cap_total": 5}`, and of the campaign (the rest).
        Names and offers carry the tag. The hero comes first; every further slot has the same candidates.
        """
        shop, product = self.shop, f"tights-{tag}"
        names = tuple(f"{tag}-{number:03d}" for number in range(people))
        shop.people(*names, suite=tag)
        self.stock(product, 100)
        plain = shop.creative()
        default = shop.offer(
            "neutral",
            name=f"Default {tag}",
            landing=f"https://shop.example.com/home/{tag}",
            fields={"headline": "Our shop"},
        )
        discount, thanks, attire = (
            shop.offer(kind, name=f"{name} {tag}", landing=f"https://shop.example.com/{name}/{tag}",
                       **(content | changes.pop(name, {})))
            for name, kind, content in (
                ("discount", "replacement", {
                    "priority": 30, "purpose_category": "shoes", "fields": {"headline": "Shoes, 10 % off"},
                    "creative_id": plain,
                }),
                ("thanks", "thank-you", {
                    "priority": 20, "after_category": "shoes", "fields": {"headline": "Thank you"},
                    "creative_id": self.creative("Thank you"),
                }),
                ("attire", "cross-sell", {
                    "priority": 10, "product": product, "needs_stock": True, "shows_price": True,
                    "fields": {"headline": "Running tights", "percent": 10}, "creative_id": plain,
                }),
            )
        )  # fmt: skip
        content = CampaignIn(
            name=f"Shoes {tag}",
            message_id=shop.message(**_message(slots, fmt)),
            default_landing=f"https://shop.example.com/home/{tag}",
            audience={"field": "trait", "name": "suite", "op": "=", "value": tag},
            currency="EUR",
            slots=[
                SlotChoice(slot=n, default=default, offers=[discount, thanks, attire], mode=mode) for n in range(slots)
            ],
        )
        with self.sessions.begin() as session:
            row = campaigns.create_campaign(session, msgspec.structs.replace(content, **changes), shop.now, MANAGER)
            campaign = row.id
        shop.publish(campaign)
        if send:
            self.send(campaign)
        mails = {mail.recipient.partition("@")[0]: mail for mail in self.mails(campaign)}
        return Story(campaign, discount, thanks, attire, default, product, mails, names)

    def send(self, campaign: int) -> None:
        """Schedule a campaign for now and wait until every mail of it is settled; then a minute passes."""
        self.shop.schedule(campaign)
        until(lambda: self.shop.state(campaign) == "finished", "the campaign to be sent")
        self.clock.advance(timedelta(minutes=1))

    def mails(self, campaign: int) -> list[Mail]:
        """What the sink kept of a campaign, in order of arrival; no mail is parsed twice."""
        kept = []
        for path in sorted((self.settings.var / "inbox").glob("*.eml")):
            stamp = path.stat().st_mtime_ns
            if self._read.get(path, (0, None))[0] != stamp:
                self._read[path] = stamp, read_mail(path.read_bytes(), self.tokens)
            kept.append(self._read[path][1])
        return [mail for mail in kept if mail.token.campaign == campaign]

    def creative(self, name: str) -> int:
        """A shipped creative, made on first use."""
        with self.sessions.begin() as session:
            found = session.query(Creative.id).filter(Creative.name == name).scalar()
            if found is not None:
                return int(found)
            document = msgspec.to_builtins(BY_NAME[name])
            content = {key: value for key, value in document.items() if key not in ("id", "name")}
            return creatives.create_creative(session, name, content, self.shop.now, MANAGER).id


def _message(slots: int, fmt: Literal["jpg", "png", "gif"]) -> dict[str, Any]:
    """The content of a message with so many slots of a format."""
    blocks = "".join(
        f'<mj-text padding="0">{{{{ slot.s{n} }}}}</mj-text><mj-button href="{{{{ link.s{n} }}}}">Look</mj-button>'
        for n in range(slots)
    )
    mjml = (
        "<mjml><mj-head><mj-title>{{ message.subject }}</mj-title><mj-preview>{{ message.preheader }}</mj-preview>"
        "</mj-head><mj-body><mj-section><mj-column><mj-text>Hello {{ profile.first_name }}</mj-text>"
        f"{blocks}<mj-text>{{{{ brand.postal_address }}}} "
        '<a href="{{ link.unsubscribe }}">Unsubscribe</a> <a href="{{ link.view }}">View</a></mj-text>'
        "</mj-column></mj-section></mj-body></mjml>"
    )
    places = [
        SlotIn(index=n, name=f"s{n}", width=600, height=300, alt="What we have for you", fmt=fmt) for n in range(slots)
    ]
    return {"mjml": mjml, "text": TEXT.replace("link.hero", "link.s0"), "slots": places}


__all__ = ["Program", "Story", "World", "named", "until"]
