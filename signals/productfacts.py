"""The slice of a product that an open reads; no SQL here, because render loads this file."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace


class ProductFacts(msgspec.Struct, array_like=True, frozen=True):
    """What an open may ask of a product, at `product:<id>` in Valkey as MessagePack; entries are only ever appended.

    Prices in minor units of `currency` (cents, whole yen); `stock` None when unknown; `feed_ms` is the feed's time in
    Unix milliseconds; `category` 0 when it has none; `image` the SHA-256 of its picture or "". `promoted`: the feed
    marks it as one that may be sold for less. The sale price counts from `sale_from_ms` to `sale_until_ms`, both
    included; None: without that end. `gone`: the full feed of its source no longer has it; its stock is 0 then.
    `former_cents` is never stored: what it costs without the sale, where `priced` put the sale price in its place.
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
    sale_cents: int | None = None
    sale_from_ms: int | None = None
    sale_until_ms: int | None = None
    gone: bool = False
    former_cents: int | None = None

    def on_sale(self, now_ms: int) -> bool:
        """Whether the sale price is what the product costs at that moment."""
        if self.sale_cents is None or self.sale_cents >= self.price_cents:
            return False
        has_begun = self.sale_from_ms is None or self.sale_from_ms <= now_ms
        return has_begun and (self.sale_until_ms is None or now_ms <= self.sale_until_ms)

    def priced(self, now_ms: int) -> ProductFacts:
        """The facts with what the product costs at that moment as `price_cents`, and what it cost before a sale."""
        if self.sale_cents is None or not self.on_sale(now_ms):
            return self
        return replace(self, price_cents=self.sale_cents, former_cents=self.price_cents)
