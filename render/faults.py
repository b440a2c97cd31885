"""What keeps a plan from being published."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from render import pick
from render.arbitration import MAX_WEIGHT, arbitration_faults, effect_faults, fatigue_faults, policy_faults
from render.arms import MAX_ARMS, Split
from render.creative import MAX_CELLS, countdown_of
from render.incentive import INCENTIVES
from render.pick import MAX_POOL
from render.plan import (
    KINDS,
    MAX_OFFERS,
    MAX_PERIOD_SHOWS,
    MAX_PRODUCTS,
    MAX_SLOTS,
    PRICE_FIELDS,
    LayeredRules,
    Offer,
    Plan,
    Slot,
)
from render.relations import MAX_UNITS


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
    if plan.arbitration is not UNSET:
        yield from arbitration_faults("arbitration", plan.arbitration, KINDS)
        drawn = (slot.policy for slot in plan.slots if slot.policy is not UNSET)
        yield from effect_faults("arbitration", plan.arbitration, drawn)
    for position, offer in enumerate(plan.offers):
        yield from _offer_faults(f"offers[{position}]", offer, plan)
    for position, slot in enumerate(plan.slots):
        yield from _slot_faults(f"slots[{position}]", slot, plan)
    if plan.split is not UNSET:
        yield from _split_faults(plan.split, plan)


def _split_faults(split: Split, plan: Plan) -> Iterator[tuple[str, str]]:
    if not 2 <= len(split.arms) <= MAX_ARMS:
        yield "arms", f"must be 2 to {MAX_ARMS}, not {len(split.arms)}"
    if len({arm.name for arm in split.arms}) != len(split.arms) or not all(arm.name.strip() for arm in split.arms):
        yield "arms", "must have names, each its own"
    for position, arm in enumerate(split.arms):
        at = f"arms[{position}]"
        if not 0 < arm.share <= 1:
            yield f"{at}.share", "must be above 0 and at most 1"
        for offer in (*arm.without, *(offer for offer, _ in arm.creatives)):
            if offer not in plan.offer_by_id:
                yield at, f"names the offer {offer}, which the plan does not hold"
        # What holds for everybody must hold in every arm: a creative may count down where a slot cannot.
        for field, message in _faults(plan.by_arm[position]):
            yield at, f"{field} {message}"


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
    for number in slot.offers:
        if number not in plan.offer_by_id:
            yield f"{at}.offers", f"names the offer {number}, which the plan does not hold"
    if len(set(slot.offers)) != len(slot.offers):
        yield f"{at}.offers", "names an offer twice"
    yield from _format_faults(at, slot, plan)
    for number in slot.offers if slot.mode == "rules" else ():
        offer = plan.offer_by_id.get(number)
        if offer is not None and offer.incentive is not None and offer.incentive.limit is not None:
            yield f"{at}.mode", f"is rules, yet the offer {offer.name!r} is given by need, which only a model tells"
    if slot.policy is not UNSET:
        yield from policy_faults(f"{at}.policy", slot.policy)
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
    if offer.read_products or offer.needs_stock or offer.shows_price or offer.asks_occasion or offer.incentive:
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
    for name in ("cost_cents", "incentive_cents", "aftercare_cents"):
        if getattr(offer, name) < 0:
            yield f"{at}.{name}", "is below 0"
    if not 0 <= offer.lever <= MAX_WEIGHT:
        yield f"{at}.lever", f"must be from 0 to {MAX_WEIGHT:g}"
    if offer.prior is not None and not 0 <= offer.prior <= 1:
        yield f"{at}.prior", "must be a probability from 0 to 1"
    if offer.prior_weight < 1:
        yield f"{at}.prior_weight", "must be at least 1"
    yield from fatigue_faults(f"{at}.fatigue", offer.fatigue, offer.group)
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
    yield from pick.faults(at, offer)
    if len(offer.versions) > MAX_POOL:
        yield f"{at}.product", f"is of a line of more than {MAX_POOL} versions, too many to tell of others"
    yield from _occasion_faults(at, offer)
    if offer.incentive is not None:
        if not offer.incentive_cents and not any(name in offer.fields for name in INCENTIVES):
            yield f"{at}.incentive", f"is given to some only, yet there is none: name {', '.join(INCENTIVES)}"
        if offer.incentive.flagged and offer.product is None and offer.pick is None:
            yield f"{at}.product", "is missing, yet its incentive is for flagged products only"
    if (offer.needs_stock or offer.shows_price) and offer.product is None and offer.pick is None:
        yield f"{at}.product", "is missing, yet the offer depends on its stock or price"
    if offer.after_category is not None and offer.after_category in plan.sensitive:
        yield f"{at}.after_category", "is a sensitive category: its purchases may not select what is shown"
    if not offer.landing.startswith(("https://", "http://")):
        yield f"{at}.landing", "must be an http or https address"


def _occasion_faults(at: str, offer: Offer) -> Iterator[tuple[str, str]]:
    for field, kind, is_set in (
        ("when_due", "replacement", offer.when_due),
        ("window_hours", "upsell", offer.window_hours is not None),
        ("units", "volume", offer.units is not None),
    ):
        if is_set and offer.kind != kind:
            yield f"{at}.{field}", f"is for offers of kind {kind}, not {offer.kind}"
    if offer.asks_occasion and offer.category is None and not offer.read_products:
        yield f"{at}.category", "is missing, yet the offer waits for purchases of it"
    if offer.window_hours is not None and offer.window_hours < 1:
        yield f"{at}.window_hours", "must be at least 1"
    if offer.units is not None and not 2 <= offer.units <= MAX_UNITS:
        yield f"{at}.units", f"must be 2 to {MAX_UNITS}"
    if offer.units is not None and offer.product is None and offer.pick is None:
        yield f"{at}.product", "is missing, yet the offer is for several of it"
