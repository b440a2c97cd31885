"""Product feeds in the attributes of Google Merchant Center: tab-separated, XML (RSS or Atom) or JSON.

Reading is apart from storing: `entries` gives the attributes of each item under their feed names (`image_link`,
`product_type`), `change` checks what they tell. Both run over a stream, so a feed's size is bounded by the caller
alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import IO, Any, Final, Literal

import msgspec

from base.errors import InvalidInput, no_json
from signals import feedtsv, feedxml
from signals.currencies import exponent
from signals.foldevent import MAX_CENTS
from signals.state import MAX_PRODUCT_ID

Format = Literal["tsv", "xml", "json"]
FORMATS: Final[tuple[Format, ...]] = ("tsv", "xml", "json")
CHANGEABLE: Final = frozenset({"id", "price", "sale_price", "sale_price_effective_date", "availability", "quantity"})
"""What a change of price and stock may tell."""
TEXT_LENGTH: Final = 500
LINK_LENGTH: Final = 2_000
COMPLEMENTS: Final = 20
STOCK: Final = 1_000_000_000
TIERS: Final = 1_000

# A comma groups thousands and nothing else: "15,00 EUR" is no 1,500 euros.
_AMOUNT: Final = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?"
_MONEY: Final = re.compile(
    rf"(?P<amount>{_AMOUNT})\s*(?P<currency>[A-Za-z]{{3}})|(?P<first>[A-Za-z]{{3}})\s*(?P<then>{_AMOUNT})"
)
_HUMP: Final = re.compile(r"([a-z0-9])([A-Z])")
_ABSENT: Final = frozenset({"out_of_stock", "preorder", "backorder"})
_PRESENT: Final = frozenset({"in_stock", "limited_availability"})
_QUANTITIES: Final = ("quantity", "stock", "inventory", "sell_on_google_quantity")
_NEEDED: Final = {"price_cents": "price", "title": "title"}
"""What every product has, by the attribute that tells it."""


class FeedProduct(msgspec.Struct, frozen=True, kw_only=True):
    """A checked item of a feed. `price_cents` and `sale_cents` in minor units of `currency`: cents, whole yen.

    The sale price counts from `sale_from` to `sale_until`, both included; None: without that end. `stock` is how many
    there are at least: 1 when the feed says "in stock" without a number, None when it is silent. `line` names the
    products that are versions of one thing, `tier` the place among them: a better version has a higher one.
    """

    id: str
    title: str
    category: str = ""
    brand: str | None = None
    line: str | None = None
    tier: int | None = None
    price_cents: int
    currency: str
    sale_cents: int | None = None
    sale_from: datetime | None = None
    sale_until: datetime | None = None
    stock: int | None = None
    promoted: bool = False
    link: str | None = None
    image_link: str | None = None
    complements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeedChange:
    """What an item tells of a product: values of FeedProduct by name, those alone that it names.

    `sale_currency` is that of a sale price it names. `uncounted`: it says "in stock" without a number, so that a number
    that is known stays.
    """

    id: str
    told: Mapping[str, Any]
    sale_currency: str | None = None
    uncounted: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it tells all that every product has."""
        return all(field in self.told for field in _NEEDED)

    def whole(self) -> FeedProduct:
        """The product as this item alone tells it. Raises InvalidInput naming the attribute that is missing."""
        for field, name in _NEEDED.items():
            if field not in self.told:
                raise InvalidInput(name, "must be given")
        if self.sale_currency not in (None, self.told["currency"]):
            raise InvalidInput("sale_price", "must be in the currency of the price")
        return FeedProduct(id=self.id, **self.told)

    def over(self, known: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        """What it tells of a product of which prices, sale and stock are known, by FeedProduct's names.

        Raises InvalidInput naming the attribute that does not go with what is known.
        """
        told = dict(self.told)
        if self.uncounted and known["stock"]:
            del told["stock"]
        currency = told.get("currency", known["currency"])
        if self.sale_currency not in (None, currency):
            raise InvalidInput("sale_price", f"must be in the currency of the price, which is {currency}")
        if currency != known["currency"] and known["sale_cents"] is not None and "sale_cents" not in told:
            raise InvalidInput("sale_price", f"must be told too: the one that is known is in {known['currency']}")
        is_over = known["sale_until"] is not None and known["sale_until"] < now
        if self.sale_currency is not None and is_over and "sale_until" not in told:
            raise InvalidInput("sale_price_effective_date", "must be told too: the one that is known is over")
        return told


def sniffed(start: bytes) -> Format:
    """The format of a feed by its first bytes."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<"):
        return "xml"
    return "json" if text.startswith((b"{", b"[")) else "tsv"


def entries(stream: IO[bytes], format_: Format, encoding: str | None = None) -> Iterator[dict[str, Any]]:
    """The items of a feed, attribute names in lower case with underscores. Raises InvalidInput when it is no feed.

    Tab-separated text is in `encoding`; without one it is UTF-8, of which what cannot be read becomes a mark.
    """
    match format_:
        case "tsv":
            return feedtsv.items(stream, encoding, _attribute)
        case "xml":
            return feedxml.items(stream, _attribute)
        case "json":
            return _from_json(stream.read())


def change(item: Mapping[str, Any]) -> FeedChange:
    """What the item tells, checked; an attribute that is absent or empty tells nothing, null takes away what is known.

    Raises InvalidInput naming the attribute.
    """
    if fault := item.get(feedtsv.FAULT):
        raise InvalidInput("", fault)
    told: dict[str, Any] = {}
    readers = (_READERS[name] for name, value in item.items() if name in _READERS and _is_told(value))
    for reader in dict.fromkeys(readers):
        told |= reader(item)
    return FeedChange(
        _required(item, "id", MAX_PRODUCT_ID), told, told.pop("sale_currency", None), told.pop("uncounted", False)
    )


def spelt(item: object) -> dict[str, Any]:
    """An item of JSON with its attributes in their one spelling; what is no object is an item without an id."""
    return {_attribute(name): value for name, value in item.items()} if isinstance(item, dict) else {"id": None}


def named(item: Mapping[str, Any]) -> list[str]:
    """The id of an item, whatever else is wrong with it; empty where it names no product."""
    try:
        return [_required(item, "id", MAX_PRODUCT_ID)]
    except InvalidInput:
        return []


def _is_told(value: object) -> bool:
    return not isinstance(value, str) or bool(value.strip())


def product(item: Mapping[str, Any]) -> FeedProduct:
    """The item as a product of its own, checked. Raises InvalidInput naming the attribute."""
    return change(item).whole()


def _from_json(data: bytes) -> Iterator[dict[str, Any]]:
    try:
        tree = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("", f"is {no_json(error)}") from None
    if isinstance(tree, dict):
        tree = next((tree[name] for name in ("products", "items", "entries", "resources") if name in tree), [tree])
    if not isinstance(tree, list):
        raise InvalidInput("products", "must be a list")
    yield from map(spelt, tree)


def _attribute(name: str) -> str:
    """The one spelling of an attribute's name: `imageLink`, `image link` and `g:image_link` are the same."""
    plain = name.strip().removeprefix("g:")
    return _HUMP.sub(r"\1_\2", plain).lower().replace(" ", "_").replace("product_types", "product_type")


def _text(item: Mapping[str, Any], name: str, longest: int) -> str | None:
    value = item.get(name)
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidInput(name, "must be text")
    text = str(value).strip()
    if "\x00" in text:
        raise InvalidInput(name, "must not contain NUL characters")
    return text[:longest] or None


def _required(item: Mapping[str, Any], name: str, longest: int) -> str:
    text = _text(item, name, TEXT_LENGTH + LINK_LENGTH)
    if text is None:
        raise InvalidInput(name, "must be given")
    if name == "id" and len(text) > longest:
        raise InvalidInput(name, f"may have at most {longest} characters")
    return text[:longest]


def _link(item: Mapping[str, Any], name: str) -> str | None:
    text = _text(item, name, LINK_LENGTH + 1)
    if text is not None and (len(text) > LINK_LENGTH or not text.startswith(("http://", "https://"))):
        raise InvalidInput(name, f"must be an http or https address of at most {LINK_LENGTH} characters")
    return text


def _money(value: Any, name: str) -> tuple[int, str]:
    """ "15.00 EUR", or {"value": "15.00", "currency": "EUR"}, in minor units and capitals.

    Halves of a minor unit round away from zero, as tills do.
    """
    if isinstance(value, Mapping):
        value = f"{value.get('value')} {value.get('currency')}"
    found = _MONEY.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise InvalidInput(name, "must be an amount, with a point before its decimals, and a currency, as 15.00 EUR")
    amount, currency = found["amount"] or found["then"], (found["currency"] or found["first"]).upper()
    try:
        scaled = Decimal(amount.replace(",", "")).scaleb(exponent(currency))
        cents = int(scaled.to_integral_value(rounding=ROUND_HALF_UP))
    except InvalidOperation:
        raise InvalidInput(name, "is absurdly large") from None
    if cents > MAX_CENTS:
        raise InvalidInput(name, "is absurdly large")
    return cents, currency


def _title(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"title": _required(item, "title", TEXT_LENGTH)}


def _price(item: Mapping[str, Any]) -> dict[str, Any]:
    cents, currency = _money(item["price"], "price")
    return {"price_cents": cents, "currency": currency}


def _sale(item: Mapping[str, Any]) -> dict[str, Any]:
    if item["sale_price"] is None:
        return {"sale_cents": None}
    cents, currency = _money(item["sale_price"], "sale_price")
    return {"sale_cents": cents, "sale_currency": currency}


def _window(item: Mapping[str, Any]) -> dict[str, Any]:
    """From when to when the sale price counts, as aware UTC."""
    name = "sale_price_effective_date"
    text = _text(item, name, TEXT_LENGTH)
    if text is None:
        return {"sale_from": None, "sale_until": None}
    try:
        begins, ends = (datetime.fromisoformat(part.strip()) for part in text.split("/"))
        if begins.tzinfo is None or ends.tzinfo is None or ends < begins:
            raise ValueError
        return {"sale_from": begins.astimezone(UTC), "sale_until": ends.astimezone(UTC)}
    except (ValueError, OverflowError):
        raise InvalidInput(name, "must be two times with offsets and a slash between, the earlier first") from None


def _category(item: Mapping[str, Any]) -> dict[str, Any]:
    names = (_text(item, name, TEXT_LENGTH) for name in ("product_type", "google_product_category"))
    return {"category": next(filter(None, names), "")}


def _line(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"line": _text(item, "line", TEXT_LENGTH) or _text(item, "item_group_id", TEXT_LENGTH)}


def _stock(item: Mapping[str, Any]) -> dict[str, Any]:
    availability = (_text(item, "availability", TEXT_LENGTH) or "").lower().replace(" ", "_")
    if availability in _ABSENT:
        return {"stock": 0}
    if availability and availability not in _PRESENT:
        raise InvalidInput("availability", "must be in_stock, out_of_stock, preorder or backorder")
    for name in _QUANTITIES:
        text = _text(item, name, TEXT_LENGTH)
        if text is not None:
            if not text.isdecimal() or int(text) > STOCK:
                raise InvalidInput(name, f"must be a whole number from 0 to {STOCK}")
            return {"stock": int(text)}
    return {"stock": 1, "uncounted": True} if availability else {"stock": None}


def _tier(item: Mapping[str, Any]) -> dict[str, Any]:
    text = _text(item, "tier", TEXT_LENGTH)
    if text is not None and (not text.isdecimal() or int(text) > TIERS):
        raise InvalidInput("tier", f"must be a whole number from 0 to {TIERS}")
    return {"tier": None if text is None else int(text)}


def _complements(item: Mapping[str, Any]) -> dict[str, Any]:
    value = item.get("complements")
    names = value if isinstance(value, list) else str(value or "").split(",")
    if any("\x00" in str(name) for name in names):
        raise InvalidInput("complements", "must not contain NUL characters")
    found = tuple(str(name).strip()[:TEXT_LENGTH] for name in names if str(name).strip())
    return {"complements": found[:COMPLEMENTS]}


_READERS: Final[dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "title": _title,
    "price": _price,
    "sale_price": _sale,
    "sale_price_effective_date": _window,
    **dict.fromkeys(("product_type", "google_product_category"), _category),
    "brand": lambda item: {"brand": _text(item, "brand", TEXT_LENGTH)},
    **dict.fromkeys(("line", "item_group_id"), _line),
    "tier": _tier,
    **dict.fromkeys(("availability", *_QUANTITIES), _stock),
    "promotion_id": lambda item: {"promoted": bool(_text(item, "promotion_id", TEXT_LENGTH))},
    "link": lambda item: {"link": _link(item, "link")},
    "image_link": lambda item: {"image_link": _link(item, "image_link")},
    "complements": _complements,
}
"""What reads an attribute, with those that belong to it."""
