"""Products: the catalogue as the shop's feed last told it, and the slice of it that render reads."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import ARRAY, BigInteger, ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class Product(Model):
    """A catalogue item. Prices are in the currency's smallest unit (cents); `stock` None means the feed does not say.

    `feed_at` is when the feed last named it: a stale feed is told by its age. `complements` are category ids that go
    with it. `image_blob` is the SHA-256 of its picture once somebody stored one; the feed gives `image_link` only.
    """

    __tablename__ = "product"
    __table_args__ = (Index("ix_product_category_id", "category_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    category_id: Mapped[int | None] = mapped_column(ForeignKey("category.id"))
    brand: Mapped[str | None]
    line: Mapped[str | None]
    price_cents: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    stock: Mapped[int | None]
    promoted: Mapped[bool] = mapped_column(server_default=text("false"))
    link: Mapped[str | None]
    image_link: Mapped[str | None]
    image_blob: Mapped[str | None]
    complements: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default="{}")
    feed_at: Mapped[datetime]


class ProductFacts(msgspec.Struct, array_like=True, frozen=True):
    """What an open may ask of a product, at `product:<id>` in Valkey as MessagePack.

    Price in cents of `currency`; `stock` None when unknown; `feed_ms` is the feed's time in Unix milliseconds;
    `category` 0 when it has none; `image` the SHA-256 of its picture or "".
    """

    id: str
    price_cents: int
    currency: str
    stock: int | None
    feed_ms: int
    title: str
    category: int
    image: str
