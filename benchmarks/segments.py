"""Segments over a million people: whom one is newly written about while mails leave, counted, and changed by one event.

Three kinds of turns in one run: sending alone, beside a pass over everybody as the schedule loop paces it, and beside
one that gives no way. Between its turns a pass waits after a piece. A small run:
`python -m benchmarks.segments --people 100000`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any, Final

from sqlalchemy import text

from base import db, keys, stores
from base.clock import SystemClock, monotonic, pause
from base.environment import environment
from base.settings import Settings
from base.vault import Vault
from benchmarks import world
from benchmarks.ledger import BATCH, CLONED, grown
from benchmarks.report import Report
from benchmarks.send import receiver
from campaigns import accounting, atopens, audience, members, segments
from campaigns.models import Campaign, Occurrence
from signals.intake import Intake
from signals.state import decode
from tests.campaigns.shop import MANAGER, Shop
from workers.jobs import enqueue_send
from workers.members import Members
from workers.schedule import BESIDE_SENDS_SECONDS, TICK_SECONDS

PEOPLE, MAILS = 1_000_000, 60_000
ROUNDS, TURN_SECONDS = 4, 8.0
PASSES: Final = ("paced", "not paced")
LEAST: Final = 0.9
"""Of the mails a second alone, at least so many beside a pass."""
COUNT_SECONDS, EVENT_MS, PASS_SECONDS = 1.0, 50.0, 600.0
PAGE_MS, SEARCH_MS = 300.0, 3000.0
EVENTS: Final = 100
REST_SECONDS: Final = 60.0
KINDS: Final = 34
"""Categories of a customer who buys regularly: so many has the median household of a grocery."""
EVERYBODY: Final = {"field": "trait", "name": "city", "op": "=", "value": "Bonn"}
MOVED: Final = {"field": "trait", "name": "city", "op": "=", "value": "Ulm"}
TEN: Final = {
    "all": [
        EVERYBODY,
        {"field": "trait", "name": "age", "op": ">=", "value": 18},
        {"field": "purchases.days_since", "category": "shoes", "op": "missing"},
        {"not": {"field": "purchases.count", "category": "hats", "within_days": 30, "op": ">=", "value": 1}},
        {"any": [
            {"field": "trait", "name": "vip", "op": "=", "value": True},
            {"field": "trait", "name": "age", "op": "<", "value": 65},
        ]},
        {"field": "trait", "name": "first_name", "op": "present"},
        {"not": {"field": "score", "name": "churn", "op": ">=", "value": 0.5}},
        {"field": "trait", "name": "height", "op": "missing"},
        {"not": {"field": "flag", "name": "returns", "op": "=", "value": True}},
    ]
}  # fmt: skip
"""Ten conditions that everybody fits, so that each is asked of everybody."""


def main(people: int = PEOPLE) -> None:
    """Run it and print the report."""
    report = Report("segments")
    with receiver() as port, world.world(database=True) as place:
        settings = replace(place.settings, smtp_url=f"smtp://127.0.0.1:{port}")
        engine = db.connect(settings.database_url, vault=Vault.of(settings), statement_ms=0)
        clock: Any = SystemClock()
        shop = Shop(settings, db.sessions(engine), place.store, clock)
        shop.intake.categories.learn(["Shoes", "Hats"], create=True)
        shop.people("first", city="Bonn", age=30)
        # Who is mailed is there first: an audience of a million is another benchmark's.
        mails = min(MAILS, people)
        grown(shop, mails)
        campaign = _campaign(shop, mails)
        _grow_on(shop, mails, people)
        _beside(report, shop, campaign, people)
        _events(report, shop)
        _counts(report, shop, mails, people)
        report.add("one-minute load of the machine at the end", f"{os.getloadavg()[0]:.1f}")
        engine.dispose()
    report.show()


def _grow_on(shop: Shop, above: int, upto: int, like: str = "first") -> None:
    """People beyond those who are there, each like that one."""
    one = shop.profile(like)
    for first in range(above + 1, upto + 1, 100_000):
        given = {"first": first, "last": min(upto, first + 99_999), "one": one}
        with shop.sessions.begin() as session:
            for statement in CLONED:
                session.execute(text(statement), given)
    with shop.sessions.begin() as session:
        # What the intake makes comes after them.
        session.execute(text("SELECT setval('profile_id_seq', :upto)"), {"upto": upto})
        session.execute(text("ANALYZE"))


def _counts(report: Report, shop: Shop, mails: int, people: int) -> None:
    """A segment of ten conditions counted, as the page of a segment does; then with customers of much more besides."""
    with shop.sessions.begin() as session:
        number = segments.create_segment(session, "Ten", TEN, shop.now, MANAGER).id
    seconds, aim = _counted(shop, number, people), COUNT_SECONDS * people / PEOPLE
    what = f"ten conditions over {people:,} people, counted"
    report.add(what, f"{seconds:.2f} s", aim=f"≤ {aim:g} s", met=seconds <= aim)
    _pages(report, shop, number, people)
    bought = [f"Kind {kind}" for kind in range(KINDS)]
    shop.intake.categories.learn(bought, create=True)
    shop.people("regular", city="Bonn", age=30)
    lines = [{"product_id": kind, "category": kind, "price": 3.5} for kind in bought]
    for order in ("one", "two"):
        told = {"order_id": order, "products": lines}
        shop.send({"type": "track", "event": "Order Completed", "userId": "regular", "properties": told})
    # Numbers above those that the intake gave meanwhile.
    above = 2 * people
    _grow_on(shop, above, above + mails, "regular")
    with shop.sessions.begin() as session:
        session.execute(text("ANALYZE profile_state"))
    more = _counted(shop, number, people + 1 + mails) - seconds
    report.add(f"  with {mails:,} more, each with {KINDS} categories, longer by", f"{more:.2f} s")


def _pages(report: Report, shop: Shop, number: int, people: int) -> None:
    """Pages of people: of a segment with everybody in it, and of one with nobody, which looks until time is up."""
    with shop.sessions.begin() as session:
        nobody = segments.create_segment(session, "Nobody", {"not": TEN}, shop.now, MANAGER).id
    for what, segment, after, aim in (
        ("  a page of its people, the first", number, 0, PAGE_MS),
        ("  one far in", number, people // 10 * 9, PAGE_MS),
        ("  of a segment with nobody in it", nobody, 0, SEARCH_MS),
    ):
        took = []
        for _ in range(5):
            began = monotonic()
            with shop.sessions.begin() as session:
                found = members.members(session, segment, shop.now, after=after)
            took.append(1000 * (monotonic() - began))
        came = f", as far as {found.following:,}" if segment == nobody and found.following else ""
        report.add(what, f"{median(took):.0f} ms{came}", aim=f"≤ {aim:g} ms", met=median(took) <= aim)


def _counted(shop: Shop, number: int, people: int) -> float:
    """The seconds that counting a segment takes: the middle of five."""
    took = []
    for _ in range(5):
        began = monotonic()
        with shop.sessions.begin() as session:
            found = segments.count(session, number, shop.now)
        took.append(monotonic() - began)
    if found != people:
        raise SystemExit(f"{found} of {people} were counted")
    return median(took)


def _events(report: Report, shop: Shop) -> None:
    """From an event to the membership that the next open reads."""
    with shop.sessions.begin() as session:
        number = segments.create_segment(session, "Moved", MOVED, shop.now, MANAGER).id
        atopens.follow(session, [number])
    person, took = shop.profile("first"), []
    pause(2.5)  # What a process holds of the segments is read anew.
    for turn in range(EVENTS):
        city = "Ulm" if turn % 2 == 0 else "Bonn"
        began = monotonic()
        shop.send({"type": "identify", "userId": "first", "traits": {"city": city}})
        data = shop.store.get(keys.state(person))
        took.append(1000 * (monotonic() - began))
        if not isinstance(data, bytes) or (number in decode(data).segments) != (city == "Ulm"):
            raise SystemExit("the state does not say who is in the segment")
    ordered = sorted(took)
    worst = ordered[int(0.99 * EVENTS)]
    report.add(
        "from one event to its membership in the state, p50 and p99", f"{median(took):.1f} ms, {worst:.1f} ms",
        aim=f"≤ {EVENT_MS:.0f} ms", met=worst <= EVENT_MS,
    )  # fmt: skip


def _beside(report: Report, shop: Shop, campaign: int, people: int) -> None:
    with shop.sessions.begin() as session:
        # One for each pass, so that neither finds done what the other did.
        numbers = {
            kind: segments.create_segment(session, f"Everybody, {kind}", EVERYBODY, shop.now, MANAGER).id
            for kind in PASSES
        }
        atopens.follow(session, numbers.values())
    rates: dict[str, list[float]] = {"alone": [], **{kind: [] for kind in PASSES}}
    spent = dict.fromkeys(PASSES, 0.0)
    with _sender(shop, campaign) as sender, _passing(shop, numbers) as passing:
        for _ in range(ROUNDS):
            for kind, found in rates.items():
                before, began = _accepted(shop, campaign), monotonic()
                if kind != "alone":
                    passing[kind].set()
                pause(TURN_SECONDS)
                if kind != "alone":
                    passing[kind].clear()
                    spent[kind] += monotonic() - began
                found.append((_accepted(shop, campaign) - before) / (monotonic() - began))
        if sender.poll() is not None or _accepted(shop, campaign) >= min(MAILS, people):
            raise SystemExit("the send ended before the turns did")
    alone = median(rates["alone"])
    for kind in PASSES:
        beside = median(rates[kind])
        met = beside >= LEAST * alone if kind == "paced" else None
        report.add(
            f"mails a second beside a pass over {people:,} people, {kind}", f"{beside:,.0f}", f"alone {alone:,.0f}",
            beside / alone, f"≥ {LEAST}" if kind == "paced" else "", met,
        )  # fmt: skip
        written = _members(shop, numbers[kind]) / spent[kind]
        report.add(f"  states that the pass wrote a second meanwhile, {kind}", f"{written:,.0f}")
    _rest(report, shop, numbers["paced"], people)


def _rest(report: Report, shop: Shop, number: int, people: int) -> None:
    """The rest of the pass with nothing beside it, brought to everybody."""
    changed, began = 0, monotonic()
    for piece in atopens.going_through(shop.intake, [number], lambda: shop.now):
        changed += piece
        if monotonic() - began > REST_SECONDS:
            break
    seconds = (monotonic() - began) * people / max(1, changed)
    aim = PASS_SECONDS * people / PEOPLE
    what = f"a whole pass that writes {people:,} states, by what {changed:,} took"
    report.add(what, f"{seconds:.0f} s", aim=f"≤ {aim:.0f} s", met=seconds <= aim)


def _campaign(shop: Shop, mails: int) -> int:
    """A campaign whose mails wait on the queue."""
    campaign = shop.campaign()
    with shop.sessions.begin() as session:
        session.add(Occurrence(campaign_id=campaign, number=1, state="sending", due_at=shop.now))
        session.get_one(Campaign, campaign).state = "sending"
        audience.freeze(session, campaign, 1, shop.now, shop.settings.hash_key)
        first = accounting.listing(session, campaign, limit=1)[0].id
    for start in range(first, first + mails, BATCH):
        enqueue_send(shop.store, list(range(start, start + BATCH)))
    return campaign


@contextmanager
def _sender(shop: Shop, campaign: int) -> Iterator[subprocess.Popen[bytes]]:
    """A sender as the Procfile starts it, at work."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("LATEBIND_")}
    command = [sys.executable, "-m", "workers.cli", "worker", "send"]
    sender = subprocess.Popen(command, env=outer | environment(shop.settings), stdout=subprocess.DEVNULL)
    try:
        deadline = monotonic() + 120
        while _accepted(shop, campaign) < BATCH:
            if monotonic() > deadline or sender.poll() is not None:
                raise SystemExit("the sender sends nothing")
            pause(0.2)
        yield sender
    finally:
        sender.kill()
        sender.wait(30)


