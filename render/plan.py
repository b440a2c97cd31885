"""The plan: a published campaign, everything an open needs, immutable and named by its hash.

`campaigns` compiles it, `render` executes it. Times are milliseconds since the epoch (UTC), money is whole minor units
(cents), lengths are 1x pixels. Rules are JSON in the language of `signals.rules`; categories in them are slugs, which
`Plan.categories` resolves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from base.errors import UNREADABLE, InvalidInput
from render.arbitration import Arbitration, Fatigue, Policy
from render.arms import Arm, Split
from render.creative import Creative
from render.incentive import Incentive
from render.pick import Pick, PoolProduct

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
    value_cents, cost_cents: margin earned by a success, spent by a showing. incentive_cents, aftercare_cents: given
    away with a success, and what its returns and service are expected to cost. The model ranks by
    probability x (value - incentive - aftercare) - cost, times `lever` and the weights of contexts (`Arbitration`).
    prior: the chance of success to start from while there is little evidence of this offer, weighing as much as
    `prior_weight` showings; None goes by the model from the start.
    cap_total: showings over all people. cap_person: showings to one person, ever or within `period_days`.
    no_repeat_days: not again within so many days in *another* mail; sticky: a new open of the same mail keeps it.
    purpose_category: once bought since the send, the offer's purpose is met and it is removed.
    after_category: wants that category bought since the send (a thank-you, a complement).
    clock_bound: its picture counts down or names an hour. shows_price: its picture names the product's price.
    fields: texts for the creative as `offer.<name>`; whole numbers are minor units.
    products: further products, shown beside `product` while they are in stock; of a bundle, its other parts.
    pick: its product is picked at open; an open then works on the offer with that product in its place.
    when_due: not before the days have passed after which its category is bought again, as relations know them.
    incentive: to whom its price is given; None gives it to everybody.
    versions: those of its product's line, where its picture tells of the dearer or the cheapest one.
    window_hours: for so long after the purchase that it adds to. units: so many of its product at once.
    fatigue: after how many showings, ignored showings or answers it rests.
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
    incentive_cents: int = 0
    aftercare_cents: int = 0
    lever: float = 1.0
    prior: float | None = None
    prior_weight: int = 200
    fatigue: tuple[Fatigue, ...] = ()
    pick: Pick | None = None
    when_due: bool = False
    window_hours: int | None = None
    units: int | None = None
    versions: tuple[PoolProduct, ...] = ()
    incentive: Incentive | None = None

    @property
    def earned_cents(self) -> int:
        """What a success leaves, before the cost of showing the offer."""
        return self.value_cents - self.incentive_cents - self.aftercare_cents

    @property
    def all_products(self) -> tuple[str, ...]:
        """Its product and those beside it, without repeats."""
        first = (self.product,) if self.product is not None else ()
        return tuple(dict.fromkeys((*first, *self.products)))

    @property
    def least_products(self) -> int:
        """How many of its products must be left for it to be shown: all of a bundle, else one."""
        return len(self.all_products) if self.kind == "bundle" else 1

    @property
    def read_products(self) -> tuple[str, ...]:
        """Every product whose facts an open needs for it, without repeats."""
        pool = self.pick.pool if self.pick is not None else ()
        return tuple(dict.fromkeys((*self.all_products, *(entry.id for entry in (*pool, *self.versions)))))

    def landing_for(self, product: str | None) -> str:
        """Where a click on it leads that shows this product: its own page, where it was picked and has one."""
        entry = self.pick.entry(product) if self.pick is not None else None
        return self.landing if entry is None or not entry.link else entry.link

    @property
    def asks_occasion(self) -> bool:
        """Whether it is for some occasions only, by what was bought and when."""
        return self.when_due or self.window_hours is not None or self.units is not None

    @property
    def is_capped(self) -> bool:
        """Whether showing it uses anything up."""
        return self.cap_total is not None or self.cap_person is not None

    @property
    def is_limited(self) -> bool:
        """Whether it may be shown only so often, to one person or to all."""
        return self.is_capped or self.no_repeat_days is not None or bool(self.fatigue)


class Slot(Struct, frozen=True, kw_only=True):
    """A place in the message. `offers` are candidate ids in order: the order decides between equal priorities.

    `default` is the id of an offer of kind neutral, shown where no candidate survives; slots may share one (an offer
    that *won* a slot is never shown in a second). width and height are the declared 1x size; `max_bytes` bounds the
    drawn file. `fmt` is that of the mail's pictures, `web_fmt` that of the pictures in web pages.
    `policy` is how a slot of mode "model" draws among the best; unset, it shows the best.
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
    policy: Policy | UnsetType = UNSET


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
    arbitration: which factors rank the offers of model slots, and the contexts that weigh; unset, value alone.
    suppress: a rule about people; while it holds nothing is sold to them, and service offers go first.
    guarded: offers that widen what a person buys are kept from those whom the profit guard flags.
    split: the arms that people's mails are drawn into; unset, everybody's shows the same candidates.
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
    arbitration: Arbitration | UnsetType = UNSET
    suppress: Rule | UnsetType = UNSET
    guarded: Literal[True] | UnsetType = UNSET
    split: Split | UnsetType = UNSET

    def shown_to(self, profile: int) -> Plan:
        """The plan as this person's mail shows it: that of their arm, or this one where there are no arms."""
        return self if self.split is UNSET else self.by_arm[self.split.arm_of(profile)]

    @cached_property
    def by_arm(self) -> tuple[Plan, ...]:
        """The plan of each arm; they hold the same offers and creatives, so what one shows another can draw."""
        return () if self.split is UNSET else tuple(_version(self, arm) for arm in self.split.arms)

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
        return tuple(dict.fromkeys(product for offer in self.offers for product in offer.read_products))

    @cached_property
    def wants_relations(self) -> bool:
        """Whether an open needs to know what stored orders say of products and categories."""
        return any(
            offer.when_due or offer.units is not None or (offer.pick is not None and offer.pick.how != "upgrade")
            for offer in self.offers
        )

    @cached_property
    def capped_ids(self) -> tuple[int, ...]:
        """The offers with a total cap, whose balances an open must read."""
        return tuple(offer.id for offer in self.offers if offer.cap_total is not None)


