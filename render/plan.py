"""The plan: a published campaign, everything an open needs, immutable and named by its hash.

`campaigns` compiles it, `render` executes it. Times are milliseconds since the epoch (UTC), money is whole minor units
(cents), lengths are 1x pixels. Rules are JSON in the language of `signals.rules`; categories in them are slugs, which
`Plan.categories` resolves.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from base.errors import InvalidInput
from render.creative import MAX_CELLS, Creative, countdown_of

Kind = Literal["replacement", "cross-sell", "upsell", "volume", "bundle", "thank-you", "service", "neutral"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
"""Offer kinds; the position is the kind's number as a model feature, so new kinds go to the end."""
SALES_KINDS: Final = frozenset({"replacement", "cross-sell", "upsell", "volume", "bundle"})
"""Kinds that ask for money: switched off while a complaint is open."""
Layer = Literal["legal", "relevant", "beneficial"]
LAYERS: Final[tuple[Layer, ...]] = get_args(Layer)
Mode = Literal["rules", "model"]
Format = Literal["jpg", "png", "gif", "webp"]

FORMAT_VERSION: Final = 1
MAX_SLOTS: Final = 32
MAX_OFFERS: Final = 5000
"""Offers in one plan; 5,000 is what a decision is promised to pre-filter (DE-27)."""
PRICE_FIELDS: Final = frozenset(
    {"price_cents", "was_cents", "saving_cents", "amount_off_cents", "percent", "price", "was", "saving"}
)
"""Names of offer fields that claim a price or a saving."""
MAX_PRODUCTS: Final = 12
"""Products beside the first of an offer: four are shown, the others stand in for what is sold out."""
MAX_PERIOD_SHOWS: Final = 32
"""The longest row of show times kept per person and offer, and so the highest cap per period."""
_HEX64: Final = re.compile(r"[0-9a-f]{64}\Z")

Rule = dict[str, Any]


class LayeredRules(Struct, frozen=True, omit_defaults=True):
    """Eligibility in three layers: may legally have it, makes sense now, is good for the person. None asks nothing."""

    legal: Rule | None = None
    relevant: Rule | None = None
    beneficial: Rule | None = None

    def of(self, layer: Layer) -> Rule | None:
        """The rule of one layer."""
        if layer == "legal":
            return self.legal
        return self.relevant if layer == "relevant" else self.beneficial


