"""Whether an offer may be shown to a person now, in three layers: may have it, makes sense now, is good for them.

`admissible` answers for one offer: for the candidates of a decision, for the check that an open still holds, and for a
click. The first thing that removes the offer is the reason; layers are asked in order, a layer's own rule last.

Sensitive categories: their signals may suppress an offer and never select one. So a rule must hold twice, on what we
know and on what we would know without those signals (`Situation.plain`), and whatever *asks* for a signal (a purchase
since the send, a model score) reads the plain state only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import replace

from render.clauses import clauses, rule_of
from render.creative import MAX_CELLS
from render.decision import Reason
from render.facts import DAY_MS, Facts
from render.fatigue import resting
from render.guard import CROSS_KINDS, flagged, suppressed
from render.incentive import may_carry, needless, unaided, unflagged
from render.occasion import unsuited
from render.permission import refused
from render.pick import PoolProduct
from render.picking import Picked, picked
from render.plain import bought_since, without
from render.plan import SALES_KINDS, Layer, Offer, Plan, Rule
from render.stock import on_sale, priced, unavailable
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.rules import RuleFacts
from signals.state import ProfileState

MACHINE_DAYS: Final = 7
"""A machine's copy may be seen days later (within a week or not at all), so it must stay true that long."""
_ASKED: Final = "asked"


class Situation:
    """One person's facts at one instant, prepared once for all offers of a decision."""

    def __init__(self, plan: Plan, facts: Facts, now: datetime) -> None:
        if facts.state is None:
            raise ValueError("without a state there is nothing to decide on: the default is shown")
        self.plan = plan
        self.now = now
        self.now_ms = unix_ms(now)
        self.sales = on_sale(facts)
        self.facts = priced(facts, self.sales, self.now_ms) if self.sales else facts
        self.state: ProfileState = facts.state
        self.clauses = clauses(plan)
        self._asked = _asked(plan)
        self.suppressed = suppressed(plan, RuleFacts(self.state, now)) if plan.suppress is not UNSET else None
        self.flagged = flagged(self.state) if plan.guarded else None
        self._is_calm = self.suppressed is None and self.flagged is None and _is_calm(facts)
        self.lost: dict[str, None] = {}
        self._rule_facts: dict[tuple[str | None, bool], RuleFacts] = {}
        self._picked: dict[int, tuple[Offer, Picked]] = {}

    def offer(self, number: int) -> Offer:
        """An offer of the plan; one that picks its product has it in its place, or none where nothing can be picked."""
        offer = self.plan.offer_by_id[number]
        return offer if offer.pick is None else self._with_product(offer)[0]

    def picked(self, offer: Offer) -> Picked | None:
        """How an offer came by its product; None where its product is always the same."""
        return None if offer.pick is None else self._with_product(self.plan.offer_by_id[offer.id])[1]

    def _with_product(self, offer: Offer) -> tuple[Offer, Picked]:
        found = self._picked.get(offer.id)
        if found is None:
            chosen = picked(self, offer)
            entry = chosen.entry
            if entry is not None:
                offer = replace(
                    offer,
                    product=entry.id,
                    category=entry.category or offer.category,
                    landing=entry.link or offer.landing,
                )
            found = self._picked[offer.id] = (offer, chosen)
        return found

    @cached_property
    def plain(self) -> ProfileState:
        """The state without the signals of sensitive categories; the same object where there are none."""
        return without(self.state, frozenset(self.plan.sensitive)) if self.plan.sensitive else self.state

    @cached_property
    def unaided(self) -> Mapping[int, float]:
        """How likely the person is to buy at the full price, by offer, for those given by need."""
        return unaided(self)

    @cached_property
    def complaint(self) -> bool:
        """Whether a complaint is open."""
        return bool(self.state.complaints)

    def holds(self, rule: Rule) -> bool:
        """Whether a rule of the plan's own holds, on what is known and without sensitive signals too."""
        holds = rule_of(self.plan, rule)
        if not holds(RuleFacts(self.state, self.now, None, self.open_fields)):
            return False
        return self.plain is self.state or holds(RuleFacts(self.plain, self.now, None, self.open_fields))

    @property
    def is_troubled(self) -> bool:
        """Whether service comes before everything: a complaint is open, or the campaign's suppression rule holds."""
        return self.complaint or self.suppressed is not None

    @cached_property
    def open_fields(self) -> Mapping[str, Any]:
        """What rules may read as `open.*`."""
        return {
            "lane": self.facts.lane,
            "undecided": self.facts.undecided,
            "locale": self.facts.locale or self.plan.locale,
            "hours_since_send": max(0.0, (self.now_ms - self.facts.sent_at_ms) / 3_600_000),
            "number": self.facts.last.open_number + 1 if self.facts.last else 1,
        }

    def product(self, offer: Offer) -> ProductFacts | None:
        """The offer's product facts; an absent key that the plan names was lost, and is noted."""
        if offer.product is None:
            return None
        product = self.facts.products.get(offer.product)
        if product is None:
            self.lost[f"product:{offer.product}"] = None
        return product

    def is_fresh(self, product: ProductFacts) -> bool:
        """Whether price and stock of a product are recent enough to be shown."""
        return self.now_ms - product.feed_ms <= self.plan.feed_stale_s * 1000

    def shown_products(self, offer: Offer) -> tuple[ProductFacts, ...]:
        """The products of an offer with several that may be shown now, in its order, at most MAX_CELLS.

        They are in stock by facts that are fresh and may carry its incentive, and the person neither has them nor said
        that they are not for them; of a bundle it is all or none.
        """
        if not offer.products:
            return ()
        found = [facts for facts in self.sold_products(offer) if self.is_open_to(facts)]
        return tuple(found[:MAX_CELLS]) if len(found) >= offer.least_products else ()

    def sold_products(self, offer: Offer) -> list[ProductFacts]:
        """The products of an offer with several that are in stock by facts that are fresh, in its order, without those
        that may not carry its incentive; an absent key was lost, and is noted."""
        found = []
        for name in offer.all_products:
            product = self.facts.products.get(name)
            if product is None:
                self.lost[f"product:{name}"] = None
            elif self._is_sold(product) and may_carry(offer, product):
                found.append(product)
        return found

    def is_sold(self, name: str) -> bool:
        """Whether a product is in stock, by facts that are fresh."""
        product = self.facts.products.get(name)
        return product is not None and self._is_sold(product)

    def _is_sold(self, product: ProductFacts) -> bool:
        return self.is_fresh(product) and not product.gone and (product.stock or 0) > 0

    def has(self, product: str, since_ms: int) -> bool:
        """Whether the person bought a product after an instant, or says they have it."""
        if any(line.product == product and line.time_ms > since_ms for line in self.state.recent):
            return True
        return any(mark.word == "already_own" and mark.target == f"product:{product}" for mark in self.state.marks)

    def is_open_to(self, product: ProductFacts | PoolProduct) -> bool:
        """Whether the person does not have a product, and said of neither it nor its category that it is not for
        them."""
        targets = (f"product:{product.id}", f"category:{product.category}")
        is_refused = any(mark.word == "not_for_me" and mark.target in targets for mark in self.state.marks)
        return not is_refused and not self.has(product.id, -1)

    def rule_facts(self, offer: Offer, plain: bool) -> RuleFacts:
        """What a rule reads, with or without sensitive signals."""
        key = (offer.product, plain)
        found = self._rule_facts.get(key)
        if found is None:
            product = self.facts.products.get(offer.product) if offer.product is not None else None
            found = RuleFacts(self.plain if plain else self.state, self.now, product, self.open_fields)
            self._rule_facts[key] = found
        return found

    def reason(self, offer: Offer, held: bool = False) -> Reason | None:
        """Why the offer may not be shown now; None if it may. `held`: its own reservation and showing do not count."""
        rules = self.clauses.get(offer.id)
        for layer, check in self._asked[offer.id] if rules is None and self._is_calm else _CHECKS:
            code = check(self, offer, held)
            if code is not None:
                return Reason(layer, code)
            if rules is not None and layer in rules:
                facts = self.rule_facts(offer, plain=False)
                for number, holds in enumerate(rules[layer], start=1):
                    if not holds(facts):
                        return Reason(layer, f"rule {number}")
        if rules is not None and self.plain is not self.state:
            facts = self.rule_facts(offer, plain=True)
            if not all(holds(facts) for layered in rules.values() for holds in layered):
                return Reason("legal", "sensitive signals")
        return None