@contextmanager
def _passing(shop: Shop, numbers: dict[str, int]) -> Iterator[dict[str, Any]]:
    """The passes, each in a process of its own, ready; what lets each go on."""
    context = multiprocessing.get_context("spawn")
    events = {kind: context.Event() for kind in PASSES}
    made = []
    for kind in PASSES:
        ready = context.Event()
        given = (shop.settings, numbers[kind], kind == "paced", ready, events[kind])
        made.append(context.Process(target=_pass, args=given, daemon=True))
        made[-1].start()
        ready.wait(120)
    try:
        yield events
    finally:
        for process in made:
            process.kill()
            process.join(10)


def _pass(settings: Settings, segment: int, paced: bool, ready: Any, go: Any) -> None:
    """Go through everybody, as the schedule loop does while mails leave, or without giving way."""
    make = db.sessions(db.connect(settings.database_url, vault=Vault.of(settings), statement_ms=0))
    members = Members(Intake(make, stores.connect(settings.redis_url), settings.hash_key), SystemClock().now)
    members.want([segment], anew=False)
    ready.set()
    while members.unready:
        go.wait()
        members.go_on(BESIDE_SENDS_SECONDS if paced else 0.0)
        if paced:
            pause(TICK_SECONDS)


def _accepted(shop: Shop, campaign: int) -> int:
    with shop.sessions.begin() as session:
        return accounting.account(session, campaign)["accepted"]


def _members(shop: Shop, segment: int) -> int:
    """How many states say that they are in the segment."""
    query = text("SELECT count(*) FROM profile_state WHERE document -> 'segments' @> to_jsonb(CAST(:segment AS int))")
    with shop.sessions.begin() as session:
        return session.scalar(query, {"segment": segment}) or 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE)
    main(parser.parse_args().people)
