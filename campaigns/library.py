"""The library of pictures that managers upload: backgrounds of creatives, and photographs of products.

An upload passes the guard of campaigns/cleaning.py and is kept by the hash of its clean bytes, so the same picture
twice is one picture. Creatives name the hash; a picture that is archived goes on being drawn where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import InvalidInput, NotFound
from campaigns import admin_log
from campaigns.admin_log import Actor
from campaigns.cleaning import cleaned
from campaigns.models import Picture
from signals import productpictures
from signals.products import Product

MAX_NAME: Final = 120
Share = Annotated[float, Meta(ge=0, le=1)]


class Focus(Struct, frozen=True, forbid_unknown_fields=True):
    """What must stay in sight when a picture is cropped: 0 to 1 from its left and its top."""

    x: Share = 0.5
    y: Share = 0.5


def upload(session: Session, blobs: FolderBlobs, name: str, data: bytes, now: datetime, by: Actor) -> Picture:
    """Keep a picture. Raises InvalidInput naming `name` or `file`, with the reason why it is refused.

    A picture that is there already is shown again, under its new name.
    """
    _check_name(name)
    clean = cleaned(data, "file")
    digest = blobs.put(clean.body)
    row = session.scalar(select(Picture).where(Picture.digest == digest))
    before = None if row is None else admin_log.snapshot(row)
    if row is None:
        row = Picture(digest=digest, width=clean.width, height=clean.height, focus_x=0.5, focus_y=0.5, created_at=now)
        session.add(row)
    row.name, row.archived_at = name.strip(), None
    session.flush()
    action = "create" if before is None else "change"
    admin_log.record(session, by, action, "picture", row.id, now, before=before, after=admin_log.snapshot(row))
    return row


def change(session: Session, picture_id: int, name: str, focus: Focus, now: datetime, by: Actor) -> Picture:
    """Rename a picture and move its focus, with which creatives begin; those that use it keep the focus they have."""
    _check_name(name)
    row = picture(session, picture_id)
    before = admin_log.snapshot(row)
    row.name, row.focus_x, row.focus_y = name.strip(), focus.x, focus.y
    session.flush()
    admin_log.record(session, by, "change", "picture", row.id, now, before=before, after=admin_log.snapshot(row))
    return row


def archive(session: Session, picture_id: int, now: datetime, by: Actor) -> None:
    """Take a picture out of the library; where it is used it goes on being drawn."""
    row = picture(session, picture_id)
    row.archived_at = row.archived_at or now
    admin_log.record(session, by, "archive", "picture", row.id, now)


def show_for_product(session: Session, picture_id: int, product: str, now: datetime, by: Actor) -> None:
    """Make it the picture of a product, in place of what the feed links to. The caller publishes the product."""
    row = picture(session, picture_id)
    if not product or session.get(Product, product) is None:
        raise InvalidInput("product", "names a product that the feed does not have")
    productpictures.upload(session, product, row.digest, now)
    admin_log.record(session, by, "show for product", "picture", row.id, now, after={"product": product})


def retry(session: Session, products: Sequence[str], now: datetime, by: Actor) -> None:
    """Fetch the pictures of these products again that could not be had, now."""
    tried = productpictures.try_again(session, products, now)
    admin_log.record(
        session, by, "retry", "product pictures", "", now, after={"products": list(products), "tried": tried}
    )


def picture(session: Session, picture_id: int) -> Picture:
    """One picture. Raises NotFound."""
    row = session.get(Picture, picture_id)
    if row is None:
        raise NotFound("picture", picture_id)
    return row


def pictures(session: Session, *, before: int = 0, most: int = 48) -> list[Picture]:
    """Pictures that are not archived, the newest first; those older than `before` when it is given."""
    query = select(Picture).where(Picture.archived_at.is_(None)).order_by(Picture.id.desc()).limit(most)
    return list(session.scalars(query.where(Picture.id < before) if before else query))


def _check_name(name: str) -> None:
    if not 0 < len(name.strip()) <= MAX_NAME or any(ord(char) < 32 for char in name):
        raise InvalidInput("name", f"must have 1 to {MAX_NAME} characters on one line")
