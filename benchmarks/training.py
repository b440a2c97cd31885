"""What a training costs: a million logged decisions in the real tables, learnt from by the real training.

People buy by rhythms; each decision is made into a row by the recorder's own code, sealed and with the state it was
made from, and its picture was looked at. Rows go into the tables by COPY, a person's after the other's: the recorder's
own way of asking before it inserts would take longer than the training. A small run:
`python -m benchmarks.training --decisions 50000`.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base import db
from base.blobs import FolderBlobs, blobs_from
from base.clock import monotonic
from base.vault import Vault
from benchmarks import world
from benchmarks.report import Report
from campaigns.opens import ensure_months
from campaigns.subjects import subject_keys
from render.plan import Offer, Plan, Slot, encode
from render.record import CandidateRecord, DecisionFacts, DecisionRecord, FetchRecord, SlotRecord
from signals.fold import advance, fold_all
from signals.foldevent import FoldEvent, Line
from signals.importing import import_events
from signals.intake import Intake
from signals.moments import unix_ms
from signals.profiles import Identifier
from signals.sources import keyless_sender
from signals.state import ProfileState
from signals.state import encode as encode_state
from workers.recording import decision_row, fetch_row
from workers.recording import moment as recorded_at
from workers.showings import Archive
from workers.training import train

DECISIONS: Final = 1_000_000
A_PERSON: Final = 250
"""Decisions of one person: a million are of 4,000 people."""
LEAST_PEOPLE: Final = 200
CATEGORIES: Final = 20
HABITS: Final = 4
WEEKS: Final = 30
BATCH: Final = 25
"""People whose decisions a process makes before it commits."""
PROCESSES: Final = 2
LONGEST_SECONDS: Final = 300.0
MOST_MB: Final = 4096.0
_PARTS: Final = (
    ("replayed", "the signals replayed"),
    ("fitted", "trees of purchases fitted and judged"),
    ("exposures read", "decisions read and joined to orders"),
    ("exposures:", "trees of exposures"),
)
"""A word of each line that training says, and what had been done by then."""


def _candidates(shown: int) -> tuple[CandidateRecord, ...]:
    """All candidates of a decision that showed this one."""
    return tuple(
        CandidateRecord(offer, None, None, 0.1, 10.0, None, 1 / CATEGORIES)
        if offer == shown
        else CandidateRecord(offer, "arbitration", "another was drawn", 0.1, 10.0, None, 1 / CATEGORIES)
        for offer in range(1, CATEGORIES + 1)
    )


CHOICES: Final = {shown: _candidates(shown) for shown in range(1, CATEGORIES + 1)}


def main(decisions: int = DECISIONS) -> None:
    """Make the decisions, train, print the report."""
    report = Report("training")
    people = max(LEAST_PEOPLE, decisions // A_PERSON)
    now = world.now()
    with world.world(database=True) as place:
        shop = _Shop(
            place.settings.database_url,
            blobs_from(place.settings),
            place.settings.subject_key,
            place.settings.pii_keys,
            people,
            now,
        )
        began = monotonic()
        _shopping(shop, place)
        _record(shop, decisions)
        report.add(f"made: {decisions:,} decisions of {people:,} people", f"{monotonic() - began:.0f} s")
        context = get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            done = pool.submit(_train, shop, decisions)
            peak = _Peak(done.done, lambda: list(pool._processes))
            told, total, measures = done.result()
            peak.join()
        for name, seconds in told:
            report.add(f"  {name}", f"{seconds:.1f} s")
        report.add(f"training on {decisions:,} decisions, {PROCESSES} processes", f"{total:.0f} s",
                   aim="≤ 300 s", met=total <= LONGEST_SECONDS)  # fmt: skip
        report.add("peak memory of all its processes", f"{peak.mb:,.0f} MB", aim="≤ 4 GB", met=peak.mb <= MOST_MB)
        report.add("exposures learnt from", f"{measures['exposures']:,.0f}")
    report.show()


@dataclass(frozen=True)
class _Shop:
    """What a process needs to write or learn; plain values."""

    url: str
    blobs: FolderBlobs
    wrapping_key: bytes
    pii_keys: Mapping[int, bytes]
    people: int
    now: datetime


def _train(shop: _Shop, decisions: int) -> tuple[list[tuple[str, float]], float, dict[str, float]]:
    """Train in this process; the parts with their seconds, the seconds of all, and the measures."""
    engine = db.connect(shop.url, vault=Vault(shop.pii_keys), statement_ms=0)
    began, marks = monotonic(), [("", 0.0)]

    def say(line: str) -> None:
        for word, name in _PARTS:
            if word in line.split(" in ")[0].split(" by ")[0]:
                marks.append((name, monotonic() - began))
                return

    archive = Archive(shop.blobs, shop.wrapping_key)
    trained = train(db.sessions(engine), shop.url, shop.now, say, PROCESSES, archive, 0, decisions)
    engine.dispose()
    marks.append(("the artefact made", monotonic() - began))
    return [(name, end - start) for (_, start), (name, end) in pairwise(marks)], trained.seconds, trained.measures


class _Peak(threading.Thread):
    """Watches the memory of processes and all below them, until told that they are done."""

    def __init__(self, is_done: Any, roots: Any) -> None:
        super().__init__(daemon=True)
        self.mb = 0.0
        self._is_done, self._roots = is_done, roots
        self._woken = threading.Event()
        self.start()

    def run(self) -> None:
        """Sample five times a second."""
        while not self._is_done():
            self.mb = max(self.mb, _resident_mb(self._roots()))
            self._woken.wait(0.2)


def _resident_mb(roots: list[int]) -> float:
    """Resident memory of these processes and their descendants; shared pages count for each."""
    parents, sizes = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        except OSError:
            continue
        number = int(folder.name)
        parents[number], sizes[number] = int(fields["PPid"]), int(fields.get("VmRSS", "0 kB").split()[0])
    found, waiting = 0, list(roots)
    while waiting:
        number = waiting.pop()
        found += sizes.get(number, 0)
        waiting += [child for child, parent in parents.items() if parent == number]
    return found / 1024


def _habits(person: int) -> dict[int, int]:
    """The categories a person buys of, from 0, and how often, in days."""
    dice = random.Random(person)
    return {category: dice.randint(10, 30) for category in dice.sample(range(CATEGORIES), HABITS)}


def _purchases(person: int, now: datetime) -> Iterator[tuple[datetime, int]]:
    dice = random.Random(f"purchases:{person}")
    for category, days in _habits(person).items():
        at = now - timedelta(weeks=WEEKS) + timedelta(days=dice.uniform(0, days))
        while at < now:
            yield at, category
            at += timedelta(days=days * dice.uniform(0.7, 1.3))


def _shopping(shop: _Shop, place: world.World) -> None:
    """Everybody's orders, through the product's bulk import."""
    engine = db.connect(shop.url, vault=Vault(shop.pii_keys), statement_ms=0)
    sessions = db.sessions(engine)
    intake = Intake(sessions, place.store, place.settings.hash_key)
    with db.transaction(sessions) as session:
        sender = keyless_sender(session, "file", shop.now)

    def lines() -> Iterator[bytes]:
        for person in range(shop.people):
            for at, category in _purchases(person, shop.now):
                line = {"product_id": f"p{category}", "category": f"c{category}", "price": 20, "quantity": 1}
                number = f"{person}-{at.isoformat()}"
                yield json.dumps({
                    "type": "track", "event": "Order Completed", "messageId": number, "userId": f"u{person}",
                    "timestamp": at.isoformat(), "properties": {"order_id": number, "total": 20, "products": [line]},
                }).encode()  # fmt: skip

    import_events(intake, sender, lines(), shop.now)
    engine.dispose()


def _plan(categories: dict[str, int]) -> Plan:
    """A hero slot with an offer for each category."""
    offers = [
        Offer(id=number + 1, name=f"Offer {number}", kind="replacement", category=categories[f"c{number}"], creative=1,
              landing="https://shop.example.com/", fields={"headline": "Yours"})
        for number in range(CATEGORIES)
    ]  # fmt: skip
    default = Offer(id=CATEGORIES + 1, name="Default", kind="neutral", creative=1, landing="https://shop.example.com/")
    return Plan(
        campaign=world.CAMPAIGN, name="All year", offers=(*offers, default),
        creatives=(world.replace_id(1, "Neutral"),),
        slots=(Slot(index=0, name="hero", width=600, height=300, offers=tuple(one.id for one in offers),
                    default=default.id, alt="Yours", mode="model"),),
        default_landing="https://shop.example.com/", categories=categories,
    )  # fmt: skip


def _record(shop: _Shop, decisions: int) -> None:
    """Write the decisions and their fetches, in several processes."""
    engine = db.connect(shop.url, vault=Vault(shop.pii_keys), statement_ms=0)
    sessions = db.sessions(engine)
    with db.transaction(sessions) as session:
        connection = session.connection()
        rows = connection.exec_driver_sql("SELECT slug, id FROM category").all()
        categories = {row.slug: row.id for row in rows}
        wanted = select(Identifier.value, Identifier.profile_id).where(Identifier.type == "user_id")
        named = session.execute(wanted).all()
        known = {row.value: row.profile_id for row in named}
        profiles = [known[f"u{person}"] for person in range(shop.people)]
        subject_keys(session, profiles, shop.wrapping_key, shop.now)
        ensure_months(connection, {(shop.now - timedelta(days=days)).date() for days in range(182)})
    engine.dispose()
    plan = shop.blobs.put(encode(_plan(categories)))
    shares = [decisions // len(profiles) + (person < decisions % len(profiles)) for person in range(len(profiles))]
    errands = [
        (shop, plan, categories, list(enumerate(profiles))[start : start + BATCH], shares[start : start + BATCH])
        for start in range(0, len(profiles), BATCH)
    ]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(_written, errands):
            pass


def _written(errand: tuple[_Shop, str, dict[str, int], list[tuple[int, int]], list[int]]) -> None:
    """The decisions of some people, and the looks at them."""
    shop, plan, categories, people, shares = errand
    engine = db.connect(shop.url, vault=Vault(shop.pii_keys), pool_size=1, statement_ms=0)
    with db.transaction(db.sessions(engine)) as session:
        session.execute(text("SET LOCAL synchronous_commit = off"))
        subjects = subject_keys(session, {profile for _, profile in people}, shop.wrapping_key, shop.now)
        rows: dict[str, list[dict[str, Any]]] = {"decision": [], "fetch": []}
        for (person, profile), count in zip(people, shares, strict=True):
            subject = subjects[profile]
            for decision, fetch in _opens(person, profile, count, plan, categories, shop.now):
                rows["decision"].append(decision_row(decision, subject))
                rows["fetch"].append(fetch_row(fetch, subject) | {"decision_at": recorded_at(decision.at_ms)})
        for table, part in rows.items():
            _copied(session, table, part)
    engine.dispose()


def _copied(session: Session, table: str, rows: list[dict[str, Any]]) -> None:
    """Rows that have the same columns, into a table by COPY."""
    connection = session.connection().connection.driver_connection
    assert connection is not None
    names = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row([Jsonb(value) if isinstance(value, dict) else value for value in row.values()])


def _opens(
    person: int, profile: int, count: int, plan: str, categories: dict[str, int], now: datetime
) -> Iterator[tuple[DecisionRecord, FetchRecord]]:
    """A person's decisions, each of which drew one of all offers by chance, oldest first, with the looks at them.

    Their orders are folded once, stopped at each open.
    """
    dice = random.Random(f"opens:{person}")
    orders = sorted(_purchases(person, now))
    events = [
        FoldEvent(kind="order", time_ms=unix_ms(when), message_id=str(place), order_id=str(place), total_cents=2000,
                  lines=(Line(f"p{category}", categories[f"c{category}"], 1, 2000),))
        for place, (when, category) in enumerate(orders)
    ]  # fmt: skip
    state, encoded, done = ProfileState(), encode_state(ProfileState()), 0
    for number, days in enumerate(sorted((dice.uniform(10, 180) for _ in range(count)), reverse=True)):
        at = now - timedelta(days=days)
        upto = bisect_left(orders, (at, 0))
        if upto > done:
            state = advance(state, events[done:upto]) or fold_all(events[:upto])
            encoded, done = encode_state(state), upto
        shown = dice.randrange(CATEGORIES) + 1
        identity = f"{dice.getrandbits(128):032x}"
        known: dict[str, Any] = {
            "at_ms": unix_ms(at), "profile": profile, "campaign": world.CAMPAIGN, "occurrence": 1, "lane": "live",
        }  # fmt: skip
        decision = DecisionRecord(
            id=identity, open_number=1, plan=plan, seed=person * A_PERSON + number, rung="rules",
            sent_ms=unix_ms(at) - 1000, propensity=1 / CATEGORIES,
            slots=(SlotRecord(0, shown, 1, 1 / CATEGORIES, CHOICES[shown], policy="epsilon"),),
            personal=DecisionFacts(state=encoded, fields=({},)), **known,
        )  # fmt: skip
        fetch = FetchRecord(
            id=f"{dice.getrandbits(128):032x}", decision=identity, slot=0, kind="picture", fetch_class="person",
            evidence={}, sha256="0" * 64, size=1, content_type="image/png", **known,
        )  # fmt: skip
        yield decision, fetch


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=DECISIONS)
    main(parser.parse_args().decisions)
