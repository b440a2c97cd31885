"""Products: the catalogue as the shop's feed last told it, and the slice of it that render reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Final

import msgspec
from sqlalchemy import ARRAY, BigInteger, ForeignKey, Index, Integer, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import InvalidInput
from signals import feedhealth, journal, productpictures
from signals.feed import FeedProduct, product
from signals.intake import Intake
from signals.journal import Refusal
from signals.moments import unix_ms
from signals.productfacts import ProductFacts as ProductFacts
from signals.sources import Sender

CHUNK: Final = 1_000
_ENCODER: Final = msgspec.msgpack.Encoder()


class Product(Model):
    """A catalogue item. Prices are in minor units of the currency; `stock` is how many there are at least, None
    when the feed is silent about it (signals/feed.py). The sale price counts from `sale_from` to `sale_until`.

    `feed_at` is when the feed last named it, `source_id` whose feed that was (None: before that was noted): a stale
    feed is told by its age. `complements` are category ids that go
    with it. `tier` orders the versions of a line, the better one higher. `image_blob` is the SHA-256 of its picture
    once somebody stored one; the feed gives `image_link` only. `words` is what a search looks through: id, title,
    brand and line in small letters, made here, since a database need not know those of every script.
    """

    __tablename__ = "product"
    __table_args__ = (Index("ix_product_category_id", "category_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    category_id: Mapped[int | None] = mapped_column(ForeignKey("category.id"))
    brand: Mapped[str | None]
    line: Mapped[str | None]
    tier: Mapped[int | None]
    price_cents: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    sale_cents: Mapped[int | None] = mapped_column(BigInteger)
    sale_from: Mapped[datetime | None]
    sale_until: Mapped[datetime | None]
    stock: Mapped[int | None]
    promoted: Mapped[bool] = mapped_column(server_default=text("false"))
    link: Mapped[str | None]
    image_link: Mapped[str | None]
    image_blob: Mapped[str | None]
    complements: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default="{}")
    feed_at: Mapped[datetime]
    source_id: Mapped[int | None]
    words: Mapped[str] = mapped_column(server_default="", deferred=True)

    def price_at(self, now: datetime) -> int:
        """What it costs at that moment: the sale price in its time alone."""
        return facts(self).priced(unix_ms(now)).price_cents


@dataclass(frozen=True, slots=True)
class BadProduct:
    """An item of a feed that was refused; `index` counts the items from 0."""

    index: int
    field: str
    message: str


@dataclass(slots=True)
class FeedReport:
    """What became of a feed. `rejected` holds the first hundred; all of them are in rejected_event."""

    stored: int = 0
    refused: int = 0
    rejected: list[BadProduct] = field(default_factory=list)


SHOWN: Final = 100


def take_products(intake: Intake, sender: Sender, items: Iterable[Mapping[str, Any]], now: datetime) -> FeedReport:
    """Store and publish the items of a feed, a thousand at a time; a bad item is listed and the others are kept.

    Raises Unavailable when a store is away (what was stored stays; sending the feed again is safe) and InvalidInput
    when the feed itself cannot be read further.
    """
    report = FeedReport()
    numbered = enumerate(items)
    while chunk := list(islice(numbered, CHUNK)):
        good: dict[str, FeedProduct] = {}
        refusals: list[Refusal] = []
        for index, item in chunk:
            try:
                found = product(item)
                good[found.id] = found
            except InvalidInput as error:
                report.refused += 1
                if len(report.rejected) < SHOWN:
                    report.rejected.append(BadProduct(index, error.field, error.message))
                refusals.append(Refusal("product", error.field, error.message, _shown(item)))
        intake.categories.learn(_spellings(good.values()), create=True)
        intake.settle(partial(_store, intake, sender, list(good.values()), refusals, now))
        publish_products(intake, list(good))
        report.stored += len(good)
    return report


def _shown(item: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({name: str(value)[:200] for name, value in islice(item.items(), 30)})


def _spellings(products: Iterable[FeedProduct]) -> Iterator[str]:
    for entry in products:
        if entry.category:
            yield entry.category
        yield from entry.complements


_UPSERT = text("""
    INSERT INTO product (id, title, category_id, brand, line, tier, price_cents, currency, sale_cents, sale_from,
                         sale_until, stock, promoted, link, image_link, complements, words, feed_at, source_id)
    SELECT id, title, category_id, brand, line, tier, price_cents, currency, sale_cents, sale_from, sale_until, stock,
           promoted, link, image_link, CAST(complements AS int[]), words, :now, :source
    FROM unnest(CAST(:ids AS text[]), CAST(:titles AS text[]), CAST(:categories AS int[]), CAST(:brands AS text[]),
                CAST(:lines AS text[]), CAST(:tiers AS int[]), CAST(:prices AS bigint[]),
                CAST(:currencies AS text[]), CAST(:sales AS bigint[]), CAST(:sales_from AS timestamptz[]),
                CAST(:sales_until AS timestamptz[]), CAST(:stocks AS int[]), CAST(:promoted AS boolean[]),
                CAST(:links AS text[]), CAST(:image_links AS text[]), CAST(:complements AS text[]),
                CAST(:words AS text[]))
         AS new (id, title, category_id, brand, line, tier, price_cents, currency, sale_cents, sale_from, sale_until,
                 stock, promoted, link, image_link, complements, words)
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET title = excluded.title, category_id = excluded.category_id, brand = excluded.brand,
        line = excluded.line, tier = excluded.tier, price_cents = excluded.price_cents, currency = excluded.currency,
        sale_cents = excluded.sale_cents, sale_from = excluded.sale_from, sale_until = excluded.sale_until,
        stock = excluded.stock, promoted = excluded.promoted, link = excluded.link, image_link = excluded.image_link,
        complements = excluded.complements, words = excluded.words, feed_at = excluded.feed_at,
        source_id = excluded.source_id
    WHERE product.feed_at <= excluded.feed_at
