"""Pictures for pages: an offer's creative drawn by the very functions that draw it at an open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import InvalidInput, NotFound
from campaigns import creatives, offers
from campaigns.models import Offer
from campaigns.samples import SAMPLES
from render import plan as plans
from render.binding import bind_texts, resolve
from render.creative import MAX_CELLS, Creative
from render.draw import draw
from render.fields import cells, prices
from render.fonts import Fonts
from render.plan import Kind
from render.samples import SAMPLE_AT_MS
from signals.catalog import Category
from signals.moments import unix_ms
from signals.products import Product, facts


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


@dataclass(frozen=True, slots=True)
class Sketch:
    """What of an offer its picture depends on; `fields` are its texts and what lowers its price."""

    creative_id: int
    kind: Kind
    product: str | None
    category: str | None
    fields: Mapping[str, str | int]
    units: int | None = None
    ends_at: datetime | None = None


def offer_picture(session: Session, blobs: FolderBlobs, row: Offer, now: datetime) -> bytes:
    """An offer as it is kept, as nobody in particular would see it, as a JPEG."""
    kind = msgspec.convert(row.kind, Kind)
    sketch = Sketch(row.creative_id, kind, row.product, row.category, row.fields, row.units, row.ends_at)
    return sketch_picture(session, blobs, sketch, now)


def sketch_picture(session: Session, blobs: FolderBlobs, sketch: Sketch, now: datetime) -> bytes:
    """An offer as it is being written. Raises NotFound for a creative there is not, InvalidInput for bad texts."""
    offers.check_texts(sketch.fields)
    fields: dict[str, str | int] = {f"offer.{name}": value for name, value in sketch.fields.items()}
    if sketch.ends_at is not None:
        fields["offer.ends_ms"] = unix_ms(sketch.ends_at)
    if sketch.category:
        row = session.scalar(select(Category).where(Category.slug == sketch.category))
        fields["product.category"] = row.name if row else sketch.category
    item = session.get(Product, sketch.product) if sketch.product else None
    further = offers.further_products(sketch.fields)
    offer = plans.Offer(
        id=0, name="", kind=sketch.kind, creative=sketch.creative_id, landing="", product=sketch.product,
        products=further, fields=dict(sketch.fields), units=sketch.units,
    )  # fmt: skip
    if item is not None:
        fields |= {"product.name": item.title} | prices(offer, facts(item).priced(unix_ms(now)), "en")
        if item.image_blob:
            fields["product.picture"] = item.image_blob
    if beside := _shown_beside(session, sketch.product, further):
        fields |= cells({}, offer, [facts(one).priced(unix_ms(now)) for one in beside], "en")
    design = creatives.compiled(creatives.creative(session, sketch.creative_id))
    return drawn(design, bind_texts(fields, "en"), blobs, at_ms=unix_ms(now))


def _shown_beside(session: Session, product: str | None, further: tuple[str, ...]) -> list[Product]:
    """The products of an offer with several, the first among them; none where it has but one."""
    names = dict.fromkeys([*([product] if product else []), *further]) if further else {}
    known = (session.get(Product, name) for name in names)
    return [item for item in known if item is not None][:MAX_CELLS]
