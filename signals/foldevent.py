"""A signal in the one form that folding reads: what a Segment call says, with names, numbers and units settled.

`fold_event` makes it from a decoded Segment call and forgives what the e-commerce spec leaves open (`order_id` or
`orderId`, prices as text, a product at the top level). It never fails on content: what cannot be read is left out,
since refusing bad calls is the intake's work. The result depends on nothing but its arguments: a rebuild agrees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, Final, Literal, get_args

import msgspec

from signals import measures
from signals.carts import CLUE_EVENTS, clue_of
from signals.currencies import PAR, told_in
from signals.state import MAX_NUMBER, MAX_PRODUCT_ID, MAX_TRAIT_NAME, MAX_TRAIT_TEXT, Trait

Kind = Literal[
    "order", "order_update", "refund", "cancel", "view", "list_view", "cart_add", "cart_remove", "cart", "checkout",
    "review", "complaint", "complaint_closed", "note", "survey", "registered", "mark", "unmark", "consent",
    "traits", "mail_open", "mail_click", "clue", "other",
]  # fmt: skip
MAIL_KINDS: frozenset[str] = frozenset({"mail_open", "mail_click"})
"""Opens and clicks of mails, ours and others': they do not move the state's version."""

CORRECTIONS: frozenset[str] = frozenset({"order_update", "refund", "cancel", "mark", "unmark"})
"""Signals that change what an earlier signal meant; the profile is folded again from its stored events."""

PRICED: frozenset[str] = frozenset({"order", "order_update", "refund"})
"""Signals whose amounts are added up, so that it matters in which currency they are told."""

LOOKS: Final = ("page", "screen")
"""Types of calls that tell of a look at something, whatever it is named; no state holds them."""

Word = Literal["gift", "not_for_me", "already_own", "wrong_person"]
WORDS: frozenset[str] = frozenset(get_args(Word))
NOT_OWN: frozenset[str] = frozenset({"gift", "wrong_person"})
"""Words that say a purchase is no evidence of the person's own need."""

MAX_LINES = 500
MAX_CENTS = 10**12
MAX_ID = 200
_EXACT, _NEAR = 1e7, 1e-4
"""Up to 10^7 a fraction times 100 is right to 10^-6: far less than counts as near, and that is far from a half."""


