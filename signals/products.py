"""Products: the catalogue as the shop's feed last told it, and the slice of it that render reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import structs
from sqlalchemy import ARRAY, BigInteger, ForeignKey, Index, Integer, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.db import Model
from base.errors import InvalidInput, Unavailable
from signals import feedhealth, journal, productoutbox, productpictures
from signals.feed import CHANGEABLE, FeedChange, change, named
from signals.intake import Intake
from signals.journal import Refusal
from signals.moments import unix_ms
from signals.productfacts import ProductFacts as ProductFacts
from signals.publishing import HOT_STORE
from signals.sources import Sender

CHUNK: Final = 1_000
_ENCODER: Final = msgspec.msgpack.Encoder()


class Product(Model):
    """A catalogue item. Prices are in minor units of the currency; `stock` is how many there are at least, None
    when the feed is silent about it (signals/feed.py). The sale price counts from `sale_from` to `sale_until`.

    `gone_at` is since when the full feed of its source no longer has it: no offer shows it (signals/fullfeeds.py).
    `feed_at` is when the feed last named it, `source_id` whose feed that was (None: before that was noted): a stale
    feed is told by its age. Since when the newest word holds is kept for price and sale (`price_told_at`), for stock
    (`stock_told_at`) and for all the rest with `gone_at` (`rest_told_at`); None: nobody told. `complements` are
    category ids that go with it. `tier` orders the versions of a line, the better one higher. `image_blob` is the
    SHA-256 of its picture once somebody stored one; the feed gives `image_link` only. `words` is what a search looks
    through: id, title, brand and line in small letters, made here, since a database need not know those of every
    script.
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
    price_told_at: Mapped[datetime | None]
    stock_told_at: Mapped[datetime | None]
    rest_told_at: Mapped[datetime | None]
    source_id: Mapped[int | None]
    gone_at: Mapped[datetime | None]
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
    """What became of a feed. `rejected` holds the first hundred, of changes all; rejected_event the first LISTED, and a
    line that says how many more there were.

    Of the items that were `stored`, nothing of the `older` ones counted: there was a newer word on all that they tell.
    Of the products that a full feed left out, `gone` are shown no more and `held_back` stay (signals/fullfeeds.py).
    `unread` are the ids that refused items name, the first of them.
    """

    stored: int = 0
    older: int = 0
    gone: int = 0
    held_back: int = 0
    refused: int = 0
    rejected: list[BadProduct] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)

    def answer(self) -> dict[str, Any]:
        """What a sender is told."""
        return {name: value for name, value in asdict(self).items() if name != "unread"}


Telling = Literal["full", "part", "delta", "changes"]
"""Items that replace what is known of their products, all of the source's or some, or tell what changes; changes are of
price and stock alone."""
_WHOLE: Final = ("full", "part")
SHOWN: Final = 100
LISTED: Final = 1_000
"""Refused items of a feed that are listed each; of more only how many they are, so that what else was refused stays."""
MOST_UNREAD: Final = 10_000
"""Refused items whose ids are kept while a feed is read."""
_Read = tuple[int, Mapping[str, Any], FeedChange | InvalidInput]


class _Stored(NamedTuple):
    """What became of a part of a feed: the products, how many had a newer word, and what was refused, in order."""

    ids: list[str]
    older: int
    bad: list[BadProduct]
    unread: list[str]


def take_products(
    intake: Intake,
    sender: Sender,
    items: Iterable[Mapping[str, Any]],
    now: datetime,
    telling: Telling = "part",
    *,
    came: datetime | None = None,
) -> FeedReport:
    """Store and publish the items of a feed, a thousand at a time; a bad item is listed and the others are kept.

    `now` is since when they hold, `came` when they came where that is another moment.
    Raises Unavailable when a store is away (what was stored stays; sending the feed again is safe) and InvalidInput
    when the feed itself cannot be read further.
    """
    report, at = FeedReport(), came or now
    numbered = enumerate(items)
    try:
        while chunk := list(islice(numbered, CHUNK)):
            read = [_read(index, item, telling) for index, item in chunk]
            intake.categories.learn(_spellings(one[2] for one in read), create=True)
            room = max(0, LISTED - report.refused)
            stored = intake.settle(partial(_store, intake, sender, read, telling, now, at, room))
            publish_products(intake, stored.ids)
            report.stored += len(stored.ids)
            report.older += stored.older
            report.refused += len(stored.bad)
            report.unread.update(stored.unread[: MOST_UNREAD - len(report.unread)])
            report.rejected += stored.bad if telling == "changes" else stored.bad[: SHOWN - len(report.rejected)]
    finally:
        if (more := report.refused - LISTED) > 0:
            said = f"{more} more {'item was' if more == 1 else 'items were'} refused than the {LISTED} that are listed"
            others = [Refusal("product", "", said, b"{}")]
            intake.settle(lambda session: journal.refuse(session, sender, others, at))
    return report


