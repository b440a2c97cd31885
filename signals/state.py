"""The profile state: the compact fold of a profile's signals that render reads in one go.

Everything in it is a whole number, a short text or a short list with a bound, so that folding the same events gives
the same bytes on every machine. Moments are seconds since 2020-01-01 UTC (`_s`), days are UTC days since then, money is
in cents of the installation's own currency (signals/exchange.py), times named `_ms` are Unix milliseconds
(signals/moments.py). Purchases are counted net: what was returned, cancelled or marked as a gift is not in `categories`
(signals/fold.py).

The byte form is MessagePack with structs as arrays: fields may be added at the end of a struct, with a default, and
nowhere else. In Valkey the state's *edition* stands before it, nine bytes that say which of two writers came later; the
version cannot, as clicks, segments and a rebuild change a state without moving it. `document` is the same content as
readable JSON, plus what SQL would find awkward to derive (day lists, medians); the profile_state table has of it what
SQL asks for, as shortly as SQL can read it (`queried`).
"""

from __future__ import annotations

import copy
import struct
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec

from signals.gaps import days_back
from signals.household import Household
from signals.moments import DAY_S, day_of, seconds_of

FORMAT = 1
MAX_CATEGORIES = 160
"""Categories kept; the one bought least recently leaves first. 150 of them bought weekly fit in 4 KB with the rest."""

MAX_GAPS = 9
"""Gaps kept per category: the latest ten orders with it. Windowed counts above ten therefore read ten."""

MAX_ORDER_GAPS = 39
"""Gaps kept over all orders: the latest forty."""

MAX_RECENT = 12
MAX_CART = 16
MAX_VIEWS = 24
MAX_TRAITS = 40
MAX_TRAIT_NAME = 64
MAX_TRAIT_TEXT = 128
MAX_MARKS = 16
MAX_COMPLAINTS = 4
MAX_REVIEWS = 12
MAX_REGISTERED = 16
MAX_SURVEYS = 8
MAX_CONSENTS = 8
MAX_SCORES = 24
MAX_PRODUCT_ID = 64
"""Characters of a product id that are kept; longer ones are cut, everywhere in the same way."""

ORDER_KEY = 6
"""Bytes of BLAKE2b that stand for an order id; two of 16 orders collide once in 10^12."""

MAX_ORDER_KEYS = 16
"""Orders in which a repeated order id is recognised."""

MAX_UNMATCHED = 8
EDITION = struct.Struct(">BQ")
"""How an edition is written: MessagePack's whole number of eight bytes, whatever its size, and its mark before it."""

EDITION_MARK = 0xCF
BOUGHT_N, BOUGHT_CENTS, BOUGHT_INTERVAL, BOUGHT_DAYS = 1, 2, 3, 4
SEEN_N = 1
NEWEST = -1
NONE = "-"
"""Places of words in the texts that SQL reads of categories (`queried`), and what stands for one that is missing."""

MAX_NUMBER = 2**53
"""Numbers beyond ±2^53 are not kept: JSON readers and SQL disagree about them."""

Trait = str | float | int | bool


