"""Creatives: how offers look. A creative's document is the JSON of a render creative without its id and name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput, NotFound
from campaigns import admin_log
from campaigns.admin_log import Actor
from campaigns.models.catalogue import Creative, Offer
from render import creative as design
from render import validity

MAX_NAME = 120


def create_creative(session: Session, name: str, document: Mapping[str, Any], now: datetime, by: Actor) -> Creative:
    """Keep a new creative. Raises InvalidInput naming the part at fault, Conflict when the name is taken."""
    (row,) = create_creatives(session, {name: document}, now, by)
    return row


def create_creatives(
    session: Session, documents: Mapping[str, Mapping[str, Any]], now: datetime, by: Actor
) -> list[Creative]:
    """Keep new creatives, by their names, in that order. Raises as `create_creative`."""
    _check_names(session, documents, None)
    for name, document in documents.items():
        _read(0, name, document)
    rows = [
        Creative(name=name.strip(), document=dict(document), created_at=now, updated_at=now)
        for name, document in documents.items()
    ]
    session.add_all(rows)
    session.flush()
    for row in rows:
        admin_log.record(session, by, "create", "creative", row.id, now, after=admin_log.snapshot(row))
    return rows


def update_creative(
    session: Session, creative_id: int, name: str, document: Mapping[str, Any], now: datetime, by: Actor
) -> Creative:
    """Replace a creative's content. Published plans keep the old one until they are published again."""
    row = creative(session, creative_id)
    before = admin_log.snapshot(row)
    _check_names(session, (name,), creative_id)
    _read(creative_id, name, document)
    row.name, row.document, row.updated_at = name.strip(), dict(document), now
    session.flush()
    admin_log.record(session, by, "change", "creative", row.id, now, before=before, after=admin_log.snapshot(row))
    return row


def archive_creative(session: Session, creative_id: int, now: datetime, by: Actor) -> None:
    """Take a creative out of the lists. Raises Conflict while an offer that is not archived uses it."""
    row = creative(session, creative_id)
    users = select(func.count()).select_from(Offer).where(Offer.creative_id == creative_id, Offer.archived_at.is_(None))
    if session.scalar(users):
        raise Conflict("An offer still uses this creative.")
    row.archived_at = row.archived_at or now
    admin_log.record(session, by, "archive", "creative", row.id, now)


def creative(session: Session, creative_id: int) -> Creative:
    """One creative. Raises NotFound."""
    row = session.get(Creative, creative_id)
    if row is None:
        raise NotFound("creative", creative_id)
    return row


def creatives(session: Session, *, archived: bool = False) -> list[Creative]:
    """All creatives by name; the archived ones only when asked for."""
    query = select(Creative).order_by(Creative.name)
    if not archived:
        query = query.where(Creative.archived_at.is_(None))
    return list(session.scalars(query))


def compiled(row: Creative) -> design.Creative:
    """The creative as a plan holds it. Raises InvalidInput when it is not sound."""
    return _read(row.id, row.name, row.document)


def read(name: str, document: Mapping[str, Any]) -> design.Creative:
    """A creative as it is being written. Raises InvalidInput naming the part at fault."""
    return _read(0, name, document)


def _read(creative_id: int, name: str, document: Mapping[str, Any]) -> design.Creative:
    unknown = sorted(set(document) - set(design.Creative.__struct_fields__))
    if unknown:
        raise InvalidInput("document", f"has fields that a creative does not: {', '.join(unknown)}")
    try:
        read = msgspec.convert({**document, "id": creative_id, "name": name}, design.Creative)
    except msgspec.ValidationError as error:
        raise InvalidInput("document", str(error)) from None
    validity.check(read)
    return read


def _check_names(session: Session, names: Collection[str], creative_id: int | None) -> None:
    if not all(0 < len(name.strip()) <= MAX_NAME for name in names):
        raise InvalidInput("name", f"must have 1 to {MAX_NAME} characters")
    taken = session.scalars(select(Creative.id).where(Creative.name.in_(name.strip() for name in names)))
    if set(taken) - {creative_id}:
        raise Conflict("Another creative has this name.")
