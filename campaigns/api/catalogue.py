"""Offers, creatives and segments."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import msgspec
from flask import Response
from sqlalchemy.orm import Session

from campaigns import creatives, editions, offers, scores, segments
from campaigns.access import allow
from campaigns.api.desk import Done, api, edited, served
from campaigns.models import Creative, Segment
from campaigns.models import Offer as OfferRow
from campaigns.offers import OfferIn
from campaigns.parts import parts
from campaigns.pictures import offer_picture, sample_picture
from campaigns.views.acting import actor
from render import creative as design


class Offer(OfferIn, frozen=True, kw_only=True):
    """An offer as it is kept."""

    id: int


class CreativeIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A creative: its name and its document, the design as JSON (docs/creatives.md)."""

    name: str
    document: dict[str, Any]


SampleName = Literal["usual", "long", "bare", "de", "ar", "he", "ja", "zh", "hi", "th", "emoji"]


class Look(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a creative is looked at: with which made-up facts, in light or dark, at once or twice its size."""

    sample: SampleName = "usual"
    dark: bool = False
    scale: Literal[1, 2] = 2


class CreativeLook(CreativeIn, frozen=True, forbid_unknown_fields=True):
    """A creative as it is being written, and how to look at it."""

    look: Look = Look()


class CreativeOut(msgspec.Struct, frozen=True):
    """A creative as it is kept."""

    id: int
    name: str
    document: dict[str, Any]


class SegmentIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A segment: its name and its rule (docs/rules.md)."""

    name: str
    rule: dict[str, Any]


class SegmentOut(msgspec.Struct, frozen=True):
    """A segment as it is kept; `count` is the last one made. `scores`: those its rule asks for, as of when each."""

    id: int
    name: str
    rule: dict[str, Any]
    count: int | None = None
    scores: dict[str, str] = {}


class SegmentSize(msgspec.Struct, frozen=True):
    """How many people were in a segment on a day (UTC)."""

    day: str
    people: int


class SegmentSizes(msgspec.Struct, frozen=True):
    """A segment's sizes, the oldest day first; at most 400 days back."""

    sizes: list[SegmentSize]


class Offers(msgspec.Struct, frozen=True):
    """All offers."""

    offers: list[Offer]


class Creatives(msgspec.Struct, frozen=True):
    """All creatives."""

    creatives: list[CreativeOut]


class Segments(msgspec.Struct, frozen=True):
    """All segments."""

    segments: list[SegmentOut]


def offer_out(row: OfferRow) -> Offer:
    """A stored offer as the API tells it."""
    content = offers.content(row)
    return Offer(id=row.id, **{name: getattr(content, name) for name in OfferIn.__struct_fields__})


def _offer_edition(row: OfferRow) -> str:
    return editions.of(offers.content(row))


def _offer_told(row: OfferRow) -> Offer:
    return edited(offer_out(row), _offer_edition(row))


def _creative_out(row: Creative) -> CreativeOut:
    return CreativeOut(row.id, row.name, row.document)


def _creative_edition(row: Creative) -> str:
    return editions.of(row.name, row.document)


def _creative_told(row: Creative) -> CreativeOut:
    return edited(_creative_out(row), _creative_edition(row))


def segment_out(session: Session, row: Segment) -> SegmentOut:
    """A stored segment as the API tells it."""
    found = {name: at.isoformat() for name, at in scores.as_of(session, row.rule).items()}
    return SegmentOut(row.id, row.name, row.rule, row.count, found)


def _segment_edition(row: Segment) -> str:
    return editions.of(row.name, row.rule)


def _segment_told(session: Session, row: Segment) -> SegmentOut:
    return edited(segment_out(session, row), _segment_edition(row))


@api.get("/offers")
@allow("manager")
@served(200, Offers, "offers")
def list_offers() -> Offers:
    """All offers that are not archived."""
    with parts().transaction() as session:
        return Offers([offer_out(row) for row in offers.offers(session)])


@api.post("/offers")
@allow("manager")
@served(201, Offer, "offers", 409, editions=True)
def create_offer(json: OfferIn) -> tuple[Offer, int]:
    """Make an offer."""
    with parts().transaction() as session:
        return _offer_told(offers.create_offer(session, json, parts().now(), actor())), 201


@api.get("/offers/<int:offer_id>")
@allow("manager")
@served(200, Offer, "offers", 404, editions=True)
def get_offer(offer_id: int) -> Offer:
    """One offer."""
    with parts().transaction() as session:
        return _offer_told(offers.offer(session, offer_id))


@api.put("/offers/<int:offer_id>")
@allow("manager")
@served(200, Offer, "offers", 404, 409, editions=True)
def update_offer(offer_id: int, json: OfferIn) -> Offer:
    """Replace an offer. What is published keeps the old one until it is published again."""
    with parts().transaction() as session:
        row = offers.offer(session, offer_id)
        editions.require(session, row, partial(_offer_edition, row))
        return _offer_told(offers.update_offer(session, offer_id, json, parts().now(), actor()))


@api.delete("/offers/<int:offer_id>")
@allow("manager")
@served(200, Done, "offers", 404, 409, 412)
def archive_offer(offer_id: int) -> Done:
    """Take an offer out of the lists."""
    with parts().transaction() as session:
        row = offers.offer(session, offer_id)
        editions.require(session, row, partial(_offer_edition, row))
        offers.archive_offer(session, offer_id, parts().now(), actor())
    return Done()


@api.get("/offers/<int:offer_id>/picture")
@allow("manager")
@served(200, None, "offers", 404)
def get_offer_picture(offer_id: int) -> Response:
    """The offer as it is kept, drawn as an open draws it (JPEG)."""
    with parts().transaction() as session:
        body = offer_picture(session, parts().blobs, offers.offer(session, offer_id), parts().now())
    return Response(body, content_type="image/jpeg")


@api.get("/creatives")
@allow("manager")
@served(200, Creatives, "creatives")
def list_creatives() -> Creatives:
    """All creatives that are not archived."""
    with parts().transaction() as session:
        return Creatives([_creative_out(row) for row in creatives.creatives(session)])


@api.post("/creatives")
@allow("manager")
@served(201, CreativeOut, "creatives", 409, editions=True)
def create_creative(json: CreativeIn) -> tuple[CreativeOut, int]:
    """Make a creative."""
    with parts().transaction() as session:
        row = creatives.create_creative(session, json.name, json.document, parts().now(), actor())
        return _creative_told(row), 201


@api.get("/creatives/<int:creative_id>")
@allow("manager")
@served(200, CreativeOut, "creatives", 404, editions=True)
def get_creative(creative_id: int) -> CreativeOut:
    """One creative."""
    with parts().transaction() as session:
        return _creative_told(creatives.creative(session, creative_id))


@api.put("/creatives/<int:creative_id>")
@allow("manager")
@served(200, CreativeOut, "creatives", 404, 409, editions=True)
def update_creative(creative_id: int, json: CreativeIn) -> CreativeOut:
    """Replace a creative."""
    with parts().transaction() as session:
        row = creatives.creative(session, creative_id)
        editions.require(session, row, partial(_creative_edition, row))
        row = creatives.update_creative(session, creative_id, json.name, json.document, parts().now(), actor())
        return _creative_told(row)


@api.delete("/creatives/<int:creative_id>")
@allow("manager")
@served(200, Done, "creatives", 404, 409, 412)
def archive_creative(creative_id: int) -> Done:
    """Take a creative out of the lists."""
    with parts().transaction() as session:
        row = creatives.creative(session, creative_id)
        editions.require(session, row, partial(_creative_edition, row))
        creatives.archive_creative(session, creative_id, parts().now(), actor())
    return Done()


@api.get("/creatives/<int:creative_id>/picture")
@allow("manager")
@served(200, None, "creatives", 404)
def get_creative_picture(creative_id: int, query: Look) -> Response:
    """The creative as it is kept, drawn with made-up facts as an open draws it (JPEG)."""
    with parts().transaction() as session:
        return _drawn(creatives.compiled(creatives.creative(session, creative_id)), query)


@api.post("/creatives/draw")
@allow("manager")
@served(200, None, "creatives")
def draw_creative(json: CreativeLook) -> Response:
    """A creative as it is being written, drawn with made-up facts as an open draws it (JPEG); nothing is kept."""
    return _drawn(creatives.read(json.name, json.document), json.look)


def _drawn(creative: design.Creative, look: Look) -> Response:
    body = sample_picture(creative, parts().blobs, look.sample, dark=look.dark, scale=look.scale)
    return Response(body, content_type="image/jpeg")


@api.get("/segments")
@allow("manager", "support")
@served(200, Segments, "segments")
def list_segments() -> Segments:
    """All segments."""
    with parts().transaction() as session:
        return Segments([segment_out(session, row) for row in segments.segments(session)])


@api.post("/segments")
@allow("manager")
@served(201, SegmentOut, "segments", 409, editions=True)
def create_segment(json: SegmentIn) -> tuple[SegmentOut, int]:
    """Make a segment."""
    with parts().transaction() as session:
        row = segments.create_segment(session, json.name, json.rule, parts().now(), actor())
        return _segment_told(session, row), 201


@api.get("/segments/<int:segment_id>")
@allow("manager")
@served(200, SegmentOut, "segments", 404, editions=True)
def get_segment(segment_id: int) -> SegmentOut:
    """One segment."""
    with parts().transaction() as session:
        return _segment_told(session, segments.segment(session, segment_id))


@api.put("/segments/<int:segment_id>")
@allow("manager")
@served(200, SegmentOut, "segments", 404, 409, editions=True)
def update_segment(segment_id: int, json: SegmentIn) -> SegmentOut:
    """Replace a segment's rule; audiences that name it follow."""
    with parts().transaction() as session:
        row = segments.segment(session, segment_id)
        editions.require(session, row, partial(_segment_edition, row))
        row = segments.update_segment(session, segment_id, json.name, json.rule, parts().now(), actor())
        return _segment_told(session, row)


@api.delete("/segments/<int:segment_id>")
@allow("manager")
@served(200, Done, "segments", 404, 409, 412)
def delete_segment(segment_id: int) -> Done:
    """Forget a segment."""
    with parts().transaction() as session:
        row = segments.segment(session, segment_id)
        editions.require(session, row, partial(_segment_edition, row))
        segments.delete_segment(session, segment_id, parts().now(), actor())
    return Done()


@api.get("/segments/<int:segment_id>/count")
@allow("manager")
@served(200, SegmentOut, "segments", 404)
def count_segment(segment_id: int) -> SegmentOut:
    """How many are in it now."""
    with parts().transaction() as session:
        segments.count(session, segment_id, parts().now())
        return segment_out(session, segments.segment(session, segment_id))


@api.get("/segments/<int:segment_id>/sizes")
@allow("manager")
@served(200, SegmentSizes, "segments", 404)
def segment_sizes(segment_id: int) -> SegmentSizes:
    """How large it was on each day on which it was counted."""
    with parts().transaction() as session:
        segments.segment(session, segment_id)
        found = segments.sizes(session, segment_id)
    return SegmentSizes([SegmentSize(day.isoformat(), people) for day, people in found])
