"""How rules read a person: the facts of one moment, and a small function for every feature of the catalogue.

Each reading is given the facts and the feature's parameters and answers a number, a text, a yes or no, or None when the
value is missing. signals/features.py says what each means; signals/rules_sql.py reads the same from stored documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import msgspec

from signals import carts, routes, stages
from signals.moments import day_of, seconds_of, today_of, unix_ms
from signals.state import CategoryStats, ProfileState, Trait, interval, order_days


class ProductLike(Protocol):
    """What rules read of a product (signals/productfacts.py has it)."""

    @property
    def id(self) -> str: ...
    @property
    def price_cents(self) -> int: ...
    @property
    def stock(self) -> int | None: ...
    @property
    def feed_ms(self) -> int: ...


class RuleFacts:
    """What a rule is asked about: a state at a moment; at an open also the offer's product and the open itself.

    `now` is aware UTC. `open` has the values of the `open.*` features by the second half of their names.
    """

    __slots__ = ("now", "now_s", "open", "product", "state", "today")

    def __init__(
        self,
        state: ProfileState,
        now: datetime,
        product: ProductLike | None = None,
        open: Mapping[str, Any] | None = None,
    ) -> None:
        self.state = state
        self.now = now
        self.product = product
        self.open: Mapping[str, Any] = open or {}
        self.today = today_of(now)
        self.now_s = seconds_of(unix_ms(now))


class Params(msgspec.Struct, frozen=True):
    """The parameters of a feature in one rule: a category's number, a window in days, a name."""

    category: int | None = None
    within_days: int | None = None
    name: str | None = None


FLAG: Final = "flag."
"""How the scores begin that are flags of the profit guard: their presence is the flag, their value what tripped it."""
Value = Trait | None
Reading = Callable[[RuleFacts, Params], Value]


@lru_cache(maxsize=1024)
def zone_of(name: object) -> ZoneInfo:
    """The IANA zone of that name, UTC when there is none: a trait is what people typed."""
    try:
        return ZoneInfo(name) if isinstance(name, str) and name else ZoneInfo("UTC")
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


def orders(facts: RuleFacts, params: Params) -> Value:
    """Orders with the category, of all kinds without one; in a window as far as the kept days reach."""
    if params.within_days is not None:
        oldest = facts.today - params.within_days
        return sum(day >= oldest for day in _purchase_days(facts, params))
    if params.category is None:
        return facts.state.orders
    stats = _stats(facts, params)
    return 0 if stats is None else stats.n


def amount(facts: RuleFacts, params: Params) -> Value:
    """Cents spent on the category, on everything without one."""
    if params.category is None:
        return facts.state.order_cents
    stats = _stats(facts, params)
    return 0 if stats is None else stats.cents


def days_since(facts: RuleFacts, params: Params) -> int | None:
    """UTC days since the last order with the category, of any kind without one."""
    if params.category is None:
        return _days(facts, facts.state.last_order_s)
    stats = _stats(facts, params)
    return None if stats is None else _days(facts, stats.last_s)


def interval_days(facts: RuleFacts, params: Params) -> float | None:
    """The median gap between purchase days."""
    if params.category is None:
        return interval(facts.state.order_gaps)
    stats = _stats(facts, params)
    return None if stats is None else interval(stats.gaps)


def due_ratio(facts: RuleFacts, params: Params) -> Value:
    """Days since the last purchase by the usual gap."""
    since, between = days_since(facts, params), interval_days(facts, params)
    return None if since is None or between is None else since / between


def stage(facts: RuleFacts, params: Params) -> Value:
    """The stage of the customer's life."""
    return stages.stage(facts.state, facts.today)


def by_mail(facts: RuleFacts, params: Params) -> Value:
    """Orders that came from a mail."""
    return facts.state.mail_orders


def known_days(facts: RuleFacts, params: Params) -> Value:
    """UTC days since the first signal."""
    return _days(facts, facts.state.since_s)


def views(facts: RuleFacts, params: Params) -> Value:
    """Looks at the category."""
    seen = facts.state.views.get(params.category or 0)
    return 0 if seen is None else seen.n


def view_days_since(facts: RuleFacts, params: Params) -> Value:
    """UTC days since the last look at the category."""
    seen = facts.state.views.get(params.category or 0)
    return None if seen is None else _days(facts, seen.last_s)


def cart_lines(facts: RuleFacts, params: Params) -> Value:
    """Lines in the cart."""
    return len(facts.state.cart)


def cart_hours(facts: RuleFacts, params: Params) -> Value:
    """Whole hours since the cart changed."""
    return _hours(facts, facts.state.cart_s)


def cart_contains(facts: RuleFacts, params: Params) -> Value:
    """Whether the category is in the cart."""
    return any(line.category == params.category for line in facts.state.cart)


def checkout_hours(facts: RuleFacts, params: Params) -> Value:
    """Whole hours since a checkout that no order ended."""
    return _hours(facts, facts.state.checkout_s)


def registered_days(facts: RuleFacts, params: Params) -> Value:
    """UTC days since a product of the category was registered."""
    return _days_from(facts, facts.state.registered.get(params.category or 0))


def complaint_open(facts: RuleFacts, params: Params) -> Value:
    """Whether a complaint is open."""
    return bool(facts.state.complaints)


def complaint_days(facts: RuleFacts, params: Params) -> Value:
    """UTC days since the oldest open complaint."""
    opened_ms = facts.state.open_complaint_ms
    return None if opened_ms is None else _days(facts, seconds_of(opened_ms))


def sentiment(facts: RuleFacts, params: Params) -> Value:
    """The latest review in the category."""
    review = facts.state.reviews.get(params.category or 0)
    return None if review is None else review.sentiment


