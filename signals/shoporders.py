"""Settling what a shop says: its calls through the intake, and words on an order with the person whose order it is.

A refund may come before its order. It waits then, without a name in it, and is told as soon as the order is: whichever
of the two comes second finds the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Identity, Index, UniqueConstraint, bindparam, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import InvalidInput
from base.sealed import SealedJson
from signals import journal, sealingkeys
from signals.intake import Intake, take
from signals.journal import Refusal
from signals.listing import Listed
from signals.products import take_products
from signals.shopreading import Bound, Said
from signals.shops import Shop
from signals.sources import Sender
from signals.telling import tell

KEPT: Final = timedelta(days=60)
WAITING_PROPERTIES: Final = SealedJson("shop_waiting.properties")
ERASE: Final = "names a customer whom the shop asks to have erased; nobody is erased by that alone"
MOST_WAITING: Final = 10_000
"""Words on orders we never heard of that are kept of a shop; older ones make room."""


class ShopWaiting(Model):
    """A word on an order that is not there yet; it names nobody."""

    __tablename__ = "shop_waiting"
    __table_args__ = (
        UniqueConstraint("source_id", "message_id"),
        Index("ix_shop_waiting_source_id_order_id", "source_id", "order_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    source_id: Mapped[int]
    order_id: Mapped[str]
    message_id: Mapped[str]
    event: Mapped[str]
    properties: Mapped[dict[str, Any]] = mapped_column(WAITING_PROPERTIES)
    at: Mapped[datetime]
    received_at: Mapped[datetime]


def settle(intake: Intake, shop: Shop, said: Said, now: datetime) -> None:
    """Take what a call says: in effect for the next open when it returns. Doing it again changes nothing.

    What the intake refuses is listed among the refused signals. Raises Unavailable.
    """
    sender = shop.sender
    calls = said.calls
    if said.once:
        known = intake.settle(lambda session: journal.find(session, sender, said.once))
        calls = [call for call in calls if call["messageId"] not in known]
    if calls:
        take(intake, sender, [msgspec.json.encode(call) for call in calls], now)
    if said.bound:
        intake.settle(partial(_wait, sender, said.bound, now))
    for order in sorted({one.order_id for one in said.bound} | _orders(said.calls)):
        _tell_waiting(intake, sender, order, now)
    if said.items and said.items_at is not None:
        take_products(intake, sender, said.items, min(said.items_at, now), came=now)


def refuse(intake: Intake, shop: Shop, topic: str, number: str, error: InvalidInput, now: datetime) -> None:
    """List a call that could not be read among the refused signals, by the number of what it is about.

    Its body may name somebody in a place we do not know, so that an erasure could not find it: it is not kept.
    """
    body = msgspec.json.encode({"topic": topic, "id": number})
    refusal = Refusal("shop", error.field, f"{topic}: {error.message}", body)
    intake.settle(partial(_list, shop.sender, refusal, now))


def ask_to_erase(intake: Intake, shop: Shop, topic: str, user: str, now: datetime) -> None:
    """List among the refused signals, once, that a shop asks to have a customer erased: a person does that. It names
    the customer by their number, so it goes with their erasure."""
    refusal = Refusal("erasure", "userId", ERASE, msgspec.json.encode({"topic": topic, "userId": user}))

    before = Listed(intake.sessions, shop.sender, now, [refusal.reason])
    before.look()

    def listed(session: Session) -> None:
        before.forget(session, [refusal])
        journal.refuse(session, shop.sender, [refusal], now)

    intake.settle(listed)


def waiting(session: Session) -> dict[int, int]:
    """How many words on orders wait, by source."""
    rows = session.execute(text("SELECT source_id, count(*) AS number FROM shop_waiting GROUP BY source_id"))
    return {row.source_id: row.number for row in rows}


_WAIT: Final = text("""
    INSERT INTO shop_waiting (source_id, order_id, message_id, event, properties, at, received_at)
    VALUES (:source, :order, :name, :event, CAST(:properties AS bytea), :at, :now)
    ON CONFLICT (source_id, message_id) DO NOTHING
""").bindparams(bindparam("properties", type_=WAITING_PROPERTIES))
_PRUNE: Final = text("""
    DELETE FROM shop_waiting WHERE source_id = :source AND (received_at < :before OR id <= (
        SELECT id FROM shop_waiting WHERE source_id = :source ORDER BY id DESC OFFSET :most LIMIT 1))
""")
_OWNER: Final = text("""
    SELECT profile_id FROM event WHERE order_id = :order AND source_id = :source AND name = 'Order Completed'
    ORDER BY id LIMIT 1
""")
_WAITING: Final = text("""
    SELECT id, message_id, event, properties, at FROM shop_waiting
    WHERE source_id = :source AND order_id = :order ORDER BY at, message_id
""")
_TOLD: Final = text("DELETE FROM shop_waiting WHERE id = ANY(:ids)")


def _wait(sender: Sender, bound: Sequence[Bound], now: datetime, session: Session) -> None:
    known = journal.find(session, sender, {one.name for one in bound})
    for one in bound:
        if one.name not in known:
            session.execute(
                _WAIT,
                {
                    "source": sender.id, "order": one.order_id, "name": one.name, "event": one.event, "at": one.at,
                    "properties": one.properties, "now": now,
                },
            )  # fmt: skip
    session.execute(_PRUNE, {"source": sender.id, "before": now - KEPT, "most": MOST_WAITING})


def _tell_waiting(intake: Intake, sender: Sender, order: str, now: datetime) -> None:
    """Tell what waits for an order, if the order is there. What is damaged goes on waiting, until its time is over."""
    given = {"source": sender.id, "order": order}

    def found(session: Session) -> tuple[int | None, list[tuple[Any, Any]]]:
        rows = [
            (row, sealingkeys.legible(session, row.properties, WAITING_PROPERTIES, waiting=row.id))
            for row in session.execute(_WAITING, given).all()
        ]
        return (session.scalar(_OWNER, given) if rows else None), [one for one in rows if one[1] is not None]

    owner, rows = intake.settle(found)
    if owner is None:
        return
    for row, properties in rows:
        try:
            tell(intake, sender, owner, row.event, properties, at=row.at, now=now, message_id=row.message_id)
        except InvalidInput as error:
            body = msgspec.json.encode({"type": "track", "event": row.event, "properties": properties})
            refusal = Refusal("shop", error.field, error.message, body)
            intake.settle(partial(_list, sender, refusal, now))
        intake.settle(partial(_told, row.id))


def _told(number: int, session: Session) -> None:
    session.execute(_TOLD, {"ids": [number]})


def _list(sender: Sender, refusal: Refusal, now: datetime, session: Session) -> None:
    journal.refuse(session, sender, [refusal], now)


def _orders(calls: Sequence[dict[str, Any]]) -> set[str]:
    return {call["properties"]["order_id"] for call in calls if call.get("event") == "Order Completed"}