class Offer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What may be shown. `starts_ms` is the first valid millisecond, `ends_ms` the first that is not valid any more.

    priority: larger goes first; it orders slots in mode "rules" and breaks ties in mode "model".
    mandatory: skips arbitration (never the legal layer, nor caps): where it survives, it goes before all others.
    value_cents, cost_cents: earned by a success, spent by a showing; the model ranks by probability x value - cost.
    cap_total: showings over all people. cap_person: showings to one person, ever or within `period_days`.
    no_repeat_days: not again within so many days in *another* mail; sticky: a new open of the same mail keeps it.
    purpose_category: once bought since the send, the offer's purpose is met and it is removed.
    after_category: wants that category bought since the send (a thank-you, a complement).
    clock_bound: its picture counts down or names an hour. shows_price: its picture names the product's price.
    fields: texts for the creative as `offer.<name>`; whole numbers are minor units.
    products: further products, shown beside `product` while they are in stock; of a bundle, its other parts.
    """

    id: int
    name: str
    kind: Kind
    creative: int
    landing: str
    category: int | None = None
    product: str | None = None
    starts_ms: int | None = None
    ends_ms: int | None = None
    priority: int = 0
    mandatory: bool = False
    value_cents: int = 0
    cost_cents: int = 0
    rules: LayeredRules = LayeredRules()
    cap_total: int | None = None
    cap_person: int | None = None
    period_days: int | None = None
    no_repeat_days: int | None = None
    sticky: bool = True
    group: str | None = None
    purpose_category: int | None = None
    after_category: int | None = None
    fields: dict[str, str | int] = {}
    needs_stock: bool = False
    clock_bound: bool = False
    shows_price: bool = False
    requires_consent: tuple[str, ...] = ()
    products: tuple[str, ...] = ()

    @property
    def all_products(self) -> tuple[str, ...]:
        """Its product and those beside it, without repeats."""
        first = (self.product,) if self.product is not None else ()
        return tuple(dict.fromkeys((*first, *self.products)))

    @property
    def is_capped(self) -> bool:
        """Whether showing it uses anything up."""
        return self.cap_total is not None or self.cap_person is not None

    @property
    def is_limited(self) -> bool:
        """Whether it may be shown only so often, to one person or to all."""
        return self.is_capped or self.no_repeat_days is not None


class Slot(Struct, frozen=True, kw_only=True):
    """A place in the message. `offers` are candidate ids in order: the order decides between equal priorities.

    `default` is the id of an offer of kind neutral, shown where no candidate survives; slots may share one (an offer
    that *won* a slot is never shown in a second). width and height are the declared 1x size; `max_bytes` bounds the
    drawn file. `fmt` is that of the mail's pictures, `web_fmt` that of the pictures in web pages.
    """

    index: int
    name: str
    width: int
    height: int
    offers: tuple[int, ...]
    default: int
    alt: str
    fmt: Format = "jpg"
    web_fmt: Format = "webp"
    mode: Mode = "rules"
    max_bytes: int = 150_000


class Plan(Struct, frozen=True, kw_only=True, dict=True):
    """A published campaign. Build it, `validate` it, store `encode(plan)` under `plan:<digest(bytes)>`.

    categories: slug -> id for every category a rule or a field names. category_names: slug -> words for a picture.
    sensitive: categories whose signals may suppress an offer but never select one.
    hold_s: how long an open is held while nothing changes. feed_stale_s: older product facts count as unknown.
    lifetime_days: how long after the send a mail may still be opened with its `shown` state expected to exist.
    needs_consent: purposes that must be granted for anything but the default; a refusal always counts.
    undecided_capped: whether a fetch that may be a machine can be given capped offers.
    view_html: the whole mail as sandboxed Jinja. unsubscribe: texts of the unsubscribe page by name.
    default_landing: where a click goes that cannot be resolved.
    amp_senders: the senders, in lower case, whose AMP mails may ask for this plan's decisions; unset where its mails
    have no AMP part, so that such a plan keeps the bytes and the hash it always had.
    tracking: none where opens and clicks are not followed: the defaults for everybody, and only counters go up;
    anonymous where each person gets what fits and what is kept names nobody.
    """

    campaign: int
    name: str
    slots: tuple[Slot, ...]
    offers: tuple[Offer, ...]
    creatives: tuple[Creative, ...]
    default_landing: str
    version: int = FORMAT_VERSION
    channel: str = "email"
    locale: str = "en"
    currency: str = "USD"
    brand: str = ""
    hold_s: int = 3600
    lifetime_days: int = 60
    feed_stale_s: int = 2 * 86400
    categories: dict[str, int] = {}
    category_names: dict[str, str] = {}
    sensitive: tuple[int, ...] = ()
    needs_consent: tuple[str, ...] = ()
    undecided_capped: bool = True
    landing_hosts: tuple[str, ...] = ()
    view_html: str = ""
    unsubscribe: dict[str, str] = {}
    amp_senders: tuple[str, ...] | UnsetType = UNSET
    tracking: Literal["none", "anonymous"] | UnsetType = UNSET

    @cached_property
    def offer_by_id(self) -> Mapping[int, Offer]:
        return {offer.id: offer for offer in self.offers}

    @cached_property
    def creative_by_id(self) -> Mapping[int, Creative]:
        return {creative.id: creative for creative in self.creatives}

    @cached_property
    def slot_by_index(self) -> Mapping[int, Slot]:
        return {slot.index: slot for slot in self.slots}

    @cached_property
    def default_ids(self) -> frozenset[int]:
        """The offers that are some slot's default."""
        return frozenset(slot.default for slot in self.slots)

    @cached_property
    def category_words(self) -> Mapping[int, str]:
        """Category id -> the words a picture may name it with."""
        return {self.categories[slug]: words for slug, words in self.category_names.items() if slug in self.categories}

    @cached_property
    def product_ids(self) -> tuple[str, ...]:
        """The products an open must read, without repeats, in the order of the offers."""
        return tuple(dict.fromkeys(product for offer in self.offers for product in offer.all_products))

    @cached_property
    def capped_ids(self) -> tuple[int, ...]:
        """The offers with a total cap, whose balances an open must read."""
        return tuple(offer.id for offer in self.offers if offer.cap_total is not None)


