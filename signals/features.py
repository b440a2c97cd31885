"""The feature catalogue: every name a rule may read, with its unit, meaning, source, and when it has no value.

Python reads them by signals/readings.py, SQL from the stored document by signals/rules_sql.py; a test proves that the
two agree. "Missing" is None; counts and amounts of nothing are 0. Features named `product.*`, `now.*` and `open.*`
exist only at an open.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

import msgspec

from signals import readings
from signals.contents import PURPOSES
from signals.moments import ms_of, seconds_of
from signals.readings import Params, Reading, RuleFacts
from signals.readings_household import FEATURES as HOUSEHOLD
from signals.readings_household import HouseholdFeature
from signals.stages import STAGES
from signals.state import ProfileState, Trait

Type = Literal["whole", "number", "yes/no", "text", "any"]
Param = Literal["category", "within_days", "name"]
MAX_WITHIN_DAYS: Final = 3660


class Feature(msgspec.Struct, frozen=True):
    """One entry of the catalogue. `needs` are parameters that must be given, `takes` those that may be.

    `source` says which signals it comes from, `missing` when it has no value. `at_open` features exist at opens only.
    `values`: a rule may name no others.
    """

    name: str
    type: Type
    unit: str
    meaning: str
    source: str
    missing: str
    read: Reading
    needs: tuple[Param, ...] = ()
    takes: tuple[Param, ...] = ()
    at_open: bool = False
    values: tuple[str, ...] = ()

    @property
    def is_always_there(self) -> bool:
        """Whether it has a value for everybody: `missing` begins with *never* then."""
        return self.missing.partition(":")[0] == "never"


def value(
    state: ProfileState,
    name: str,
    now: datetime,
    *,
    category: int | None = None,
    within_days: int | None = None,
    of: str | None = None,
) -> Trait | None:
    """The value of a feature of the state; None when it is missing. `of` is the name of a trait, intent or survey.

    Raises KeyError for a name that is not in the catalogue.
    """
    return CATALOGUE[name].read(RuleFacts(state, now), Params(category, within_days, of))


def bought_since(state: ProfileState, category: int, since_ms: int) -> bool:
    """Whether something of the category was bought at `since_ms` (Unix milliseconds) or later and not taken back.

    Exact to the millisecond while the purchase is among the recent ones, to the second after that.
    """
    stats = state.categories.get(category)
    if stats is None:
        return False
    newest = max((line.time_ms for line in state.recent if line.category == category), default=None)
    if newest is not None and seconds_of(newest) == stats.last_s:
        return newest >= since_ms
    return ms_of(stats.last_s) >= since_ms


_ORDER: Final = "Order Completed, net of returns and gifts"
_VIEW: Final = "Product Viewed, Product List Viewed"
_CART: Final = "Product Added, Product Removed, Cart Viewed"
_COMPLAINT: Final = "Complaint Opened, Complaint Closed"
_LIVING: Final = "who live together (docs/households.md)"
_FEED: Final = "product feed"
_SCORES: Final = "computed (docs/people.md)"
_NEVER: Final = "when it never happened"
_UNSCORED: Final = "when it was not computed"
_ONE: Final[tuple[Param, ...]] = ("category",)
_NAME: Final[tuple[Param, ...]] = ("name",)
_WINDOW: Final[tuple[Param, ...]] = ("within_days",)


def _count(
    name: str,
    unit: str,
    meaning: str,
    source: str,
    read: Reading,
    needs: tuple[Param, ...] = (),
    takes: tuple[Param, ...] = (),
) -> Feature:
    return Feature(name, "whole", unit, meaning, source, "never: nothing is 0", read, needs, takes)


def _since(
    name: str,
    meaning: str,
    source: str,
    read: Reading,
    needs: tuple[Param, ...] = (),
    takes: tuple[Param, ...] = (),
    unit: str = "UTC days",
    missing: str = _NEVER,
) -> Feature:
    return Feature(name, "whole", unit, meaning, source, missing, read, needs, takes)


def _open(name: str, kind: Type, unit: str, meaning: str, source: str, missing: str, read: Reading) -> Feature:
    return Feature(name, kind, unit, meaning, source, missing, read, at_open=True)


def _of_open(name: str, kind: Type, unit: str, meaning: str) -> Feature:
    return _open(f"open.{name}", kind, unit, meaning, "the open", "when it is not told", readings.of_open(name))


def _lives(one: HouseholdFeature) -> Feature:
    return Feature(f"household.{one.name}", one.type, one.unit, one.meaning, _LIVING, one.missing, one.read)


def _household(name: str) -> Feature:
    meaning = f"The household's {name}: the trait household_{name}."
    reading = readings.fixed_trait(f"household_{name}")
    return Feature(f"household.{name}", "any", "", meaning, "identify", "when nobody said it", reading)


def _consent(purpose: str) -> Feature:
    meaning = f'Consent for the purpose "{purpose}".'
    reading = readings.consent(purpose)
    return Feature(f"consent.{purpose}", "yes/no", "", meaning, "Consent Changed", "when never told", reading)


_PURCHASES: Final = (
    _count(
        "purchases.count",
        "orders",
        "Orders with the category, all orders without one. A window counts the latest ten (forty over all) at most.",
        _ORDER,
        readings.orders,
        takes=("category", "within_days"),
    ),
    _count("purchases.amount", "cents", "Spent on the category.", _ORDER, readings.amount, takes=_ONE),
    _since("purchases.days_since", "Since the category was last bought.", _ORDER, readings.days_since, takes=_ONE),
    Feature(
        "purchases.interval_days",
        "number",
        "days",
        "The median gap between the days on which the category was bought.",
        _ORDER,
        "for fewer than three such days",
        readings.interval_days,
        takes=_ONE,
    ),
    Feature(
        "purchases.due_ratio",
        "number",
        "ratio",
        "Days since the last purchase of the category by its usual gap: 1 is due.",
        _ORDER,
        "for fewer than three purchase days",
        readings.due_ratio,
        takes=_ONE,
    ),
    _count("orders.count", "orders", "All orders, or those in a window.", _ORDER, readings.orders, takes=_WINDOW),
    _count("orders.amount", "cents", "Spent on all orders.", _ORDER, readings.amount),
    _since("orders.days_since", "Since the last order.", _ORDER, readings.days_since),
    _count("orders.by_mail", "orders", "Orders out of a mail (context.campaign.medium).", _ORDER, readings.by_mail),
    Feature(
        "lifecycle.stage",
        "text",
        "",
        'Where they stand as a customer: "prospect", "new", "active", "at_risk" or "lapsed".',
        "signals/stages.py",
        "never: who has no order is a prospect",
        readings.stage,
        values=STAGES,
    ),
)
_BEHAVIOUR: Final = (
    _since("person.known_days", "Since the first signal.", "any signal", readings.known_days),
    _count("views.count", "views", "Looks at the category.", _VIEW, readings.views, _ONE),
    _since("views.days_since", "Since the last look at the category.", _VIEW, readings.view_days_since, _ONE),
    _count("cart.count", "lines", "Lines in the cart.", _CART, readings.cart_lines),
    _since(
        "cart.hours_since",
        "Since the cart changed.",
        _CART,
        readings.cart_hours,
        unit="hours",
        missing="when it is empty",
    ),
    Feature(
        "cart.contains",
        "yes/no",
        "",
        "Whether the category is in the cart.",
        _CART,
        "never",
        readings.cart_contains,
        _ONE,
    ),
    Feature(
        "cart.cause",
        "text",
        "",
        'Why the cart was left: "price", "delivery", "stock", "browsing" or "bought elsewhere".',
        "signals/carts.py",
        "when it is empty, and when nothing speaks for any",
        readings.cart_cause,
    ),
    _since(
        "checkout.hours_since",
        "Since a checkout was begun that no order ended.",
        "Checkout Started",
        readings.checkout_hours,
        unit="hours",
        missing="when there is none",
    ),
    _count("mail.clicks", "clicks", "Clicks in mails by a person.", "Email Link Clicked", readings.clicks),
    _since("mail.days_since_click", "Since a person's last click.", "Email Link Clicked", readings.click_days),
    _count("mail.opens", "opens", "Opens of mails by a person or their proxy.", "Email Opened", readings.opens),
    _since("mail.days_since_open", "Since a person's last open.", "Email Opened", readings.open_days),
)
_VOICE: Final = (
    _since(
        "registrations.days_since",
        "Since a product of the category was registered.",
        "Product Registered",
        readings.registered_days,
        _ONE,
    ),
    Feature(
        "complaint.open", "yes/no", "", "Whether a complaint is open.", _COMPLAINT, "never", readings.complaint_open
    ),
    _since(
        "complaint.days_open",
        "Since the oldest open complaint was opened.",
        _COMPLAINT,
        readings.complaint_days,
        missing="when none is open",
    ),
    Feature(
        "review.sentiment",
        "text",
        "",
        'The latest review in the category: "positive", "neutral" or "negative".',
        "Product Reviewed",
        _NEVER,
        readings.sentiment,
        _ONE,
    ),
    Feature(
        "survey.score",
        "number",
        "score",
        "The latest score given in the survey.",
        "Survey Answered",
        _NEVER,
        readings.survey_score,
        _NAME,
    ),
    _since("survey.days_since", "Since the survey was answered.", "Survey Answered", readings.survey_days, needs=_NAME),
    _count("notes.count", "notes", "Call notes.", "Call Note Added", readings.notes),
    _since("notes.days_since", "Since the last call note.", "Call Note Added", readings.note_days),
    Feature(
        "feedback.category",
        "text",
        "",
        'The word on the category: "gift", "not_for_me", "already_own" or "wrong_person".',
        "Offer Feedback",
        _NEVER,
        readings.category_feedback,
        _ONE,
    ),
    Feature(
        "route",
        "text",
        "",
        'What the person wants of the category: "service" (a complaint, a bad review) or "offer" (cart, looks).',
        "signals/routes.py",
        "when nothing speaks for either",
        readings.route,
        _ONE,
    ),
    *map(_consent, PURPOSES),
)
_PERSON: Final = (
    Feature(
        "trait",
        "any",
        "",
        "What was said about the person under this name.",
        "identify",
        "when nobody said it",
        readings.trait,
        _NAME,
    ),
    *map(_household, ("size", "kids", "age")),
    *map(_lives, HOUSEHOLD),
    Feature(
        "intent",
        "number",
        "probability",
        "How likely the intent is.",
        "derived (signals/intent.py)",
        "without any evidence",
        readings.intent,
        _NAME,
    ),
    Feature(
        "intent.top",
        "text",
        "",
        "The one intent that is likely enough and clear of the next.",
        "derived (signals/intent.py)",
        "when evidence is thin or conflicts",
        readings.intent_top,
    ),
    Feature("score", "number", "", "A computed trait, such as churn.", _SCORES, _UNSCORED, readings.score, _NAME),
    _since("score.days_since", "Since the score's as-of time.", _SCORES, readings.score_days, _NAME, missing=_UNSCORED),
    Feature(
        "flag",
        "yes/no",
        "",
        'Flagged by the profit guard: "service", "returns", "discount" or "spending".',
        _SCORES,
        "never",
        readings.flag,
        _NAME,
    ),
)
_AT_OPEN: Final = (
    _open("product.price_cents", "whole", "cents", "Its price.", _FEED, "without its facts", readings.product_price),
    _open("product.stock", "whole", "pieces", "Its stock.", _FEED, "when the feed is silent", readings.product_stock),
    _open(
        "product.in_stock",
        "yes/no",
        "",
        "Whether the offer's product is in stock.",
        _FEED,
        "when the feed is silent",
        readings.product_in_stock,
    ),
    _open(
        "product.feed_hours",
        "whole",
        "hours",
        "Since the feed last named the offer's product.",
        _FEED,
        "without its facts",
        readings.product_feed_hours,
    ),
    _open(
        "product.days_since",
        "whole",
        "UTC days",
        "Since this very product was bought, among the last twelve purchases.",
        _ORDER,
        "when it is not among them",
        readings.product_days,
    ),
    _open(
        "product.feedback",
        "text",
        "",
        "The word on this very product, as feedback.category.",
        "Offer Feedback",
        _NEVER,
        readings.product_feedback,
    ),
    _open("now.hour", "whole", "0-23", "The hour by the trait timezone, else UTC.", "clock", "never", readings.hour),
    _open("now.weekday", "whole", "1-7", "Day of the week there; Monday is 1.", "clock", "never", readings.weekday),
    _open("now.date", "text", "YYYY-MM-DD", "The date there.", "clock", "never", readings.date),
    _of_open("lane", "text", "", 'The lane of the open: "live", "test" or "machine".'),
    _of_open("undecided", "yes/no", "", "Whether the fetch may be a machine's as well as a person's."),
    _of_open("locale", "text", "", "The locale of the open."),
    _of_open("hours_since_send", "number", "hours", "Since the mail was sent."),
    _of_open("number", "whole", "1 and up", "The number of this open of the mail."),
)
CATALOGUE: Final[Mapping[str, Feature]] = {
    feature.name: feature for feature in (*_PURCHASES, *_BEHAVIOUR, *_VOICE, *_PERSON, *_AT_OPEN)
}
"""Every feature a rule may name."""
