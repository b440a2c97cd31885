"""Messages: what a manager writes. A message that cannot be compiled into a mail is not kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import Conflict, NotFound
from campaigns import admin_log, locks
from campaigns.admin_log import Actor
from campaigns.mail import MessageIn, compile_mail
from campaigns.models.campaign import Campaign
from campaigns.models.catalogue import Message


def create_message(session: Session, content: MessageIn, now: datetime, by: Actor) -> Message:
    """Keep a new message. Raises InvalidInput naming the field, Conflict when the name is taken."""
    _check(session, content, None)
    row = Message(created_at=now, updated_at=now, **_columns(content))
    session.add(row)
    session.flush()
    admin_log.record(session, by, "create", "message", row.id, now, after=admin_log.snapshot(row))
    return row


def update_message(session: Session, message_id: int, content: MessageIn, now: datetime, by: Actor) -> Message:
    """Replace a message's content. Mails go out as published until the campaign is published again.

    Raises Conflict when the name is taken, or a campaign that sends it is locked.
    """
    row = message(session, message_id)
    locks.refuse_message(session, message_id)
    before = admin_log.snapshot(row)
    _check(session, content, message_id)
    for name, value in _columns(content).items():
        setattr(row, name, value)
    row.updated_at = now
    session.flush()
    admin_log.record(session, by, "change", "message", row.id, now, before=before, after=admin_log.snapshot(row))
    return row


def archive_message(session: Session, message_id: int, now: datetime, by: Actor) -> None:
    """Take a message out of the lists. Raises Conflict while a campaign that is not over sends it."""
    row = message(session, message_id)
    over = ("finished", "cancelled")
    name = session.scalar(select(Campaign.name).where(Campaign.message_id == message_id, Campaign.state.not_in(over)))
    if name is not None:
        raise Conflict(f"The campaign {name} still sends this message.")
    row.archived_at = row.archived_at or now
    admin_log.record(session, by, "archive", "message", row.id, now)


def message(session: Session, message_id: int) -> Message:
    """One message. Raises NotFound."""
    row = session.get(Message, message_id)
    if row is None:
        raise NotFound("message", message_id)
    return row


def messages(session: Session, *, archived: bool = False) -> list[Message]:
    """All messages by name; the archived ones only when asked for."""
    query = select(Message).order_by(Message.name)
    if not archived:
        query = query.where(Message.archived_at.is_(None))
    return list(session.scalars(query))


def content(row: Message) -> MessageIn:
    """A stored message as it could be written again."""
    return msgspec.convert({name: getattr(row, name) for name in MessageIn.__struct_fields__}, MessageIn)


def _columns(content: MessageIn) -> dict[str, Any]:
    columns = {name: getattr(content, name) for name in MessageIn.__struct_fields__}
    return columns | {"name": content.name.strip(), "slots": msgspec.to_builtins(content.slots)}


def _check(session: Session, content: MessageIn, message_id: int | None) -> None:
    compile_mail(content, 0, "")
    taken = session.scalar(select(Message.id).where(Message.name == content.name.strip()))
    if taken is not None and taken != message_id:
        raise Conflict("Another message has this name.")