""")


def _store(
    intake: Intake,
    sender: Sender,
    rows: list[FeedProduct],
    refusals: list[Refusal],
    now: datetime,
    session: Session,
) -> None:
    journal.refuse(session, sender, refusals, now)
    lookup = intake.categories.lookup
    complements = [sorted({number for name in row.complements if (number := lookup(name)) is not None}) for row in rows]
    session.execute(
        _UPSERT,
        {
            "ids": [row.id for row in rows],
            "titles": [row.title for row in rows],
            "categories": [lookup(row.category) if row.category else None for row in rows],
            "brands": [row.brand for row in rows],
            "lines": [row.line for row in rows],
            "tiers": [row.tier for row in rows],
            "prices": [row.price_cents for row in rows],
            "currencies": [row.currency for row in rows],
            "sales": [row.sale_cents for row in rows],
            "sales_from": [row.sale_from for row in rows],
            "sales_until": [row.sale_until for row in rows],
            "stocks": [row.stock for row in rows],
            "promoted": [row.promoted for row in rows],
            "links": [row.link for row in rows],
            "image_links": [row.image_link for row in rows],
            "complements": ["{" + ",".join(map(str, numbers)) + "}" for numbers in complements],
            "words": [" ".join(filter(None, (row.id, row.title, row.brand, row.line))).casefold() for row in rows],
            "now": now,
            "source": sender.id,
        },
    )
    feedhealth.note(session, sender.id, len(rows), len(refusals), now)
    productpictures.note_links(session, [row.id for row in rows], now)


def facts(row: Product) -> ProductFacts:
    """The slice of a product that an open may ask for."""
    return ProductFacts(
        id=row.id,
        price_cents=row.price_cents,
        currency=row.currency,
        stock=row.stock,
        feed_ms=unix_ms(row.feed_at),
        title=row.title,
        category=row.category_id or 0,
        image=row.image_blob or "",
        promoted=row.promoted,
        sale_cents=row.sale_cents,
        sale_from_ms=None if row.sale_from is None else unix_ms(row.sale_from),
        sale_until_ms=None if row.sale_until is None else unix_ms(row.sale_until),
    )


def publish_products(intake: Intake, ids: Iterable[str]) -> int:
    """Write the stored facts of these products to Valkey, each unless newer ones are there. Raises Unavailable."""

    def read(session: Session) -> list[ProductFacts]:
        return [facts(row) for row in session.scalars(select(Product).where(Product.id.in_(list(ids))))]

    return intake.publisher.write_products(
        (entry.id, entry.feed_ms, _ENCODER.encode(entry)) for entry in intake.settle(read)
    )


def restore_product(intake: Intake, product_id: str) -> bool:
    """Write the facts of a product that Valkey lost; False when there is no such product. Raises Unavailable."""
    return publish_products(intake, [product_id]) > 0
