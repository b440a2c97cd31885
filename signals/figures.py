"""The figures of a signal: what of its body SQL may read, beside the body, which is sealed.

Reports compare amounts, currencies, and the products and carts that were bought, and a run that goes by the recipient's
clock the time zone. These few fields, and of them only what looks like one, are kept readable; a name, an address or a
word that somebody wrote is in none of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from signals.currencies import NO_CURRENCY, is_code

MAX_ID: Final = 100
_ADDRESS: Final = re.compile(r"@|%40|^\s*\+")
"""An e-mail address, as it is or as addresses of pages write it, or a telephone number of some country."""
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_STATUS: Final = re.compile(r"[a-z][a-z-]{0,19}")
_ZONE: Final = re.compile(r"[A-Za-z0-9_+/-]{1,64}")


_JSON: Final = msgspec.json.Encoder()


def figures(call: Mapping[str, Any]) -> bytes | None:
    """The figures of a decoded call as a JSON object shaped as the call is; None where it has none.

    A list of products keeps its length: each line is an object of its figures, empty where it has none.
    """
    found: dict[str, Any] = {}
    event, properties, context = call.get("event"), call.get("properties"), call.get("context")
    if isinstance(properties, dict):
        is_product = isinstance(event, str) and "product" in event.lower()
        told = _told(properties) | _product(properties, _SPELLINGS if is_product else _SURE)
        if told:
            found["properties"] = told
    if isinstance(context, dict):
        zone = context.get("timezone")
        if isinstance(zone, str) and _ZONE.fullmatch(zone):
            found["context"] = {"timezone": zone}
    return _JSON.encode(found) if found else None


def order_number(properties: Mapping[str, Any]) -> str | None:
    """The number by which the buyer knows an order, as the shop writes it; None where none is told or it is no id."""
    number = properties.get("order_number")
    told = _id(properties.get("orderNumber") if number is None else number)
    shown = str(told).strip() if isinstance(told, str | int) else ""
    return shown if 0 < len(shown) <= MAX_ID else None


def _told(given: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, read in _FIELDS.items():
        value = given.get(name)
        if value is not None and (kept := read(value)) is not None:
            told[name] = kept
    return told


def _number(value: Any) -> Any:
    if type(value) in _NUMBERS:
        return value
    return value if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def _id(value: Any) -> Any:
    """An id; nothing where an address stands in its place, or words do."""
    if isinstance(value, str):
        return value if len(value) <= MAX_ID and _is_id(value) else None
    return _number(value)


@lru_cache(maxsize=10_000)
def _is_id(text: str) -> bool:
    return text.count(" ") < 3 and not _ADDRESS.search(text)


def _currency(value: Any) -> Any:
    """A code as it is told; that it is none, where something else stands in its place."""
    told = value.strip() if isinstance(value, str) else value
    if told == "":
        return None
    return told if isinstance(told, str) and is_code(told) else NO_CURRENCY


def _status(value: Any) -> Any:
    return value if isinstance(value, str) and _STATUS.fullmatch(value) else None


def _is_used(value: Any) -> Any:
    """That there is a coupon. Which one, is nobody's but the person's."""
    return True if value != "" else None


def _products(value: Any) -> Any:
    if not isinstance(value, list):
        return None
    return [_line(line) if isinstance(line, dict) else {} for line in value]


def _line(given: Mapping[str, Any]) -> dict[str, Any]:
    told = _product(given, _SPELLINGS)
    for name in _AMOUNTS:
        value = given.get(name)
        if value is not None and (kept := _number(value)) is not None:
            told[name] = kept
    return told


def _product(given: Mapping[str, Any], spellings: Sequence[str]) -> dict[str, Any]:
    """Which product it is, under one name however the call spells it (as signals/foldevent.py reads it)."""
    for name in spellings:
        if (told := given.get(name)) is not None and told != "":
            kept = _id(told)
            return {} if kept is None else {"product_id": kept}
    return {}


_NUMBERS: Final = frozenset((int, float))
_SURE: Final = ("product_id", "productId", "sku")
_SPELLINGS: Final = (*_SURE, "id")
"""What a product is called; `id` alone may be anybody's where a call is not about a product."""
_AMOUNTS: Final = ("price", "cost", "quantity")
_FIELDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "cart_id": _id, "currency": _currency, "coupon": _is_used, "discount": _number,
    "order_status": _status, "total": _number, "revenue": _number, "value": _number, "products": _products,
}  # fmt: skip
