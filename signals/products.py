"""Products: the catalogue as the shop's feed last told it, and the slice of it that render reads."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model
from signals.productfacts import ProductFacts as ProductFacts


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