class Live(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a campaign runs now, at `live:<campaign>`. ended and killed both mean: the default everywhere.

    plan: the hash, None before anything was published. withdrawn: offers that must not be shown any more.
    model: hash of the model artefact for slots of mode "model". picture: blob hash of the kill switch's static picture.
    """

    plan: str | None = None
    state: Literal["live", "ended", "killed"] = "live"
    withdrawn: tuple[int, ...] = ()
    model: str | None = None
    brand: str = ""
    picture: str | None = None


_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_decode: Final = msgspec.json.Decoder(Plan).decode
_encode_live: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_decode_live: Final = msgspec.msgpack.Decoder(Live).decode


def encode(plan: Plan) -> bytes:
    """The one byte form of a plan: JSON with sorted keys."""
    return _encode(plan)


def digest(data: bytes) -> str:
    """The name of a plan: SHA-256 hex of its bytes."""
    return hashlib.sha256(data).hexdigest()


def decode(data: bytes) -> Plan:
    """Read a plan. Raises InvalidInput naming the field for bytes that are not one this code understands."""
    try:
        plan = _decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidInput("plan", str(error)) from error
    if plan.version != FORMAT_VERSION:
        raise InvalidInput("plan.version", f"is {plan.version}; this release reads version {FORMAT_VERSION}")
    return plan


def encode_live(live: Live) -> bytes:
    """The bytes of a live key."""
    return _encode_live(live)


def decode_live(data: bytes) -> Live:
    """Read a live key. Raises msgspec.DecodeError or ValidationError."""
    return _decode_live(data)


def validate(plan: Plan) -> list[str]:
    """What keeps a plan from being published, one sentence a fault, each beginning with the field. Empty: it may go.

    A plan that passes can fill every slot at every open: each slot names a neutral, unconditional, uncapped default.
    Rules are checked where they are written (`signals.rules.parse`), since errors belong to a form's field there.
    """
    return [f"{field}: {message}" for field, message in _faults(plan)]


def _faults(plan: Plan) -> Iterator[tuple[str, str]]:
    if not 0 < len(plan.slots) <= MAX_SLOTS:
        yield "slots", f"must be 1 to {MAX_SLOTS}, not {len(plan.slots)}"
    if len(plan.offers) > MAX_OFFERS:
        yield "offers", f"are {len(plan.offers)}; a plan holds at most {MAX_OFFERS}"
    if not 0 < plan.hold_s <= 30 * 86400:
        yield "hold_s", "must be 1 second to 30 days"
    yield from _repeats("slots", [slot.index for slot in plan.slots], "index")
    yield from _repeats("offers", [offer.id for offer in plan.offers], "id")
    yield from _repeats("creatives", [creative.id for creative in plan.creatives], "id")
    for position, offer in enumerate(plan.offers):
        yield from _offer_faults(f"offers[{position}]", offer, plan)
    for position, slot in enumerate(plan.slots):
        yield from _slot_faults(f"slots[{position}]", slot, plan)


def _repeats(field: str, ids: list[int], name: str) -> Iterator[tuple[str, str]]:
    for value in sorted({value for value in ids if ids.count(value) > 1} if len(set(ids)) != len(ids) else ()):
        yield field, f"use the {name} {value} more than once"


def _slot_faults(at: str, slot: Slot, plan: Plan) -> Iterator[tuple[str, str]]:
    if not 0 <= slot.index < 255:
        yield f"{at}.index", "must be 0 to 254; 255 means the whole mail"
    if slot.width <= 0 or slot.width % 20 or slot.width > 1200:
        yield f"{at}.width", "must be a multiple of 20 up to 1200 pixels"
    if slot.height <= 0 or slot.height % 10 or slot.height > 1200:
        yield f"{at}.height", "must be a multiple of 10 up to 1200 pixels"
    if not slot.alt.strip():
        yield f"{at}.alt", "is empty; describe the place, not one offer"
    for offer in slot.offers:
        if offer not in plan.offer_by_id:
            yield f"{at}.offers", f"names the offer {offer}, which the plan does not hold"
    if len(set(slot.offers)) != len(slot.offers):
        yield f"{at}.offers", "names an offer twice"
    yield from _format_faults(at, slot, plan)
    default = plan.offer_by_id.get(slot.default)
    if default is None:
        yield (
            f"{at}.default",
            f"names the offer {slot.default}, which is not in the plan; every slot needs a default",
        )
    else:
        for fault in _default_faults(default):
            yield f"{at}.default", f"the offer {default.name!r} {fault}"


def _format_faults(at: str, slot: Slot, plan: Plan) -> Iterator[tuple[str, str]]:
    """A mail's formats are those every client shows, and what counts down must be able to move."""
    if slot.fmt == "webp" and plan.channel == "email":
        yield f"{at}.fmt", "is webp, which Outlook and others do not show; a mail takes jpg, png or gif"
    if slot.fmt == "gif":
        return
    for number in slot.offers:
        offer = plan.offer_by_id.get(number)
        creative = plan.creative_by_id.get(offer.creative) if offer is not None else None
        if offer is not None and creative is not None and countdown_of(creative.layers) is not None:
            yield f"{at}.fmt", f"is {slot.fmt}, yet the offer {offer.name!r} counts down; such a slot must be gif"


def _default_faults(offer: Offer) -> Iterator[str]:
    if offer.kind != "neutral":
        yield f"is of kind {offer.kind}; a default must be neutral"
    if offer.is_limited:
        yield "is limited; a default must always be there"
    if offer.starts_ms is not None or offer.ends_ms is not None or offer.clock_bound:
        yield "is bound to time; a default must always be true"
    if offer.all_products or offer.needs_stock or offer.shows_price:
        yield "depends on a product; a default carries no price and no stock"
    if offer.rules != LayeredRules() or offer.requires_consent or offer.after_category or offer.purpose_category:
        yield "has conditions; a default must suit everybody"
    if named := sorted(PRICE_FIELDS.intersection(offer.fields)):
        yield f"names a price in its field {named[0]}; a default carries no price"


def _offer_faults(at: str, offer: Offer, plan: Plan) -> Iterator[tuple[str, str]]:
    if offer.creative not in plan.creative_by_id:
        yield f"{at}.creative", f"names the creative {offer.creative}, which the plan does not hold"
    creative = plan.creative_by_id.get(offer.creative)
    if creative is not None and countdown_of(creative.layers) is not None:
        if offer.ends_ms is None:
            yield f"{at}.ends_ms", "is missing, yet its creative counts down to the offer's end"
        if not offer.clock_bound:
            yield f"{at}.clock_bound", "must be set: its creative counts down"
    if offer.starts_ms is not None and offer.ends_ms is not None and offer.starts_ms >= offer.ends_ms:
        yield f"{at}.ends_ms", "is not after starts_ms, so the offer would never be valid"
    if offer.cost_cents < 0:
        yield f"{at}.cost_cents", "is below 0"
    for name, least in (("cap_total", 0), ("cap_person", 1), ("period_days", 1), ("no_repeat_days", 1)):
        value = getattr(offer, name)
        if value is not None and value < least:
            yield f"{at}.{name}", f"must be at least {least}"
    if offer.period_days is not None and offer.cap_person is None:
        yield f"{at}.period_days", "has no cap_person to go with"
    if offer.period_days is not None and (offer.cap_person or 0) > MAX_PERIOD_SHOWS:
        yield f"{at}.cap_person", f"is above {MAX_PERIOD_SHOWS}, the most that is counted within a period"
    if len(offer.products) > MAX_PRODUCTS:
        yield f"{at}.products", f"are {len(offer.products)}; an offer shows at most {MAX_PRODUCTS} beside its first"
    if offer.kind == "bundle" and len(offer.all_products) > MAX_CELLS:
        yield f"{at}.products", f"make a bundle of more than {MAX_CELLS}, the most a picture shows"
    if (offer.needs_stock or offer.shows_price) and offer.product is None:
        yield f"{at}.product", "is missing, yet the offer depends on its stock or price"
    if offer.after_category is not None and offer.after_category in plan.sensitive:
        yield f"{at}.after_category", "is a sensitive category: its purchases may not select what is shown"
    if not offer.landing.startswith(("https://", "http://")):
        yield f"{at}.landing", "must be an http or https address"
