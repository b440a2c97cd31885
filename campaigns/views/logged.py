"""What the lines of the admin log are about: by its name, and with the way to its page where it has one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from campaigns.models import (
    AdminEntry,
    ApiKey,
    AudienceExport,
    Campaign,
    Creative,
    Gateway,
    Message,
    Offer,
    Picture,
    Scenario,
    Segment,
    User,
)  # fmt: skip
from signals.sources import Source

_ROWS: Final[Mapping[str, Any]] = {
    "api key": ApiKey, "audience export": AudienceExport, "campaign": Campaign, "creative": Creative,
    "gateway": Gateway, "message": Message, "offer": Offer, "picture": Picture, "scenario": Scenario,
    "segment": Segment, "segment at opens": Segment, "shop": Source, "source": Source, "user": User,
}  # fmt: skip
_PAGES: Final[Mapping[str, Callable[[Any], str]]] = {
    "campaign": lambda row: url_for("campaigns.show", campaign_id=row.id),
    "creative": lambda row: url_for("creatives.edit", creative_id=row.id),
    "offer": lambda row: url_for("offers.edit", offer_id=row.id),
    "picture": lambda row: url_for("pictures.show", picture_id=row.id),
    "scenario": lambda row: url_for("scenarios.show", campaign_id=row.campaign_id, number=row.id),
    "segment": lambda row: url_for("segments.show", segment_id=row.id),
    "segment at opens": lambda row: url_for("segments.show", segment_id=row.id),
}
_NAMELESS: Final[Mapping[str, Callable[[str], str]]] = {
    "customer": lambda number: url_for("customers.show", profile=number),
    "refused signal": lambda number: url_for("stream.show", kind="refused", number=number),
}


@dataclass(frozen=True)
class Thing:
    """What a line is about: `words` has its kind and its name, or its number where it has none or is gone."""

    words: str
    url: str = ""


def things(session: Session, entries: Iterable[AdminEntry]) -> dict[int, Thing]:
    """What each line is about, by the line's number."""
    entries = list(entries)
    asked: dict[str, set[str]] = {}
    for entry in entries:
        asked.setdefault(entry.object_type, set()).add(entry.object_id)
    found = {kind: _rows(session, _ROWS[kind], numbers) for kind, numbers in asked.items() if kind in _ROWS}
    return {entry.id: _thing(entry, found.get(entry.object_type, {}).get(entry.object_id)) for entry in entries}


def _rows(session: Session, model: Any, numbers: set[str]) -> dict[str, Any]:
    wanted = numbers if model is ApiKey else {int(number) for number in numbers if number.isdecimal()}
    return {str(row.id): row for row in session.scalars(select(model).where(model.id.in_(wanted)))}


def _thing(entry: AdminEntry, row: Any) -> Thing:
    kind, number = entry.object_type, entry.object_id
    if row is not None:
        return Thing(f"{kind} “{row.name}”", _PAGES[kind](row) if kind in _PAGES else "")
    return Thing(f"{kind} {number}".strip(), _NAMELESS[kind](number) if kind in _NAMELESS else "")
