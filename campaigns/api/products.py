"""The product catalogue, for programs; what changes it is sent to the signals API."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec
from redis.exceptions import RedisError

from base.errors import Unavailable
from campaigns import feedtrust, products, productuse, relations
from campaigns.access import allow
from campaigns.api.desk import MAX_PAGE, api, served
from campaigns.parts import parts
from campaigns.products import Item, Wanted
from signals import feedhealth
from signals.moments import unix_ms
from signals.productevents import interest
from signals.state import MAX_PRODUCT_ID


class ProductQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which products: with every word of `q` in id, title, brand, line or category; `after` is the last page's last id.

    `category` is a slug, `stock` none those that are out of stock, `older_hours` those last told longer ago, `picture`
    none those without one, `sensitive` true those of a sensitive category, `gone` true those that left their full feed.
    """

    q: Annotated[str, msgspec.Meta(max_length=products.MAX_QUERY, pattern="^[^\\x00]*$")] = ""
    category: Annotated[str, msgspec.Meta(max_length=200, pattern="^[^\\x00]*$")] | None = None
    stock: Literal["none"] | None = None
    older_hours: Annotated[int, msgspec.Meta(ge=1, le=87_600)] | None = None
    picture: Literal["none"] | None = None
    sensitive: bool = False
    gone: bool = False
    after: Annotated[str, msgspec.Meta(max_length=MAX_PRODUCT_ID, pattern="^[^\\x00]*$")] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 50


class ProductOut(msgspec.Struct, frozen=True):
    """A product as feeds told it. Prices are in minor units of `currency` (cents, whole yen); `stock` null: not told.

    `price` is what it costs now. `sale_price` counts from `sale_from` to `sale_until`, else it costs `regular_price`.
    `told_at` is when a feed last named it and `source` whose feed that was; `gone_at` since when the full feed of that
    source no longer has it, so that no offer shows it. `picture` is the SHA-256 of the kept one.
    """

    id: str
    title: str
    category: str | None
    sensitive: bool
    brand: str | None
    line: str | None
    tier: int | None
    price: int
    regular_price: int
    sale_price: int | None
    sale_from: str | None
    sale_until: str | None
    currency: str
    stock: int | None
    promoted: bool
    link: str | None
    image_link: str | None
    picture: str | None
    told_at: str
    gone_at: str | None
    source: str | None


class ProductList(msgspec.Struct, frozen=True):
    """A page of products, by id. `next` is what `after` asks for the following page with; null at the end."""

    products: list[ProductOut]
    next: str | None


class HotFacts(msgspec.Struct, frozen=True):
    """What opens read of a product; `price` is what it costs now by that."""

    price: int
    currency: str
    stock: int | None
    told_at: str


class ProductUse(msgspec.Struct, frozen=True):
    """An offer or a segment that depends on the product, and how, in words."""

    kind: str
    id: int
    name: str
    how: str


class ProductRefusal(msgspec.Struct, frozen=True):
    """An offer that the next open leaves out because of the product; of all campaigns where none is named."""

    offer: int
    why: str
    campaigns: list[str]


class ProductComplement(msgspec.Struct, frozen=True):
    """A category that goes with the product's: `how` is learnt, by hand, or feed. Without orders nothing is learnt."""

    category: str
    orders: int
    lift: float
    how: str


class ProductTogether(msgspec.Struct, frozen=True):
    """A product that the same people bought, and how many."""

    product: str
    people: int


class ProductInterest(msgspec.Struct, frozen=True):
    """People who bought it and who looked at it, among the newest `signals`, the oldest of which came at `since`."""

    bought: int
    looked: int
    signals: int
    since: str | None


class ProductDetail(msgspec.Struct, frozen=True):
    """One product with what depends on it. `hot` is null where opens read nothing of it.

    `differs` names the facts that opens read otherwise than they are stored.
    """

    product: ProductOut
    hot: HotFacts | None
    differs: list[str]
    uses: list[ProductUse]
    refused: list[ProductRefusal]
    complements: list[ProductComplement]
    together: list[ProductTogether]
    buyers: int | None
    interest: ProductInterest


class FeedReason(msgspec.Struct, frozen=True):
    """Why items were refused in the last seven days, and how often: of one feed the first 1,000 are listed and told."""

    field: str
    message: str
    times: int


