"""Calls that come again: which of a batch are new, which repeat a stored one or each other, which contradict one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from signals import journal, withholding
from signals.reading import Item
from signals.sources import Sender


def sorted_out(session: Session, sender: Sender, items: Sequence[Item]) -> tuple[list[Item], list[Item], set[int]]:
    """The events that are new, the others, and the profiles of those that are stored; sets each item's status."""
    stored = journal.find(session, sender, {item.signal.message_id for item in items})
    seen = {message_id: known.content_hash for message_id, known in stored.items()}
    fresh: list[Item] = []
    others: list[Item] = []
    for item in items:
        known = seen.get(item.signal.message_id)
        if known is None:
            item.status, item.fault = "accepted", None
            seen[item.signal.message_id] = item.signal.content_hash
            fresh.append(item)
        else:
            item.status = "duplicate" if known == item.signal.content_hash else "conflict"
            others.append(item)
    return fresh, others, {known.profile_id for known in stored.values()}


def unsettled(fresh: Sequence[Item], others: Sequence[Item]) -> list[Item]:
    """Of the others those that name a call which was not kept, and say something else: there is nothing that they
    contradict. Who says the same comes to the same."""
    left_out = {item.signal.message_id: item for item in fresh if item.status in ("rejected", "withheld")}
    again = []
    for item in others:
        first = left_out.get(item.signal.message_id)
        if first is not None and item.status == "duplicate":
            item.status, item.fault = first.status, first.fault
        elif first is not None:
            again.append(item)
    return again


def list_conflicts(session: Session, hash_key: bytes, sender: Sender, conflicts: Sequence[Item], now: datetime) -> None:
    """Keep calls that contradict a stored one to be looked at, without behaviour of whoever refuses it."""
    told = [(item.signal.body, item.signal.type) for item in conflicts]
    hidden = withholding.unlisted(session, sender, told, hash_key)
    listed = [item.signal for number, item in enumerate(conflicts) if number not in hidden]
    journal.list_conflicts(session, sender, listed, now)