def _asked(plan: Plan) -> Mapping[int, tuple[tuple[Layer, _Check], ...]]:
    """Offer id -> the layers that can remove it in a calm situation. Made once a plan.

    Most offers of a large plan name no dates, consents or caps; asking each of them for all of it is what takes long.
    """
    made: Mapping[int, tuple[tuple[Layer, _Check], ...]] | None = vars(plan).get(_ASKED)
    if made is None:
        made = {offer.id: tuple(check for check in _CHECKS if _MATTERS[check[0]](offer)) for offer in plan.offers}
        vars(plan)[_ASKED] = made
    return made


def _is_calm(facts: Facts) -> bool:
    """Whether nothing about the fetch, the campaign or the person can remove an offer that names nothing itself."""
    state = facts.state
    return not (
        facts.live.withdrawn
        or facts.refused
        or facts.undecided
        or facts.lane == "machine"
        or (state is not None and (state.complaints or state.marks))
    )


def admissible(plan: Plan, offer: Offer, facts: Facts, now: datetime, *, held: bool = False) -> Reason | None:
    """Why one offer may not be shown to this person at `now`; None if it may.

    held: ask whether what an open shows may stay, or what was seen may be followed: the open's own cap reservation
    counts as held, its own showing does not count against the person. Withdrawn consent, erasure and the state of the
    campaign are asked too, since they close every offer but a default, which is always admissible.
    """
    if offer.id in plan.default_ids:
        return None
    refusal = refused(plan, facts)
    if refusal is not None:
        return Reason("legal", refusal)
    at = Situation(plan, facts, now)
    return at.reason(at.offer(offer.id), held)