class Line(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A product in a call. `category` 0 is unknown; `cents` is the price of one unit, None when not told.

    `coupon` tells that it was bought with one; `millionths` how much of it was, where that is no whole number of units
    (signals/measures.py).
    """

    product: str
    category: int
    quantity: int = 1
    cents: int | None = None
    gift: bool = False
    coupon: bool = False
    millionths: int = 0


class FoldEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One signal, ready to fold.

    `time_ms` is the event time in Unix milliseconds, corrected for the sender's clock; (`time_ms`, `message_id`,
    `source`) is the canonical order and names the event. `arrival` is the stored event's number. `total_cents` is an
    order's or refund's total. `currency` is what the amounts of an order or refund are told in ("": not told, so in the
    installation's own), `rate` what that was worth on its day (signals/exchange.py), 0 where nobody knows. `category`
    is the category a list view, review or mark is about. `subject` is the id of a complaint or survey, `score` a rating
    or survey score, `word` what an Offer Feedback says, the clue to a cart that is left (signals/carts.py), or STANDS
    of an order that its shop says is placed, whatever it said before. `withdraws` is the message id of the mark that an
    unmark takes back. `seen` tells whether a person (or their proxy) was behind a mail fetch or click; `by_mail`
    whether an order came from a mail.
    A trait of None is taken away. `refund_id` is the refund among those of its order, "" where it has no id. `emptied`:
    an update says that nothing is in the order, which is more than saying nothing of what is in it.
    """

    time_ms: int
    message_id: str
    kind: Kind
    source: int = 0
    arrival: int = 0
    lines: tuple[Line, ...] = ()
    order_id: str = ""
    refund_id: str = ""
    total_cents: int | None = None
    currency: str = ""
    rate: int = PAR
    category: int = 0
    subject: str = ""
    score: float | None = None
    word: str = ""
    withdraws: str = ""
    seen: bool = False
    by_mail: bool = False
    traits: dict[str, Trait | None] = {}
    consent: dict[str, bool] = {}
    emptied: bool = False

    @property
    def key(self) -> tuple[int, str, int]:
        """The place of the event in the canonical order."""
        return self.time_ms, self.message_id, self.source

    @property
    def categories(self) -> set[int]:
        """The categories that it tells of."""
        found = {line.category for line in self.lines}
        found.add(self.category)
        found.discard(0)
        return found


STANDS: Final = "placed"
"""What `order_status` of an Order Updated says where the order is none that an earlier cancellation ended."""

_SPELLINGS: Final[Mapping[str, str]] = {
    "completed order": "order completed",
    "order canceled": "order cancelled",
    "viewed product": "product viewed",
    "added product": "product added",
    "removed product": "product removed",
    "email clicked": "email link clicked",
}
"""Other names of events, in lower case, and the names that they stand for."""

_KINDS: dict[str, Kind] = {
    "order completed": "order",
    "order updated": "order_update",
    "order refunded": "refund",
    "order cancelled": "cancel",
    "product viewed": "view",
    "product clicked": "view",
    "product list viewed": "list_view",
    "product added": "cart_add",
    "product removed": "cart_remove",
    "cart viewed": "cart",
    "checkout started": "checkout",
    "product reviewed": "review",
    "complaint opened": "complaint",
    "complaint closed": "complaint_closed",
    "call note added": "note",
    "survey answered": "survey",
    "product registered": "registered",
    "offer feedback": "mark",
    "offer feedback withdrawn": "unmark",
    "consent changed": "consent",
    "email opened": "mail_open",
    "email link clicked": "mail_click",
}
UNKEPT_TRAITS: Final = frozenset(
    {"email", "phone", "id", "user_id", "anonymous_id", "username", "avatar", "website", "password", "address.street"}
)
"""What no state holds of a person, in the spelling of `trait_name`: identifiers have a table of their own."""
_CATEGORY: Final = ("category", "category_id", "categoryId")
_SUBJECT: Final = ("complaint_id", "survey_id", "survey", "case_id")
_WITH_SUBJECT: Final[frozenset[Kind]] = frozenset({"complaint", "complaint_closed", "survey"})
_WITH_SCORE: Final[frozenset[Kind]] = frozenset({"review", "survey"})
_HUMP = re.compile(r"([a-z0-9])([A-Z])")


def kind_of(call_type: str, name: str | None) -> Kind:
    """What a Segment call is about; event names are compared without regard to case."""
    if call_type == "identify":
        return "traits"
    if call_type != "track" or not name:
        return "other"
    said = name.strip().lower()
    return "clue" if said in CLUE_EVENTS else _KINDS.get(_SPELLINGS.get(said, said), "other")


def spellings_of(name: str) -> tuple[str, ...]:
    """All names of the event of this name, in lower case: *Completed Order* is *Order Completed*."""
    said = name.strip().lower()
    meant = _SPELLINGS.get(said, said)
    return meant, *(other for other, stands_for in _SPELLINGS.items() if stands_for == meant)


def fold_event(
    raw: Mapping[str, Any],
    category_id: Callable[[str], int | None],
    *,
    time_ms: int,
    source: int = 0,
    arrival: int = 0,
) -> FoldEvent:
    """The signal that a decoded Segment call (`type`, `event`, `properties`, `traits`, `messageId` …) carries.

    `category_id` turns the category text of a product into its number, None when there is no such category. It must
    keep answering the same for the same text, else a rebuild differs: name a category in the stored call when it is
    only known from today's catalogue. `time_ms` is the settled event time, `source` and `arrival` are the stored ones.
    """
    kind = kind_of(_text(raw.get("type")), _text(raw.get("event")) or None)
    properties = _mapping(raw.get("properties"))
    lines = _lines(kind, properties, category_id)
    order_id = _text(_first(properties, "order_id", "orderId"))[:MAX_ID]
    return FoldEvent(
        time_ms=time_ms,
        message_id=_text(raw.get("messageId") or raw.get("message_id")),
        kind=kind,
        source=source,
        arrival=arrival,
        lines=lines,
        order_id=order_id,
        refund_id=_refund_id(properties, order_id) if kind == "refund" else "",
        total_cents=_total(kind, properties, lines),
        currency=told_in(properties.get("currency")) if kind in PRICED else "",
        category=_category(properties, category_id),
        subject=_text(_first(properties, *_SUBJECT))[:MAX_TRAIT_NAME] if kind in _WITH_SUBJECT else "",
        score=_score(_first(properties, "rating", "score")) if kind in _WITH_SCORE else None,
        word=_said(kind, _text(raw.get("event")), properties),
        withdraws=_text(properties.get("message_id"))[:MAX_ID] if kind == "unmark" else "",
        seen=kind in MAIL_KINDS and _text(_first(properties, "class", "fetch_class")) in ("person", "proxy"),
        by_mail=kind in PRICED and _is_by_mail(raw),
        traits=_traits(_mapping(raw.get("traits"))) if kind == "traits" else {},
        consent=consented(properties) if kind == "consent" else {},
        emptied=kind == "order_update" and properties.get("products") == [],
    )


def cents_of(value: object) -> int | None:
    """A price in currency units, as number or text, in hundredths of the unit; None when it is no amount.

    Halves round away from zero, as tills do; amounts beyond 10^12 cents are taken for mistakes.
    """
    if type(value) is float and -_EXACT < value < _EXACT:
        # What is told in whole cents needs no decimals: its hundredfold is off a whole number by rounding alone.
        scaled = value * 100
        nearest = round(scaled)
        if -_NEAR < scaled - nearest < _NEAR:
            return nearest
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(value if isinstance(value, int) else str(value).strip())
        cents = int((amount * 100).to_integral_value(rounding=ROUND_HALF_UP)) if amount.is_finite() else None
    except (InvalidOperation, ValueError):
        return None
    return cents if cents is not None and abs(cents) <= MAX_CENTS else None


def _total(kind: Kind, properties: Mapping[str, Any], lines: tuple[Line, ...]) -> int | None:
    """What an order or a refund came to. A refund that names products, but not one piece of any, is of no money."""
    told = cents_of(_first(properties, "total", "revenue", "value"))
    if told is None and kind == "refund" and not lines:
        names = properties.get("products") or product_id(properties) or _first(properties, *_CATEGORY)
        return 0 if names else None
    return told


def trait_name(name: str) -> str:
    """The one spelling of a trait: `firstName` and `first_name` are the same; lower case, at most 64 characters."""
    return _HUMP.sub(r"\1_\2", name).strip().lower().replace(" ", "_")[:MAX_TRAIT_NAME]


def _lines(kind: Kind, properties: Mapping[str, Any], category_id: Callable[[str], int | None]) -> tuple[Line, ...]:
    products = properties.get("products")
    whole_gift, whole_coupon = properties.get("gift") is True, bool(_text(properties.get("coupon")))
    if isinstance(products, list):
        found = [_line(product, category_id, whole_gift, whole_coupon) for product in products[:MAX_LINES]]
    elif kind not in ("traits", "consent", "unmark", "other"):
        found = [_line(properties, category_id, whole_gift, whole_coupon)]
    else:
        found = []
    return tuple(line for line in found if line is not None)


def _line(product: object, category_id: Callable[[str], int | None], gift: bool, coupon: bool) -> Line | None:
    if not isinstance(product, dict):
        return None
    name = product_id(product)
    category = _category(product, category_id)
    told = product.get("quantity")
    quantity, millionths = (1, 0) if told is None else measures.pieces(measures.told(told))
    if quantity < 1 or not (name or category):
        return None
    cents = cents_of(product.get("price"))
    if cents is not None and cents < 0:
        cents = None
    if not coupon and "coupon" in product:
        coupon = bool(_text(product["coupon"]))
    return Line(name, category, quantity, cents, gift or product.get("gift") is True, coupon, millionths)


def product_id(product: Mapping[str, Any]) -> str:
    """The id of a product in a call, under whichever of its names; "" where there is none."""
    told = product.get("product_id")
    name = told if type(told) is str else _text(_first(product, "product_id", "productId", "sku", "id"))
    return name[:MAX_PRODUCT_ID]


def _refund_id(properties: Mapping[str, Any], order_id: str) -> str:
    """The id of a refund, without what stands before the number of its order: a shop's prefix is told or not."""
    prefix = order_id.rstrip("0123456789")
    return _text(_first(properties, "refund_id", "refundId"))[:MAX_ID].removeprefix(prefix)


def _category(properties: Mapping[str, Any], category_id: Callable[[str], int | None]) -> int:
    told = properties.get("category")
    text = told if type(told) is str else _text(_first(properties, *_CATEGORY))
    return (category_id(text) or 0) if text else 0


def _score(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) <= MAX_NUMBER else None


def _is_by_mail(raw: Mapping[str, Any]) -> bool:
    campaign = _mapping(_mapping(raw.get("context")).get("campaign"))
    return _text(campaign.get("medium")).lower() == "email"


def _said(kind: Kind, name: str, properties: Mapping[str, Any]) -> str:
    if kind == "clue":
        return clue_of(name.strip().lower(), properties)
    if kind == "order_update":
        return STANDS if properties.get("order_status") == STANDS else ""
    return _word(_first(properties, "feedback", "mark", "answer")) if kind == "mark" else ""


def _word(value: object) -> str:
    word = re.sub(r"[\s-]+", "_", _text(value).strip().lower())
    return word if word in WORDS else ""


def _traits(raw: Mapping[str, Any]) -> dict[str, Trait | None]:
    kept: dict[str, Trait | None] = {}
    for name, value in raw.items():
        inner = value.items() if isinstance(value, dict) else [(None, value)]
        for part, entry in inner:
            full = trait_name(name if part is None else f"{name}.{part}")
            if full and full not in UNKEPT_TRAITS and _keepable(entry):
                kept[full] = entry[:MAX_TRAIT_TEXT] if isinstance(entry, str) else entry
    return kept


def _keepable(value: object) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return abs(value) <= MAX_NUMBER
    return value is None or isinstance(value, str | bool)


def consented(properties: Mapping[str, Any]) -> dict[str, bool]:
    """What a statement of consent says, in either of its forms: per purpose whether it is agreed to."""
    many = properties.get("consents")
    one = (properties.get("purpose"), properties.get("granted"))
    pairs: list[tuple[Any, Any]] = list(many.items()) if isinstance(many, dict) else [one]
    return {
        purpose[:MAX_TRAIT_NAME]: granted
        for purpose, granted in pairs
        if isinstance(purpose, str) and purpose and isinstance(granted, bool)
    }


def _first(properties: Mapping[str, Any], *names: str) -> object:
    for name in names:
        value = properties.get(name)
        if value is not None:
            return value
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""
