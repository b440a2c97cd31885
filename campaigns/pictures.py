"""Pictures for pages: an offer's creative drawn by the very functions that draw it at an open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import InvalidInput, NotFound
from campaigns import creatives, offers
from campaigns.models import Offer
from campaigns.samples import SAMPLES
from render.binding import bind_texts, resolve
from render.creative import MAX_CELLS, Creative
from render.draw import draw
from render.fonts import Fonts
from render.samples import SAMPLE_AT_MS
from signals.catalog import Category
from signals.moments import unix_ms
from signals.products import Product


@cache
def fonts() -> Fonts:
    """The process's fonts, loaded when the first picture is drawn."""
    return Fonts.load()


class StoredAssets(Mapping[str, bytes]):
    """The blob store as drawing asks for it: a picture that is not there is simply absent."""

    def __init__(self, blobs: FolderBlobs) -> None:
        self._blobs = blobs

    def __getitem__(self, name: str) -> bytes:
        try:
            return self._blobs.get(name)
        except (NotFound, InvalidInput):
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return self._blobs.digests()

    def __len__(self) -> int:
        return sum(1 for _ in self._blobs.digests())


def drawn(
    creative: Creative,
    fields: Mapping[str, str | int | float],
    blobs: FolderBlobs,
    *,
    size: tuple[int, int] | None = None,
    dark: bool = False,
    locale: str = "en",
    currency: str = "EUR",
    at_ms: int | None = None,
) -> bytes:
    """The creative as a JPEG of the declared size, at the density of mails, as it is at `at_ms` (Unix ms)."""
    resolved = resolve(creative, dict(fields), locale, currency, at_ms)
    return draw(resolved, StoredAssets(blobs), size or (creative.width, creative.height), "jpg", dark, fonts())


def sample_picture(creative: Creative, blobs: FolderBlobs, sample: str, *, dark: bool, scale: int) -> bytes:
    """The creative with the facts of a sample as a JPEG; `scale` 2 is the density of mails, 1 half of it."""
    told = SAMPLES[sample]
    size = (creative.width * scale // 2, creative.height * scale // 2)
    return drawn(
        creative, told.fields, blobs, size=size, dark=dark, locale=told.locale, currency=told.currency,
        at_ms=SAMPLE_AT_MS,
    )  # fmt: skip


def stored_picture(blobs: FolderBlobs, digest: str) -> tuple[bytes, str]:
    """A kept picture and its content type, told by its first bytes. Raises NotFound."""
    body = blobs.get(digest)
    return body, "image/png" if body.startswith(b"\x89PNG") else "image/jpeg"


def offer_picture(session: Session, blobs: FolderBlobs, row: Offer, now: datetime) -> bytes:
    """An offer as it is kept, as nobody in particular would see it, as a JPEG."""
    return content_picture(session, blobs, row.creative_id, row.product, row.category, row.fields, row.ends_at, now)


def content_picture(
    session: Session,
    blobs: FolderBlobs,
    creative_id: int,
    product: str | None,
    category: str | None,
    texts: Mapping[str, str | int],
    ends_at: datetime | None,
    now: datetime,
) -> bytes:
    """An offer as it is being written. Raises NotFound for a creative there is not, InvalidInput for bad texts."""
    offers.check_texts(texts)
    fields: dict[str, str | int] = {f"offer.{name}": value for name, value in texts.items()}
    if ends_at is not None:
        fields["offer.ends_ms"] = unix_ms(ends_at)
    if category:
        row = session.scalar(select(Category).where(Category.slug == category))
        fields["product.category"] = row.name if row else category
    item = session.get(Product, product) if product else None
    if item is not None:
        fields |= {
            "product.name": item.title,
            "product.price_cents": item.price_at(now),
            "product.currency": item.currency,
        }
        if item.image_blob:
            fields["product.picture"] = item.image_blob
    for number, other in enumerate(_shown_beside(session, product, texts)):
        of_cell: dict[str, str | int] = {
            "name": other.title,
            "price_cents": other.price_at(now),
            "offer_cents": other.price_at(now),
            "currency": other.currency,
            "picture": other.image_blob or "",
        }
        fields |= {f"products.{number}.{name}": value for name, value in of_cell.items()}
    design = creatives.compiled(creatives.creative(session, creative_id))
    return drawn(design, bind_texts(fields, "en"), blobs, at_ms=unix_ms(now))


def _shown_beside(session: Session, product: str | None, texts: Mapping[str, str | int]) -> list[Product]:
    """The products of an offer with several, the first among them; none where it has but one."""
    further = offers.further_products(texts)
    names = dict.fromkeys([*([product] if product else []), *further]) if further else {}
    known = (session.get(Product, name) for name in names)
    return [item for item in known if item is not None][:MAX_CELLS]