def _legal(at: Situation, offer: Offer, held: bool) -> str | None:
    facts = at.facts
    if offer.id in facts.live.withdrawn:
        return "withdrawn"
    if offer.starts_ms is not None and at.now_ms < offer.starts_ms:
        return "not yet valid"
    if offer.ends_ms is not None and at.now_ms >= offer.ends_ms:
        return "ended"
    for purpose in offer.requires_consent:
        if at.state.consent.get(purpose) is not True:
            return f"no consent: {purpose}"
    if offer.after_category is not None and offer.after_category in at.plan.sensitive:
        return "sensitive category"
    return unflagged(at, offer) or _fetch(at, offer)


def _fetch(at: Situation, offer: Offer) -> str | None:
    """What a fetch that may not be the person's may get: nothing that is used up, or is untrue when it is looked at."""
    facts = at.facts
    if facts.lane == "machine":
        if offer.is_capped:
            return "machine fetch: capped"
        if offer.clock_bound:
            return "machine fetch: bound to the clock"
        if offer.ends_ms is not None and offer.ends_ms - at.now_ms < MACHINE_DAYS * DAY_MS:
            return "machine fetch: ends soon"
        if offer.needs_stock or offer.shows_price or offer.products or offer.versions or offer.incentive:
            return "machine fetch: stock or price may change"
    elif facts.undecided:
        if offer.clock_bound:
            return "undecided fetch: bound to the clock"
        if offer.is_capped and not at.plan.undecided_capped:
            return "undecided fetch: capped"
    return None


def _relevant(at: Situation, offer: Offer, held: bool) -> str | None:
    sent_ms = at.facts.sent_at_ms
    if offer.purpose_category is not None and bought_since(at.state, offer.purpose_category, sent_ms):
        return "purpose met"
    if offer.after_category is not None and not bought_since(at.plain, offer.after_category, sent_ms):
        return "nothing bought yet"
    chosen = at.picked(offer)
    if chosen is not None and chosen.entry is None:
        return chosen.why
    if (reason := unavailable(at, offer)) is not None:
        return reason
    return unsuited(at, offer) if offer.asks_occasion else None


def _beneficial(at: Situation, offer: Offer, held: bool) -> str | None:
    if offer.kind in SALES_KINDS:
        if at.complaint:
            return "complaint open"
        if at.suppressed is not None:
            return at.suppressed
        if at.flagged is not None and offer.kind in CROSS_KINDS:
            return at.flagged
    if _unwanted(at, offer):
        return "not for me"
    if offer.id in at.facts.refused:
        return "cap refused"
    return None if held else needless(at, offer) or _limits(at, offer)


def _unwanted(at: Situation, offer: Offer) -> bool:
    """Whether the person said of what the offer is about, or of all products that are left of several, that it is not
    for them."""
    if not at.state.marks:
        return False
    if offer.products and not at.shown_products(offer):
        return True
    targets = {f"category:{offer.category}"} | ({f"product:{offer.product}"} if not offer.products else set())
    return any(mark.word == "not_for_me" and mark.target in targets for mark in at.state.marks)


def _limits(at: Situation, offer: Offer) -> str | None:
    """Caps and the no-repeat window, for an offer that would be shown anew."""
    facts = at.facts
    if at.plan.tracking == "anonymous" and offer.is_limited:
        return "anonymous: limited"
    if offer.cap_total is not None:
        balance = facts.caps.get(offer.id)
        if balance is None:
            at.lost[f"cap:{offer.id}"] = None
            return "cap unknown"
        if balance <= 0:
            return "total cap"
    use = facts.used.offer(offer.id)
    if offer.cap_person is not None:
        shows = use.count if offer.period_days is None else use.within(at.now_ms - offer.period_days * DAY_MS + 1)
        if shows >= offer.cap_person:
            return "personal cap"
    if offer.no_repeat_days is not None and use.count and at.now_ms - use.last_ms < offer.no_repeat_days * DAY_MS:
        last = facts.last
        own = last is not None and offer.id in last.offers.values() and use.last_ms <= last.at_ms
        if not own:
            return "no repeat"
    rest = resting(offer, facts.used, at.now_ms) if offer.fatigue else None
    return f"resting: {rest.after}" if rest is not None else None


_Check = Callable[[Situation, Offer, bool], str | None]
_CHECKS: Final[tuple[tuple[Layer, _Check], ...]] = (
    ("legal", _legal),
    ("relevant", _relevant),
    ("beneficial", _beneficial),
)
_MATTERS: Final[Mapping[Layer, Callable[[Offer], bool]]] = {
    "legal": lambda offer: (
        offer.starts_ms is not None
        or offer.ends_ms is not None
        or bool(offer.requires_consent)
        or offer.incentive is not None
        or offer.after_category is not None
    ),
    "relevant": lambda offer: (
        offer.purpose_category is not None
        or offer.after_category is not None
        or offer.product is not None
        or bool(offer.products)
        or offer.pick is not None
        or offer.asks_occasion
    ),
    "beneficial": lambda offer: (
        offer.cap_total is not None
        or offer.cap_person is not None
        or offer.no_repeat_days is not None
        or bool(offer.fatigue)
        or offer.incentive is not None
    ),
}