class CategoryStats(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Net purchases of one category: orders with it, what they cost (cents), the newest, and the gaps before it.

    `gaps` are whole days between consecutive orders, newest first, a byte each; 255 means "255 and the next byte".
    `coupons` counts the orders in which a coupon was used on it.
    """

    n: int
    cents: int
    last_s: int
    gaps: bytes = b""
    coupons: int = 0

    @property
    def last_day(self) -> int:
        """The UTC day of the newest order."""
        return day_of(self.last_s)

    @property
    def days(self) -> list[int]:
        """The UTC days of the latest orders (at most ten), newest first; a day with two orders appears twice."""
        return days_back(day_of(self.last_s), self.gaps)


class Purchase(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One line of a recent order, net of returns. `category` 0 is unknown; `cents` is one unit's price; parts count."""

    product: str
    category: int
    time_ms: int
    quantity: int
    cents: int


class CartLine(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What lies in the cart, as a Line (signals/foldevent.py). `cents` is the price of a unit, None when never told."""

    product: str
    category: int
    quantity: int
    cents: int | None
    millionths: int = 0


class Views(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How often products of a category were looked at, and when last."""

    n: int
    last_s: int


class Mark(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A person's or an agent's word on a thing. `target` is "order:…", "product:…" or "category:<id>".

    `word` is "gift", "not_for_me", "already_own" or "wrong_person".
    """

    target: str
    word: str
    day: int


class Review(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The latest review of something in a category: "positive", "neutral" or "negative"."""

    sentiment: str
    day: int


class Answer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The latest answer to a survey, as a score."""

    score: float
    day: int


class Score(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A trait that was computed, and the moment up to which it knew the person's signals."""

    value: float
    as_of_s: int


class ProfileState(msgspec.Struct, array_like=True):
    """What we know of one profile now. Mutated only inside signals/fold.py while it is being made.

    `version` is the arrival number of the newest folded signal (mail fetches and clicks not counted), `last_ms` the
    event time of the newest. `erased` makes it a tombstone: nothing else is set and no event changes it.
    `complaints` maps the id of an open complaint ("" if it had none) to its opening. `order_keys` (newest last) and
    `unmatched` hold shortened order ids: of the latest orders, and of those that only corrections and updates tell of.
    `scores` are computed elsewhere and only carried along, as segments are (signals/scores.py). `clues` say why what
    lies in the cart may have been left there, each with its newest second (signals/carts.py). `household` is found from
    who lives together (signals/grouping.py) and carried along as scores are; when it changes, so does the version.
    """

    format: int = FORMAT
    version: int = 0
    last_ms: int = 0
    erased: bool = False
    since_s: int | None = None
    categories: dict[int, CategoryStats] = {}
    recent: tuple[Purchase, ...] = ()
    orders: int = 0
    order_cents: int = 0
    last_order_s: int | None = None
    order_gaps: bytes = b""
    order_keys: bytes = b""
    unmatched: bytes = b""
    mail_orders: int = 0
    views: dict[int, Views] = {}
    cart: tuple[CartLine, ...] = ()
    cart_s: int | None = None
    checkout_s: int | None = None
    traits: dict[str, Trait] = {}
    consent: dict[str, bool] = {}
    marks: tuple[Mark, ...] = ()
    complaints: dict[str, int] = {}
    reviews: dict[int, Review] = {}
    registered: dict[int, int] = {}
    surveys: dict[str, Answer] = {}
    notes: int = 0
    last_note_s: int | None = None
    clicks: int = 0
    last_click_s: int | None = None
    opens: int = 0
    last_open_s: int | None = None
    intents: dict[str, float] = {}
    intent_top: str | None = None
    segments: tuple[int, ...] = ()
    scores: dict[str, Score] = {}
    clues: dict[str, int] = {}
    coupon_orders: int = 0
    household: Household | None = None

    @property
    def open_complaint_ms(self) -> int | None:
        """When the oldest complaint that is still open was opened, in Unix milliseconds; None when none is."""
        return min(self.complaints.values(), default=None)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(ProfileState)
_MARKED = bytes((EDITION_MARK,))
_MAPS = (
    "categories", "views", "traits", "consent", "complaints", "reviews", "registered", "surveys", "intents", "scores",
    "clues",
)  # fmt: skip


def encode(state: ProfileState) -> bytes:
    """The state's bytes; equal states have equal bytes whatever the order their maps were filled in."""
    ordered = state
    for name in _MAPS:
        entries = getattr(state, name)
        # Mostly they are in order: a state that was decoded has them so.
        if len(entries) > 1 and (names := sorted(entries)) != list(entries):
            if ordered is state:
                ordered = copy.copy(state)
            setattr(ordered, name, {key: entries[key] for key in names})
    return _ENCODER.encode(ordered)


def decode(data: bytes) -> ProfileState:
    """The state in these bytes, with its edition or without. Raises msgspec.DecodeError when they are none."""
    try:
        return _DECODER.decode(data[EDITION.size :] if data[:1] == _MARKED else data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def issued(edition: int, encoded: bytes) -> bytes:
    """What Valkey holds: the state's bytes with the edition before them."""
    return EDITION.pack(EDITION_MARK, edition) + encoded


def tombstone(version: int = 0) -> ProfileState:
    """The state of an erased profile."""
    return ProfileState(version=version, erased=True)


def document(state: ProfileState) -> dict[str, Any]:
    """The state as a JSON object with names, for people; what SQL reads of it is `queried`.

    Beside each moment `*_s` stands its day `*_day`; gaps are written as lists of days (`days`, `order_days`, newest
    first) with the median gap (`interval_days`), so that SQL has nothing to unpack.
    """
    plain = {
        name: value if type(value) in _PLAIN else _plain(value)
        for name, value in _named(state).items()
        if name not in _WRITTEN_OTHERWISE
    }
    plain["categories"] = {str(category): _bought(stats) for category, stats in state.categories.items()}
    plain["order_days"] = order_days(state)
    plain["order_interval_days"] = interval(state.order_gaps)
    opened_ms = state.open_complaint_ms
    plain["open_complaint_day"] = None if opened_ms is None else day_of(seconds_of(opened_ms))
    return plain


def queried(state: ProfileState) -> dict[str, Any]:
    """What SQL reads of the state, named as in `document`, without what is empty.

    A rule over a million people reads a million of these, and each signal writes one, so their size is their time. So
    what is known of each category is a text of a few words, not an object: of purchases (`bought`) how many, cents,
    median gap in days or NONE, then the days of the latest, newest last; of looks (`seen`) how many and the newest
    day. Segments, traits and consent are always there.
    """
    plain: dict[str, Any] = {"segments": list(state.segments), "traits": state.traits, "consent": state.consent}
    for name in _AS_IT_IS:
        if value := getattr(state, name):
            plain[name] = value
    for name in _SECONDS:
        if (moment := getattr(state, name)) is not None:
            plain[name] = moment
    for name, day in _DAYS:
        if (moment := getattr(state, name)) is not None:
            plain[day] = day_of(moment)
    if state.categories:
        bought = state.categories
        plain["bought"] = {str(category): _in_words(bought[category]) for category in sorted(bought)}
    if state.last_order_s is not None:
        plain["order_days"] = order_days(state)
        if (between := interval(state.order_gaps)) is not None:
            plain["order_interval_days"] = between
    if state.views:
        plain["seen"] = {str(key): f"{seen.n} {day_of(seen.last_s)}" for key, seen in state.views.items()}
    if state.cart:
        plain["cart"] = [{"category": line.category} for line in state.cart]
    if state.marks:
        plain["marks"] = [{"target": mark.target, "word": mark.word} for mark in state.marks]
    if state.scores:
        plain["scores"] = {
            name: {"value": score.value, "as_of_day": day_of(score.as_of_s)} for name, score in state.scores.items()
        }
    for name in _WHOLE:
        if value := getattr(state, name):
            plain[name] = _plain(value)
    if (opened_ms := state.open_complaint_ms) is not None:
        plain["open_complaint_day"] = day_of(seconds_of(opened_ms))
    return plain


def order_days(state: ProfileState) -> list[int]:
    """The UTC days of the latest orders (at most forty), newest first."""
    return [] if state.last_order_s is None else days_back(day_of(state.last_order_s), state.order_gaps)


def interval(gaps: bytes) -> float | None:
    """The median gap in days between distinct purchase days; None for fewer than three such days."""
    if 255 in gaps:
        distinct = sorted(set(days_back(0, gaps)))
        between = sorted(later - earlier for earlier, later in pairwise(distinct))
    else:
        between = sorted(gaps.replace(b"\x00", b""))
    middle, odd = divmod(len(between), 2)
    if len(between) < 2:
        return None
    return float(between[middle]) if odd else (between[middle - 1] + between[middle]) / 2


_AS_IT_IS = (
    "orders", "order_cents", "mail_orders", "notes", "clicks", "opens", "intents", "intent_top", "clues",
)  # fmt: skip
_SECONDS = ("cart_s", "checkout_s")
_DAYS = tuple((f"{name}_s", f"{name}_day") for name in ("since", "last_order", "last_note", "last_click", "last_open"))
_WHOLE = ("reviews", "registered", "surveys", "household")
_PLAIN = frozenset({int, str, float, bool, type(None)})
_WRITTEN_OTHERWISE = frozenset({"categories", "order_gaps"})


def _bought(stats: CategoryStats) -> dict[str, Any]:
    gaps, day = stats.gaps, day_of(stats.last_s)
    return {
        "n": stats.n,
        "cents": stats.cents,
        "last_s": stats.last_s,
        "last_day": day,
        "days": days_back(day, gaps) if gaps else [day],
        "interval_days": interval(gaps) if len(gaps) > 1 else None,
        "coupons": stats.coupons,
    }


def _in_words(stats: CategoryStats) -> str:
    """What rules ask of `_bought`, as `queried` has it: of every category with every signal, so in few steps."""
    gaps, day = stats.gaps, stats.last_s // DAY_S
    # Written like this in half the time of an f-string.
    if not gaps:
        return "%d %d - %d" % (stats.n, stats.cents, day)  # noqa: UP031
    if len(gaps) == 1:
        return "%d %d - %d %d" % (stats.n, stats.cents, day - gaps[0], day)  # noqa: UP031
    between = interval(gaps)
    days = " ".join(map(str, reversed(days_back(day, gaps))))
    return f"{stats.n} {stats.cents} {NONE if between is None else between} {days}"


@cache
def _days(kind: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    """The moments among a struct's fields, each with the name of its day."""
    return tuple((name, f"{name[:-2]}_day") for name in kind.__struct_fields__ if name.endswith("_s"))


def _named(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields by name, with the day of each moment; what is in them is as it is in the struct."""
    plain = msgspec.structs.asdict(struct)
    for name, day in _days(type(struct)):
        plain[day] = None if plain[name] is None else day_of(plain[name])
    return plain


def _plain(value: Any) -> Any:
    match value:
        case msgspec.Struct():
            return _named(value)
        case dict():
            return {str(key): entry if type(entry) in _PLAIN else _plain(entry) for key, entry in value.items()}
        case tuple():
            return [entry if type(entry) in _PLAIN else _plain(entry) for entry in value]
        case bytes():
            return value.hex()
        case _:
            return value
