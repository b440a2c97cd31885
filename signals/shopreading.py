"""What a shop's call comes to: Segment calls of a person, words on an order whose person is looked up, feed items.

Amounts are kept to the cent: what a line costs is what was paid for it, discounts and taxes in it, and a line that does
not divide evenly becomes two.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, Final

from base.clock import check_year
from base.errors import InvalidInput
from signals.nobody import names_nobody
from signals.shops import PLATFORMS, Shop

MOST: Final = Decimal(10**10)
CENT: Final = Decimal("0.01")
MILLIONTH: Final = Decimal("0.000001")
HALF: Final = Decimal("0.5")
MOST_QUANTITY: Final = 10_000
_CONTACTS: Final = ("email", "phone")
_GUESTS: Final = {platform: f"{platform}-guest-" for platform in PLATFORMS}


@dataclass(frozen=True, slots=True)
class Bound:
    """Something about an order, whose person is whoever the order is of; `name` is the same for the same fact."""

    order_id: str
    event: str
    properties: dict[str, Any]
    at: datetime
    name: str


@dataclass(slots=True)
class Said:
    """What a call says. `once` are message ids that mean the same fact however else their content is told; `erase` is
    the user id of a customer whom the shop asks to have erased."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    once: set[str] = field(default_factory=set)
    bound: list[Bound] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    items_at: datetime | None = None
    erase: str = ""

    def __bool__(self) -> bool:
        return bool(self.calls or self.bound or self.items or self.erase)


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who an order is of: the fields that name them in a call, and what they state of themselves."""

    names: dict[str, str]
    traits: dict[str, Any]


def buyer(shop: Shop, number: str, traits: dict[str, Any], order: str) -> Buyer:
    """A customer by their number; a guest by a keyed hash of their address or phone, and without any, by the order.

    A number, address or phone that names nobody (signals/nobody.py) is as good as none: an order is not lost for it.
    """
    told = {
        name: value for name, value in traits.items() if value and not (name in _CONTACTS and names_nobody(name, value))
    }
    if number and not names_nobody("user_id", number):
        return Buyer({"userId": f"{shop.prefix}{number}"}, told)
    contact = str(told.get("email") or told.get("phone") or "").strip().lower()
    made = hmac.new(shop.guest_key, f"guest:{contact}".encode(), hashlib.sha256).hexdigest()
    return Buyer({"anonymousId": _GUESTS[shop.platform] + (made[:32] if contact else f"order-{order}")}, told)


def order_of(shop: Shop, value: object, path: str) -> str:
    """The id of an order: its number in the shop, behind the shop's prefix. Raises InvalidInput."""
    return f"{shop.order_prefix}{number(value, path)}"


def is_guest(anonymous_id: str) -> bool:
    """Whether an anonymous id is one of those by which guests of shops go: only a server speaks for these."""
    return anonymous_id.startswith(tuple(_GUESTS.values()))


def identify(who: Buyer, name: str, at: datetime) -> list[dict[str, Any]]:
    """The call by which a customer's details are told; none where they tell nothing."""
    if not who.traits:
        return []
    return [{"type": "identify", "messageId": name, "timestamp": at.isoformat(), "traits": who.traits} | who.names]


def track(who: Buyer, event: str, name: str, at: datetime, properties: dict[str, Any]) -> dict[str, Any]:
    """A call about something a customer did."""
    call = {"type": "track", "event": event, "messageId": name, "timestamp": at.isoformat(), "properties": properties}
    return call | who.names


def lines(product: dict[str, Any], quantity: Decimal, paid: Decimal) -> Iterator[dict[str, Any]]:
    """A line of so many units for which so much was paid: as one, or as two of prices a cent apart."""
    cents = (paid / CENT).to_integral_value()
    near = (cents / quantity).to_integral_value()
    if (near * quantity).to_integral_value(ROUND_HALF_UP) == cents:
        yield product | {"quantity": units(quantity), "price": int(near) / 100}
        return
    unit, rest = divmod(cents, quantity)
    if rest * (unit + 1) % 1 == HALF:  # Both halves would be rounded up: a cent too much.
        rest -= MILLIONTH
    for number, price in ((quantity - rest, unit), (rest, unit + 1)):
        yield product | {"quantity": units(number), "price": int(price) / 100}


def units(quantity: Decimal) -> int | float:
    """A quantity as a Segment call has it."""
    return int(quantity) if quantity == int(quantity) else float(quantity)


def money(value: object, path: str) -> Decimal:
    """An amount as the shop writes it, "19.90". Raises InvalidInput."""
    try:
        amount = Decimal(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or abs(amount) > MOST:
        raise InvalidInput(path, "must be an amount such as 19.90")
    return amount


def prices(price: Decimal, former: object, path: str, currency: str) -> dict[str, str]:
    """What a product costs, as a feed has it: below a former price that is told it is the sale price. Raises
    InvalidInput."""
    before = price if former in (None, "") else money(former, path)
    if before > price:
        return {"price": f"{before} {currency}", "sale_price": f"{price} {currency}"}
    return {"price": f"{price} {currency}"}


def told(amount: Decimal) -> float:
    """An amount as a Segment call has it."""
    return float(amount)


def quantity(value: object, path: str) -> Decimal:
    """A number of units, which extensions of shops sell parts of too, in millionths. Raises InvalidInput."""
    number = Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if number is None or not number.is_finite() or not 0 <= number <= MOST_QUANTITY:
        raise InvalidInput(path, f"must be a number up to {MOST_QUANTITY}")
    return number.quantize(MILLIONTH, ROUND_HALF_UP)


def moment(value: object, path: str) -> datetime:
    """A time with an offset, or without one in UTC. Raises InvalidInput."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None:
        raise InvalidInput(path, "must be a moment")
    check_year(found, path)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)


def number(value: object, path: str) -> str:
    """The number of an order, a refund, a customer. Raises InvalidInput."""
    written = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not 0 < len(written) <= 64 or "\x00" in written:
        raise InvalidInput(path, "must be a number")
    return written


def mapping(value: object) -> Mapping[str, Any]:
    """An object; an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def objects(value: object, path: str) -> list[Mapping[str, Any]]:
    """A list of objects. Raises InvalidInput."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > 500 or not all(isinstance(one, dict) for one in value):
        raise InvalidInput(path, "must be a list of at most 500 objects")
    return value


def text(value: object, most: int = 200) -> str:
    """Text without blanks around it; numbers are taken as text, anything else is empty."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value).replace("\x00", "").strip()[:most]


def mark(properties: Mapping[str, Any]) -> str:
    """Eight letters by which two contents of one moment are told apart; of contents that name nobody."""
    return hashlib.sha256(_spelled(properties)).hexdigest()[:8]


def mark_of(who: Buyer, shop: Shop) -> str:
    """Eight letters by which two accounts of one buyer are told apart, and nobody can try out what they say."""
    return hmac.digest(shop.guest_key, _spelled(who.traits), "sha256").hex()[:8]


def _spelled(properties: Mapping[str, Any]) -> bytes:
    return repr(sorted(properties.items())).encode()