def _version(plan: Plan, arm: Arm) -> Plan:
    creatives, left_out = dict(arm.creatives), frozenset(arm.without)
    return replace(
        plan,
        slots=tuple(
            replace(slot, offers=tuple(offer for offer in slot.offers if offer not in left_out)) for slot in plan.slots
        ),
        offers=tuple(
            replace(offer, creative=creatives[offer.id]) if offer.id in creatives else offer for offer in plan.offers
        ),
        split=UNSET,
    )


class Canary(Struct, frozen=True, array_like=True):
    """A model on trial: its hash, and the share of deliveries, 0 to 1, that it decides instead of the live one."""

    model: str
    share: float


class Then(Struct, frozen=True, array_like=True):
    """The plan (by hash) that counts from a moment on, in Unix milliseconds."""

    plan: str
    from_ms: int


class Live(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a campaign runs now, at `live:<campaign>`. ended and killed both mean: the default everywhere.

    plan: the hash, None before anything was published. withdrawn: offers that must not be shown any more.
    model: hash of the model artefact for slots of mode "model". picture: blob hash of the kill switch's static picture.
    relations: hash of what was learnt last of products and categories. then: what follows the plan, and when.
    """

    plan: str | None = None
    state: Literal["live", "ended", "killed"] = "live"
    withdrawn: tuple[int, ...] = ()
    model: str | None = None
    brand: str = ""
    picture: str | None = None
    canary: Canary | None = None
    relations: str | None = None
    then: Then | None = None

    def plan_at(self, now_ms: int) -> str | None:
        """The hash of the plan that counts at that moment."""
        return self.plan if self.then is None or now_ms < self.then.from_ms else self.then.plan


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
    except UNREADABLE as error:
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
