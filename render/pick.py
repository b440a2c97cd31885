"""What an offer may leave open until its mail is opened: which product it shows, to whom, and at which price."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from render.plan import Offer

How = Literal["complement", "upgrade", "also-bought", "popular"]
MAX_POOL: Final = 24
"""Products that one offer's is picked from; every open of the campaign reads and records the facts of all of them."""
MAX_DAYS: Final = 365


class PoolProduct(Struct, frozen=True, array_like=True):
    """A product that may be picked. `tier` orders versions of a `line`, the better one higher; `link` is its page."""

    id: str
    category: int = 0
    line: str = ""
    tier: int = 0
    link: str = ""


class Pick(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an offer's product is picked at open, out of `pool`.

    complement: of a category that goes with what lies in the cart or was bought within `within_days`. also-bought: what
    most buyers of such a product bought too. popular: what most people bought. upgrade: the next better version of what
    the person owns; the pool holds whole lines.
    """

    how: How
    pool: tuple[PoolProduct, ...]
    within_days: int = 60

    def entry(self, product: str | None) -> PoolProduct | None:
        """The product's entry in the pool."""
        return next((entry for entry in self.pool if entry.id == product), None)


def faults(at: str, offer: Offer) -> Iterator[tuple[str, str]]:
    """What keeps an offer whose product is picked from being published: field and what is wrong with it."""
    pick = offer.pick
    if pick is None:
        return
    if offer.all_products:
        yield f"{at}.pick", "stands beside a product of its own; the product is either named or picked"
    if not offer.needs_stock:
        yield f"{at}.needs_stock", "must be set: what is picked is in stock"
    if not 0 < len(pick.pool) <= MAX_POOL:
        yield f"{at}.pick", f"has {len(pick.pool)} products to pick from; it takes 1 to {MAX_POOL}"
    if len({entry.id for entry in pick.pool}) < len(pick.pool):
        yield f"{at}.pick", "names a product twice"
    if not 0 < pick.within_days <= MAX_DAYS:
        yield f"{at}.pick", f"looks back {pick.within_days} days; it may be 1 to {MAX_DAYS}"
    if pick.how == "upgrade" and any(not entry.line for entry in pick.pool):
        yield f"{at}.pick", "is an upgrade, yet a product of its pool belongs to no line"