class FeedOut(msgspec.Struct, frozen=True):
    """How the products of a source do; null: those told before sources were noted.

    `stale` of its `products` are older than the bound; `gone` are those besides that its full feeds left out. The last
    full feed came at `full_at` and left out `held_back` more, too many to be believed, which stay. `taken` and
    `refused` count items of the last seven days.
    """

    source: int | None
    last_at: str | None
    products: int
    stale: int
    gone: int
    full_at: str | None
    held_back: int
    taken: int
    refused: int
    reasons: list[FeedReason]


class FeedList(msgspec.Struct, frozen=True):
    """The sources that told of products. `stale_s`: after so many seconds some campaign takes facts for too old."""

    feeds: list[FeedOut]
    stale_s: int


@api.get("/products")
@allow("manager", "support")
@served(200, ProductList, "products")
def list_products(query: ProductQuery) -> ProductList:
    """Products of the catalogue, by id."""
    wanted = Wanted(
        text=query.q, category=query.category, sold_out=query.stock == "none", older_hours=query.older_hours,
        no_picture=query.picture == "none", sensitive=query.sensitive, gone=query.gone,
    )  # fmt: skip
    now = parts().now()
    with parts().transaction() as session:
        rows = products.listed(session, wanted, now, after=query.after, most=query.limit + 1)
        shown = rows[: query.limit]
        return ProductList(
            [_product(item, now) for item in shown], shown[-1].product.id if len(rows) > len(shown) else None
        )


@api.get("/products/<product:product_id>")
@allow("manager", "support")
@served(200, ProductDetail, "products", 404)
def get_product(product_id: str) -> ProductDetail:
    """One product: its facts, what opens read of it now, what depends on it, what goes with it and who took to it."""
    now = parts().now()
    with parts().transaction() as session:
        item = products.product(session, product_id)
        try:
            read = products.hot(parts().store, item.product.id)
        except RedisError as error:
            raise Unavailable("The hot store") from error
        found = productuse.uses(session, item.product, item.category)
        company = productuse.company(session, parts().blobs, item.product)
        trusted = feedtrust.trusts(session, parts().blobs, now)
        told = interest(session, item.product.id)
        return ProductDetail(
            product=_product(item, now),
            hot=None
            if read is None
            else HotFacts(
                read.priced(unix_ms(now)).price_cents,
                read.currency,
                read.stock,
                relations.moment(read.feed_ms).isoformat(),
            ),
            differs=[] if read is None else [one.name for one in products.differences(item.product, read)],
            uses=[ProductUse(use.kind, use.id, use.name, use.how) for use in found],
            refused=[
                ProductRefusal(one.offer.id, one.why, list(one.campaigns))
                for one in productuse.refusals(session, trusted, found, read, now)
            ],
            complements=[
                ProductComplement(one.category.slug, one.orders, one.lift, one.how) for one in company.complements
            ],
            together=[ProductTogether(one.product, one.people) for one in company.together],
            buyers=company.buyers,
            interest=ProductInterest(told.bought, told.looked, told.signals, _iso(told.since)),
        )


@api.get("/product-feeds")
@allow("manager", "support")
@served(200, FeedList, "products")
def list_feeds() -> FeedList:
    """How each product feed does: when it last told, what was taken and refused and why, how much is too old."""
    with parts().transaction() as session:
        now = parts().now()
        bound = feedtrust.strictest(feedtrust.trusts(session, parts().blobs, now))
        found = feedhealth.feeds(session, now, bound)
    return FeedList(
        [
            FeedOut(
                feed.source_id, _iso(feed.last_at), feed.products, feed.stale, feed.gone,
                _iso(feed.full_at), feed.held_back, feed.taken, feed.refused,
                [FeedReason(one.field, one.message, one.times) for one in feed.reasons],
            )
            for feed in found
        ],
        int(bound / timedelta(seconds=1)),
    )  # fmt: skip


def _product(item: Item, now: datetime) -> ProductOut:
    row, category = item.product, item.category
    return ProductOut(
        id=row.id, title=row.title, category=category.slug if category else None,
        sensitive=category.sensitive if category else False, brand=row.brand, line=row.line, tier=row.tier,
        price=row.price_at(now), regular_price=row.price_cents, sale_price=row.sale_cents,
        sale_from=_iso(row.sale_from), sale_until=_iso(row.sale_until), currency=row.currency, stock=row.stock,
        promoted=row.promoted, link=row.link, image_link=row.image_link, picture=row.image_blob,
        told_at=row.feed_at.isoformat(), gone_at=_iso(row.gone_at), source=item.source,
    )  # fmt: skip


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
