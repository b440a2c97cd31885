"""The catalogue for people who look into it: products by whatever they are known by, and one with all its facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVarTuple

import msgspec
from redis.exceptions import RedisError
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from base import keys
from base.errors import UNREADABLE, InvalidInput, NotFound
from base.stores import Store
from signals.catalog import Category
from signals.productfacts import ProductFacts
from signals.productpictures import ProductPicture
from signals.products import Product, facts
from signals.sources import Source
from signals.state import MAX_PRODUCT_ID

MAX_QUERY: Final = 200
MAX_WORDS: Final = 8
MOST_COUNTED: Final = 1_000
"""Products that a search counts; of more it only says that there are more."""
Row = TypeVarTuple("Row")
_DECODER: Final = msgspec.msgpack.Decoder(ProductFacts)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which products: those that have every word of `text` in their id, title, brand, line or category's name.

    `category` is a slug; `sold_out`: stock 0; `older_hours`: last told longer ago; `no_picture`: none is kept;
    `sensitive`: of a sensitive category; `gone`: left out by the full feed of their source.
    """

    text: str = ""
    category: str | None = None
    sold_out: bool = False
    older_hours: int | None = None
    no_picture: bool = False
    sensitive: bool = False
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A product as lists show it, with its category and the name of the source that last told of it."""

    product: Product
    category: Category | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact that opens read otherwise than the database has it."""

    name: str
    stored: Any
    hot: Any


def words(text: str) -> list[str]:
    """What a search looks for. Raises InvalidInput for `q`."""
    if len(text) > MAX_QUERY or "\x00" in text:
        raise InvalidInput("q", f"must have at most {MAX_QUERY} characters")
    found = text.split()
    if len(found) > MAX_WORDS:
        raise InvalidInput("q", f"must have at most {MAX_WORDS} words")
    return found


def listed(session: Session, wanted: Wanted, now: datetime, *, after: str = "", most: int = 50) -> list[Item]:
    """Products that fit, by id, those after `after`. Raises InvalidInput naming the field."""
    query = _narrowed(session, select(Product, Category, Source.name), wanted, now).join(
        Source, Source.id == Product.source_id, isouter=True
    )
    if after:
        query = query.where(Product.id > after)
    rows = session.execute(query.order_by(Product.id).limit(most))
    return [Item(row[0], row[1], row[2]) for row in rows]


def count(session: Session, wanted: Wanted, now: datetime) -> int:
    """How many products fit, counted up to one more than MOST_COUNTED."""
    some = _narrowed(session, select(Product.id), wanted, now).limit(MOST_COUNTED + 1).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def product(session: Session, product_id: str) -> Item:
    """One product. Raises NotFound."""
    query = (
        select(Product, Category, Source.name)
        .join(Category, Category.id == Product.category_id, isouter=True)
        .join(Source, Source.id == Product.source_id, isouter=True)
    )
    found = session.execute(query.where(Product.id == product_id[:MAX_PRODUCT_ID])).first()
    if found is None:
        raise NotFound("product", product_id)
    return Item(found[0], found[1], found[2])


def categories(session: Session) -> Sequence[Category]:
    """The categories that products are of, by name."""
    is_used = select(Product.id).where(Product.category_id == Category.id).exists()
    return session.scalars(select(Category).where(is_used).order_by(Category.name, Category.id)).all()


def source_names(session: Session) -> dict[int, str]:
    """What every source is called, those without a key too."""
    return {row.id: row.name for row in session.execute(select(Source.id, Source.name))}


def names(session: Session, numbers: Sequence[int]) -> list[Category]:
    """Categories of these numbers, by name."""
    return list(session.scalars(select(Category).where(Category.id.in_(numbers)).order_by(Category.name)))


def category_names(session: Session) -> dict[str, str]:
    """What every category is called, by its slug."""
    return {row.slug: row.name for row in session.execute(select(Category.slug, Category.name))}


def picture_of(session: Session, product_id: str) -> ProductPicture | None:
    """Where a product's picture comes from; None where no feed links to one and nobody uploaded any."""
    return session.get(ProductPicture, product_id)


def hot(store: Store, product_id: str) -> ProductFacts | None:
    """What opens read of a product; None when the hot store has nothing, which opens take for lost.

    Raises RedisError when the hot store is away, and when what it has cannot be read.
    """
    data = store.get(keys.product(product_id))
    if not isinstance(data, bytes):
        return None
    try:
        return _DECODER.decode(data)
    except UNREADABLE as error:
        raise RedisError("The product's facts cannot be read") from error


def differences(row: Product, read: ProductFacts) -> list[Difference]:
    """Where what opens read is not what the database has, by the facts' names."""
    stored = facts(row)
    return [
        Difference(name, getattr(stored, name), getattr(read, name))
        for name in ProductFacts.__struct_fields__
        if getattr(stored, name) != getattr(read, name)
    ]


def _narrowed(session: Session, query: Select[*Row], wanted: Wanted, now: datetime) -> Select[*Row]:
    query = query.select_from(Product).join(Category, Category.id == Product.category_id, isouter=True)
    rows = session.execute(select(Category.id, Category.name)) if wanted.text else ()
    known = {row.id: row.name.casefold() for row in rows}
    for word in words(wanted.text):
        named = [number for number, name in known.items() if word.casefold() in name]
        query = query.where(
            or_(Product.words.contains(word.casefold(), autoescape=True), Product.category_id.in_(named))
        )
    if wanted.category is not None:
        query = query.where(Category.slug == wanted.category)
    if wanted.sold_out:
        query = query.where(Product.stock == 0)
    if wanted.older_hours is not None:
        query = query.where(
            Product.feed_at < now - timedelta(hours=wanted.older_hours), Product.gone_at.is_(None)
        )  # fmt: skip
    if wanted.no_picture:
        query = query.where(Product.image_blob.is_(None))
    if wanted.gone:
        query = query.where(Product.gone_at.is_not(None))
    return query.where(Category.sensitive) if wanted.sensitive else query
