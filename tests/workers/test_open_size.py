"""What an open takes of PostgreSQL and of the blob store, measured on real records, and held below a ceiling."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from campaigns import retention
from campaigns.campaigns import SlotChoice
from campaigns.opens import PARTITIONED
from render.record import ClickRecord, DecisionRecord, FetchRecord, Record
from tests.promises.reader import APPLE, BROWSER, GMAIL, SCANNER, Mail
from tests.workers.opens import Opens
from workers.recording import write

PEOPLE = 5
OFFERS = 20
EVENTS = 25
OPENS = 500
CEILING = 10_000
"""Bytes of the database an open may take with its fetches and clicks, indexes and all, with 25 candidates; 6,100 were
measured."""
BLOB_CEILING = 1_000
"""Bytes of distinct served pictures an open may add, over so many opens of one campaign."""
READERS = (BROWSER, BROWSER, GMAIL, APPLE, SCANNER)


def made(opens: Opens) -> list[list[Record]]:
    """The records of real opens by people, proxies, devices and machines, an open a list."""
    shop, rng = opens.shop, random.Random(8)
    kinds = [f"Kind {number}" for number in range(OFFERS)]
    shop.intake.categories.learn(kinds, create=True)
    names = [f"p{number}" for number in range(PEOPLE)]
    shop.people(*names, locale="en", city="Example Town")
    for name in names:
        days = sorted(rng.sample(range(1, 300), EVENTS), reverse=True)
        shop.send(*(shop.order(name, rng.choice(kinds), shop.now - timedelta(days=day)) for day in days))
    default = shop.offer("neutral")
    offers = [
        shop.offer("cross-sell", fields={"headline": f"Offer {number}"}, priority=number, value_cents=100 + number)
        for number in range(OFFERS)
    ]
    slots = [SlotChoice(slot=0, default=default, offers=offers), SlotChoice(slot=1, default=default, offers=offers[:5])]
    mails = opens.send_campaign(slots=slots)
    found = []
    for number, mail in enumerate(mails.values()):
        before = len(opens.waiting())
        read(opens, mail, READERS[number % len(READERS)], clicks=number % 4 == 0)
        found.append(opens.waiting()[before:])
    opens.record()
    return found


def read(opens: Opens, mail: Mail, agent: str, *, clicks: bool) -> None:
    """Fetch both pictures of a mail, look once more, and click now and then."""
    for slot in (0, 1, 0):
        opens.look(mail, slot, agent)
    if clicks:
        opens.get(mail.clicks[0], agent)


def again(records: list[Record], number: int) -> list[Record]:
    """The same open by somebody at another time; its bytes were handed over before."""
    shift = number * 60_000
    copies: list[Record] = []
    for record in records:
        if isinstance(record, DecisionRecord):
            copies.append(replace(record, id=other(record.id, number), at_ms=record.at_ms + shift))
        elif isinstance(record, FetchRecord | ClickRecord):
            changes: dict[str, Any] = {"body": None} if isinstance(record, FetchRecord) else {}
            decision = other(record.decision, number) if record.decision else record.decision
            copies.append(
                replace(record, id=other(record.id, number), at_ms=record.at_ms + shift, decision=decision, **changes)
            )
    return copies


def other(name: str, number: int) -> str:
    """Another id that is as random as the first."""
    return random.Random(f"{name}{number}").randbytes(16).hex()


@pytest.mark.feature("OP-09")
def test_it_keeps_an_open_in_few_bytes(opens: Opens) -> None:
    shop = opens.shop
    with shop.sessions.begin() as session:
        # Another test may have had this database before and left room behind.
        tables = ", ".join(f'"{table}"' for table in (*PARTITIONED, "served_bytes"))
        session.execute(text(f"TRUNCATE {tables}"))
    real = made(opens)
    copies = [again(real[number % len(real)], number) for number in range(1, OPENS)]
    for start in range(0, len(copies), 100):
        batch = [record for one in copies[start : start + 100] for record in one]
        with shop.sessions.begin() as session:
            write(session, shop.blobs, shop.settings.subject_key, batch, shop.now)
    with shop.sessions.begin() as session:
        stock = retention.stock(session)
    rows = {table.what: table.rows for table in stock.tables}
    assert rows["decision"] >= OPENS
    assert rows["fetch"] >= 2 * OPENS
    digests = [row.blob for row in opens.rows("SELECT blob FROM served_bytes")]
    blobs = sum(len(shop.blobs.get(digest)) for digest in digests) / rows["decision"]
    sizes = {table.what: round(table.bytes / rows["decision"]) for table in stock.tables}
    print(f"bytes an open: {sizes}, {stock.bytes_per_open:.0f} in all, {blobs:.0f} of pictures")
    assert stock.bytes_per_open is not None
    assert stock.bytes_per_open < CEILING
    assert blobs < BLOB_CEILING
    # What is kept once is kept once: the same pictures, served to everybody.
    assert len(digests) == len(set(digests)) <= 2 * PEOPLE
