"""Reading a batch: bytes in, checked signals in the form that folds out, each event on its own.

Nothing is stored here. The database is asked only for what a batch names and this process has not met: categories, and
the categories of products that are named without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import text

from base.db import Sessions, transaction
from base.errors import InvalidInput
from signals import journal
from signals.catalog import Categories
from signals.foldevent import FoldEvent, fold_event, product_id
from signals.histories import Told
from signals.homes import Said, said
from signals.identity import Claim, Person, claims
from signals.journal import Refusal
from signals.listing import Listed
from signals.moments import moment_of, unix_ms
from signals.orders import AS_TOLD, NOTHING
from signals.signal import Arrival, Signal, Untrusted, content_key, read, refuse_untrusted
from signals.sources import Sender
from signals.trackingplan import Plan, Plans, Violation
from signals.writekeys import without

Status = Literal["accepted", "duplicate", "conflict", "rejected", "withheld"]
"""Withheld: sound, and not kept, because the person it is about refuses (signals/withholding.py)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event. `field` and `message` say what was wrong with a rejected one.

    `untrusted`: nothing but that its source may not say it.
    """

    status: Status
    field: str = ""
    message: str = ""
    untrusted: bool = False


ACCEPTED = Outcome("accepted")


NOBODY: Final = Person()
"""Whose an event is until that is settled; one for all, so nothing is ever added to it."""


@dataclass(slots=True)
class Item:
    """An event on its way in; status and person are settled when it is stored. `known`: whose it is, known beforehand.

    `unresolved`: it names a category nobody knew when it was read. `said`: what it tells of where the person lives.
    `fault` is why it was rejected when it was to be stored.
    """

    index: int
    signal: Signal
    claims: tuple[Claim, ...]
    told: Told
    status: Status = "accepted"
    person: Person = NOBODY
    known: Person | None = None
    unresolved: bool = False
    said: Said | None = None
    fault: InvalidInput | None = None

    @property
    def outcome(self) -> Outcome:
        """What became of it."""
        if self.status == "rejected" and self.fault is not None:
            return Outcome("rejected", self.fault.field, self.fault.message)
        return Outcome(self.status)


@dataclass(frozen=True, slots=True)
class Reading:
    """A batch that was read: its good events, its refused ones, and an outcome for each (provisional for the good).

    `call` and `skew` are those of its arrival. `is_listed`: what is refused of it stands among the refused signals.
    `before`: of a piece of a file, which may be loaded again, what the source is listed for from before.
    """

    now: datetime
    items: list[Item]
    refusals: list[Refusal]
    outcomes: list[Outcome]
    call: str = ""
    skew: timedelta = timedelta(0)
    is_listed: bool = False
    before: Listed | None = None

    def refuse(self, index: int, body: bytes, error: InvalidInput) -> None:
        """Note why an event of it is not taken."""
        untrusted = isinstance(error, Untrusted)
        self.outcomes[index] = Outcome("rejected", error.field, error.message, untrusted)
        reason = "untrusted" if untrusted else "plan" if isinstance(error, Violation) else "invalid"
        self.refusals.append(Refusal(reason, error.field, error.message, without(body), self.call, self.skew))

    def refused(self) -> list[Refusal]:
        """All that is refused of it, also what was so when it was to be stored."""
        return self.refusals + [
            Refusal("invalid", item.fault.field, item.fault.message, item.signal.body, self.call, self.skew)
            for item in self.items
            if item.status == "rejected" and item.fault is not None
        ]


class Reader:
    """Reads batches with what one process knows of categories. Threads may share it."""

    def __init__(self, sessions: Sessions, hash_key: bytes) -> None:
        self._sessions = sessions
        self._content_key = content_key(hash_key)
        self.categories = Categories(sessions)
        self.plans = Plans(sessions)

    def read(self, sender: Sender, bodies: Sequence[bytes], arrival: Arrival) -> Reading:
        """Every event of the batch, read or refused. Raises Unavailable when something must be looked up and cannot."""
        arrival = replace(arrival, content_key=self._content_key)
        reading = Reading(arrival.now, [], [], [ACCEPTED] * len(bodies), arrival.type, arrival.skew)
        unknown: dict[str, None] = {}
        bare: list[Item] = []
        broken: dict[int, Violation] = {}
        plan = self.plans.current()
        for index, body in enumerate(bodies):
            try:
                item = self._item(sender, index, body, arrival, plan, unknown)
                reading.items.append(item)
                if item.unresolved or _without_category(item.told.event):
                    bare.append(item)
                else:
                    _let_go(item)
            except Violation as error:
                broken[index] = error
            except InvalidInput as error:
                reading.refuse(index, body, error)
        if broken:
            self._come_again(reading, sender, bodies, arrival, broken)
        if unknown:
            # A browser may not add to the catalogue: what it names and nobody knows stays without a category.
            self.categories.learn(unknown, create=sender.is_server)
        if bare:
            self._complete(bare, again=bool(unknown))
            for item in bare:
                _let_go(item)
        return reading

    def _come_again(
        self,
        reading: Reading,
        sender: Sender,
        bodies: Sequence[bytes],
        arrival: Arrival,
        broken: Mapping[int, Violation],
    ) -> None:
        """Refuse what breaks the plan, but for what is stored as it is: a call that comes again repeats, whatever the
        plan has come to be since."""
        read_again = {index: read(bodies[index], arrival) for index in broken}
        with transaction(self._sessions) as session:
            stored = journal.find(session, sender, {signal.message_id for signal in read_again.values()})
        for index, error in broken.items():
            signal = read_again[index]
            known = stored.get(signal.message_id)
            if known is None or known.content_hash != signal.content_hash:
                reading.refuse(index, bodies[index], error)
                continue
            try:
                item = self._item(sender, index, bodies[index], arrival, Plan(), {})
            except InvalidInput as fault:
                reading.refuse(index, bodies[index], fault)
            else:
                _let_go(item)
                reading.items.append(item)

    def fault(self, sender: Sender, body: bytes, arrival: Arrival) -> InvalidInput | None:
        """What is wrong with a call by what holds now; None where it would be taken. Changes nothing."""
        try:
            self._item(sender, 0, body, replace(arrival, content_key=self._content_key), self.plans.current(), {})
        except InvalidInput as error:
            return error
        return None

    def name(self, body: bytes, arrival: Arrival) -> str:
        """The id under which a call is stored. Raises InvalidInput."""
        return read(body, replace(arrival, content_key=self._content_key)).message_id

    def _item(
        self, sender: Sender, index: int, body: bytes, arrival: Arrival, plan: Plan, unknown: dict[str, None]
    ) -> Item:
        signal = read(body, arrival)
        refuse_untrusted(signal, sender)
        if not sender.is_server and signal.time > arrival.now:
            # Its clock is not believed to be ahead: whatever others say until then would come late.
            signal.time = moment_of(unix_ms(arrival.now))
        plan.check(signal, sender)
        named = claims(signal, sender)
        signal.raw["messageId"] = signal.message_id
        missed: list[str] = []

        def lookup(spelling: str) -> int | None:
            number = self.categories.lookup(spelling)
            if number is None:
                missed.append(spelling)
                unknown[spelling] = None
            return number

        event = fold_event(signal.raw, lookup, time_ms=unix_ms(signal.time), source=sender.id)
        home = said(signal.raw, signal.time) if sender.is_server else None
        left = NOTHING if event.kind == "order_update" else AS_TOLD
        told = Told(event, signal.is_order, True, signal.raw, left=left)
        return Item(index, signal, named, told, unresolved=bool(missed), said=home)

    def _complete(self, bare: Sequence[Item], *, again: bool) -> None:
        """Give products named without a category the one the catalogue has, in the event itself, so that it stays."""
        products = {
            line.product for item in bare for line in item.told.event.lines if line.product and not line.category
        }
        slugs = self._slugs(products)
        for item in bare:
            if _filled(item.signal.raw.get("properties"), slugs):
                item.signal.body = msgspec.json.encode(item.signal.raw)
            elif not again:
                continue
            event = item.told.event
            item.told.event = fold_event(
                item.signal.raw, self.categories.lookup, time_ms=event.time_ms, source=event.source
            )

    def _slugs(self, products: Iterable[str]) -> dict[str, str]:
        with transaction(self._sessions) as session:
            rows = session.execute(
                text(
                    "SELECT p.id, c.slug FROM product p JOIN category c ON c.id = p.category_id WHERE p.id = ANY(:ids)"
                ),
                {"ids": list(products)},
            )
            found = {row.id: row.slug for row in rows}
        missing = [slug for slug in found.values() if self.categories.lookup(slug) is None]
        if missing:
            self.categories.learn(missing, create=False)
        return found


def _let_go(item: Item) -> None:
    """Drop the parsed body: it is many times its bytes, and only a consent's wording is read from it later."""
    if item.signal.kind != "consent":
        item.signal.raw, item.told.body = {}, None


def _without_category(event: FoldEvent) -> bool:
    return any(not line.category for line in event.lines)


def _filled(properties: Any, slugs: dict[str, str]) -> bool:
    """Write known categories into an event's products; returns whether there were any."""
    if not slugs or not isinstance(properties, dict):
        return False
    products = properties.get("products")
    filled = False
    for product in products if isinstance(products, list) else [properties]:
        slug = slugs.get(product_id(product)) if isinstance(product, dict) else None
        if slug is not None and not product.get("category"):
            product["category"] = slug
            filled = True
    return filled
