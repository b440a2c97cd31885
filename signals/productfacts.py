"""The slice of a product that an open reads; no SQL here, because render loads this file."""

from __future__ import annotations

import msgspec


class ProductFacts(msgspec.Struct, array_like=True, frozen=True):
    """What an open may ask of a product, at `product:<id>` in Valkey as MessagePack.

    Price in minor units of `currency` (cents, whole yen); `stock` None when unknown; `feed_ms` is the feed's time in
    Unix milliseconds; `category` 0 when it has none; `image` the SHA-256 of its picture or "". `promoted`: the feed
    marks it as one that may be sold for less.
    """

    id: str
    price_cents: int
    currency: str
    stock: int | None
    feed_ms: int
    title: str
    category: int
    image: str
    promoted: bool = False