def survey_score(facts: RuleFacts, params: Params) -> Value:
    """The latest score in the survey."""
    answer = facts.state.surveys.get(params.name or "")
    return None if answer is None else answer.score


def survey_days(facts: RuleFacts, params: Params) -> Value:
    """UTC days since the survey was answered."""
    answer = facts.state.surveys.get(params.name or "")
    return None if answer is None else _days_from(facts, answer.day)


def notes(facts: RuleFacts, params: Params) -> Value:
    """Call notes."""
    return facts.state.notes


def note_days(facts: RuleFacts, params: Params) -> Value:
    """UTC days since the last call note."""
    return _days(facts, facts.state.last_note_s)


def category_feedback(facts: RuleFacts, params: Params) -> Value:
    """The word on a category."""
    return _word(facts, f"category:{params.category}")


def clicks(facts: RuleFacts, params: Params) -> Value:
    """Clicks by a person."""
    return facts.state.clicks


def click_days(facts: RuleFacts, params: Params) -> Value:
    """UTC days since a person's last click."""
    return _days(facts, facts.state.last_click_s)


def opens(facts: RuleFacts, params: Params) -> Value:
    """Opens by a person or a proxy."""
    return facts.state.opens


def open_days(facts: RuleFacts, params: Params) -> Value:
    """UTC days since a person's last open."""
    return _days(facts, facts.state.last_open_s)


def intent(facts: RuleFacts, params: Params) -> Value:
    """The probability of an intent."""
    return facts.state.intents.get(params.name or "")


def intent_top(facts: RuleFacts, params: Params) -> Value:
    """The intent that stands out."""
    return facts.state.intent_top


def cart_cause(facts: RuleFacts, params: Params) -> Value:
    """Why the cart was left."""
    return carts.cause(facts.state)


def route(facts: RuleFacts, params: Params) -> Value:
    """Whether a person wants service or an offer of a category."""
    return routes.route(facts.state, params.category or 0, facts.today)


def score(facts: RuleFacts, params: Params) -> Value:
    """A computed trait."""
    found = facts.state.scores.get(params.name or "")
    return None if found is None else found.value


def score_days(facts: RuleFacts, params: Params) -> Value:
    """UTC days since a computed trait was computed."""
    found = facts.state.scores.get(params.name or "")
    return None if found is None else _days(facts, found.as_of_s)


def flag(facts: RuleFacts, params: Params) -> Value:
    """Whether the profit guard flags the person for this reason."""
    return f"{FLAG}{params.name}" in facts.state.scores


def trait(facts: RuleFacts, params: Params) -> Value:
    """A trait by its name."""
    return facts.state.traits.get(params.name or "")


def fixed_trait(name: str) -> Reading:
    """The reading of one trait."""
    return lambda facts, params: facts.state.traits.get(name)


def consent(purpose: str) -> Reading:
    """The reading of consent for one purpose."""
    return lambda facts, params: facts.state.consent.get(purpose)


def product_price(facts: RuleFacts, params: Params) -> Value:
    """The price of the offer's product."""
    return None if facts.product is None else facts.product.price_cents


def product_stock(facts: RuleFacts, params: Params) -> Value:
    """Pieces of the offer's product in stock."""
    return None if facts.product is None else facts.product.stock


def product_in_stock(facts: RuleFacts, params: Params) -> Value:
    """Whether the offer's product is in stock."""
    return None if facts.product is None or facts.product.stock is None else facts.product.stock > 0


def product_feed_hours(facts: RuleFacts, params: Params) -> Value:
    """Whole hours since the feed named the offer's product."""
    return None if facts.product is None else _hours(facts, seconds_of(facts.product.feed_ms))


def product_days(facts: RuleFacts, params: Params) -> Value:
    """UTC days since this very product was bought, among the recent lines."""
    if facts.product is None:
        return None
    bought = [line.time_ms for line in facts.state.recent if line.product == facts.product.id]
    return _days(facts, seconds_of(max(bought))) if bought else None


def product_feedback(facts: RuleFacts, params: Params) -> Value:
    """The word on the offer's product."""
    return None if facts.product is None else _word(facts, f"product:{facts.product.id}")


def hour(facts: RuleFacts, params: Params) -> Value:
    """The hour where the person is."""
    return _local(facts).hour


def weekday(facts: RuleFacts, params: Params) -> Value:
    """The day of the week where the person is, Monday 1."""
    return _local(facts).isoweekday()


def date(facts: RuleFacts, params: Params) -> Value:
    """The date where the person is."""
    return _local(facts).date().isoformat()


def of_open(name: str) -> Reading:
    """The reading of one thing known of the open."""
    return lambda facts, params: facts.open.get(name)


def _stats(facts: RuleFacts, params: Params) -> CategoryStats | None:
    return facts.state.categories.get(params.category or 0)


def _purchase_days(facts: RuleFacts, params: Params) -> list[int]:
    if params.category is None:
        return order_days(facts.state)
    stats = _stats(facts, params)
    return [] if stats is None else stats.days


def _word(facts: RuleFacts, target: str) -> str | None:
    return next((mark.word for mark in facts.state.marks if mark.target == target), None)


def _local(facts: RuleFacts) -> datetime:
    return facts.now.astimezone(zone_of(facts.state.traits.get("timezone")))


def _days_from(facts: RuleFacts, day: int | None) -> int | None:
    return None if day is None else max(0, facts.today - day)


def _days(facts: RuleFacts, moment_s: int | None) -> int | None:
    return None if moment_s is None else max(0, facts.today - day_of(moment_s))


def _hours(facts: RuleFacts, moment_s: int | None) -> int | None:
    return None if moment_s is None else max(0, facts.now_s - moment_s) // 3600