def _read(index: int, item: Mapping[str, Any], telling: Telling) -> _Read:
    try:
        for name in () if telling != "changes" else sorted(item.keys() - CHANGEABLE):
            raise InvalidInput(name, "is not changed here: tell it by a feed")
        return index, item, change(item)
    except InvalidInput as error:
        return index, item, error


def _shown(item: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({name: str(value)[:200] for name, value in islice(item.items(), 30)})


def _spellings(read: Iterable[FeedChange | InvalidInput]) -> Iterator[str]:
    for entry in read:
        if isinstance(entry, FeedChange):
            yield entry.told.get("category", "")
            yield from entry.told.get("complements", ())


_COLUMNS: Final = {
    "id": "text", "title": "text", "category_id": "int", "brand": "text", "line": "text", "tier": "int",
    "price_cents": "bigint", "currency": "text", "sale_cents": "bigint", "sale_from": "timestamptz",
    "sale_until": "timestamptz", "stock": "int", "promoted": "boolean", "link": "text", "image_link": "text",
    "complements": "text", "words": "text", "source_id": "int", "gone_at": "timestamptz",
}  # fmt: skip
"""What a feed writes of a product, by the type it is sent as; rows may be of any length, arrays may not."""
_PRICE: Final = ("price_cents", "currency", "sale_cents", "sale_from", "sale_until")
_STOCK: Final = ("stock",)
_GROUPS: Final = {
    "price_told_at": _PRICE,
    "stock_told_at": _STOCK,
    "rest_told_at": tuple(name for name in _COLUMNS if name not in {"id", *_PRICE, *_STOCK}),
}
"""What a product's word is made of, by the time since when the newest of it holds: each counts for itself."""
_GROUP_OF: Final = {name: told_at for told_at, names in _GROUPS.items() for name in names}
_SENT: Final = _COLUMNS | dict.fromkeys(_GROUPS, "timestamptz")
_NAMES: Final = ", ".join(_SENT)


def _is_newer(told_at: str) -> str:
    """The condition that what is sent tells of a group, and that no newer word on it is known."""
    return f"excluded.{told_at} >= COALESCE(product.{told_at}, '-infinity')"


# Whose full feed says of a product whether it is there goes on saying so, whoever else tells some products.
_OWNER: Final = """(
    CASE WHEN :part AND product.gone_at IS NULL AND EXISTS (
        SELECT FROM full_feed JOIN source ON source.id = full_feed.source_id
        WHERE full_feed.source_id = product.source_id AND source.disabled_at IS NULL
    ) THEN product.source_id ELSE excluded.source_id END
)"""
_NEWEST: Final = ", ".join(
    f"{name} = CASE WHEN {_is_newer(told_at)} THEN {_OWNER if name == 'source_id' else f'excluded.{name}'}"
    f" ELSE product.{name} END"
    for told_at, names in _GROUPS.items()
    for name in (*names, told_at)
)
_UPSERT: Final = text(f"""
    INSERT INTO product ({_NAMES}, feed_at)
    SELECT {_NAMES.replace("complements", "CAST(complements AS int[])")}, :now
    FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _SENT.items())}) AS new ({_NAMES})
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET {_NEWEST}, feed_at = GREATEST(product.feed_at, excluded.feed_at)
    WHERE {" OR ".join(map(_is_newer, _GROUPS))} OR excluded.feed_at >= product.feed_at
    RETURNING id
""")  # noqa: S608


def _store(
    intake: Intake,
    sender: Sender,
    read: Sequence[_Read],
    telling: Telling,
    now: datetime,
    came: datetime,
    room: int,
    session: Session,
) -> _Stored:
    """Store a part of a feed; of what is refused `room` items are listed."""
    known = {} if telling in _WHOLE else _known(session, [one[2].id for one in read if isinstance(one[2], FeedChange)])
    rows: dict[str, dict[str, Any]] = {}
    bad: list[BadProduct] = []
    refusals: list[Refusal] = []
    unread: list[str] = []
    for index, item, told in read:
        try:
            if isinstance(told, InvalidInput):
                raise told
            before = None if telling in _WHOLE else rows.get(told.id) or known.get(told.id)
            if before is None and telling not in _WHOLE and not told.is_whole:
                raise InvalidInput("id", "is no product that is known: a new one needs its title and price")
            values = structs.asdict(told.whole()) if before is None else told.over(before, now)
            row = (before or {"source_id": sender.id}) | _columns(values, intake.categories.lookup)
            if told.is_whole:
                row["gone_at"] = None  # What is told whole is there again.
            rows[told.id] = row | dict.fromkeys(_GROUPS if telling in _WHOLE else _told_groups(told), now)
        except InvalidInput as error:
            bad.append(BadProduct(index, error.field, error.message))
            if len(refusals) < room:
                refusals.append(Refusal("product", error.field, error.message, _shown(item)))
            unread += named(item)
    journal.refuse(session, sender, refusals, came)
    written = session.execute(_UPSERT, _arrays(list(rows.values())) | {"now": now, "part": telling == "part"}).all()
    productoutbox.note(session, list(rows))
    feedhealth.note(session, sender.id, len(rows), len(bad), came)
    productpictures.note_links(session, list(rows), now)
    return _Stored(list(rows), len(rows) - len(written), bad, unread)


def _told_groups(told: FeedChange) -> set[str]:
    """The times of what an item of a delta tells."""
    return {_GROUP_OF.get(name, "rest_told_at") for name in told.told}


def _known(session: Session, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The rows of these products, held until the end of the transaction, so that no other change gets in between."""
    columns = [getattr(Product, name) for name in _COLUMNS if name != "words"]
    query = select(*columns).where(Product.id.in_(ids)).order_by(Product.id).with_for_update()
    return {row.id: dict(row._mapping) for row in session.execute(query)}


def _columns(values: dict[str, Any], lookup: Callable[[str], int | None]) -> dict[str, Any]:
    """What an item tells as columns: categories by their numbers."""
    row = dict(values)
    if "category" in row:
        name = row.pop("category")
        row["category_id"] = lookup(name) if name else None
    if "complements" in row:
        row["complements"] = sorted({number for name in row["complements"] if (number := lookup(name)) is not None})
    return row


def _arrays(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    arrays = {name: [row.get(name) for row in rows] for name in _SENT}
    arrays["complements"] = ["{" + ",".join(map(str, row["complements"])) + "}" for row in rows]
    names = [(row["id"], row["title"], row["brand"], row["line"]) for row in rows]
    return arrays | {"words": [" ".join(filter(None, told)).casefold() for told in names]}


def facts(row: Product) -> ProductFacts:
    """The slice of a product that an open may ask for."""
    return ProductFacts(
        id=row.id,
        price_cents=row.price_cents,
        currency=row.currency,
        stock=row.stock if row.gone_at is None else 0,
        feed_ms=unix_ms(row.feed_at),
        title=row.title,
        category=row.category_id or 0,
        image=row.image_blob or "",
        promoted=row.promoted,
        sale_cents=row.sale_cents,
        sale_from_ms=None if row.sale_from is None else unix_ms(row.sale_from),
        sale_until_ms=None if row.sale_until is None else unix_ms(row.sale_until),
        gone=row.gone_at is not None,
    )


def publish_products(intake: Intake, ids: Iterable[str]) -> int:
    """Write the stored facts of these products to Valkey, each unless newer ones are there; how many products there
    are. Raises Unavailable, having published those of the nodes that are there."""
    wanted = set(ids)

    def publish(session: Session) -> tuple[int, set[str]]:
        # Held until they are written: whoever tells more of them tells opens after this, and not before.
        query = select(Product).where(Product.id.in_(wanted)).order_by(Product.id).with_for_update(read=True)
        told = [facts(row) for row in session.scalars(query)]
        lost = intake.publisher.offer_products([(one.id, one.feed_ms, _ENCODER.encode(one)) for one in told])
        productoutbox.done(session, wanted - lost)
        return len(told), lost

    count, lost = intake.settle(publish)
    if lost:
        raise Unavailable(HOT_STORE)
    return count


def publish_due_products(intake: Intake) -> int:
    """Publish products that somebody committed and could not publish; how many. Raises Unavailable."""
    products = intake.settle(productoutbox.waiting)
    if products:
        publish_products(intake, products)
    return len(products)


def restore_product(intake: Intake, product_id: str) -> bool:
    """Write the facts of a product that Valkey lost; False when there is no such product. Raises Unavailable."""
    return publish_products(intake, [product_id]) > 0
