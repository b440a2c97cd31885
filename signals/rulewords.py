"""Rules in words: what each thing that may be asked is called, and a rule as a phrase of these.

Forms offer `CONDITIONS`; `MORE` are what rules may ask besides, by the API. A phrase needs nothing but the rule's JSON
and names of categories and segments, so a rule kept in an old plan is told as one of today.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from signals.stages import STAGES

Kind = Literal["whole", "number", "cents", "share", "yes/no", "text", "any"]


@dataclass(frozen=True)
class Condition:
    """One thing that may be asked. `key` is its value in a form, "" where none offers it; `field` the catalogue's name.

    `kind` says what its value is: text, or any sort of thing as traits are. `named`: who asks gives the name. In
    `words` an ellipsis stands for the days or the name, "the category" or "it" for the category. `values`: there are
    no others. `no`: words for the no of what may be neither, as where nobody asked.
    """

    key: str
    words: str
    field: str
    kind: Kind
    category: bool = False
    days: bool = False
    name: str = ""
    named: bool = False
    values: tuple[str, ...] = ()
    no: str = ""

    @property
    def needs(self) -> str:
        """What else its row must say, as the page shows it; `word`: its value is one, or may be."""
        wanted = {
            "category": self.category, "days": self.days, "name": self.named, "word": self.kind in ("text", "any"),
        }  # fmt: skip
        compared = "" if self.kind == "yes/no" else " comparison"
        return " ".join(name for name, is_wanted in wanted.items() if is_wanted) + compared + " value"

    def is_about(self, node: Mapping[str, Any]) -> bool:
        """Whether a comparison of a rule asks this."""
        return (
            self.field == node["field"]
            and self.days == ("within_days" in node)
            and self.category == ("category" in node)
            and (bool(node.get("name")) if self.named else self.name == node.get("name", ""))
        )


CONDITIONS: Final = (
    Condition("bought", "times they bought the category", "purchases.count", "whole", category=True),
    Condition("bought_within", "times they bought it in the last … days", "purchases.count", "whole", True, True),
    Condition("since", "days since they last bought the category", "purchases.days_since", "whole", category=True),
    Condition("due", "how due they are to restock it (1 = now)", "purchases.due_ratio", "number", category=True),
    Condition("spent", "spent on the category", "purchases.amount", "cents", category=True),
    Condition("viewed", "times they looked at the category", "views.count", "whole", category=True),
    Condition("looked", "days since they last looked at the category", "views.days_since", "whole", category=True),
    Condition("in_cart", "has the category in the cart", "cart.contains", "yes/no", category=True),
    Condition("orders", "orders in all", "orders.count", "whole"),
    Condition("orders_within", "orders in the last … days", "orders.count", "whole", days=True),
    Condition("last_order", "days since the last order", "orders.days_since", "whole"),
    Condition("spent_all", "spent in all", "orders.amount", "cents"),
    Condition("stage", "where they stand as a customer", "lifecycle.stage", "text", values=STAGES),
    Condition("cart", "lines in the cart", "cart.count", "whole"),
    Condition("cart_hours", "hours since the cart changed", "cart.hours_since", "whole"),
    Condition("clicks", "clicks in our mails", "mail.clicks", "whole"),
    Condition("clicked", "days since they last clicked in a mail", "mail.days_since_click", "whole"),
    Condition("known", "days since we have known them", "person.known_days", "whole"),
    Condition("trait", "a trait of theirs", "trait", "any", named=True),
    Condition("intent", "what they seem to be up to", "intent.top", "text"),
    Condition("agreed_email", "agreed to mails", "consent.email", "yes/no", no="said no to mails"),
    Condition("agreed_sms", "agreed to text messages", "consent.sms", "yes/no", no="said no to text messages"),
    Condition("agreed_push", "agreed to push messages", "consent.push", "yes/no", no="said no to push messages"),
    Condition("churn", "chance of leaving (%)", "score", "share", name="churn"),
    Condition("cross_buy", "chance of trying something new (%)", "score", "share", name="cross_buy"),
    Condition("best", "chance of becoming one of the best (%)", "score", "share", name="best"),
    Condition("ltv", "worth expected in 90 days", "score", "cents", name="ltv"),
    Condition("interval", "days until the next order, expected", "score", "number", name="interval"),
    Condition("household", "people in their household", "household.people", "whole"),
    Condition("children", "children who live with them", "household.children", "whole"),
    Condition("grown", "grown-up children who live elsewhere", "household.grown_children", "whole"),
    Condition("oldest", "age of the oldest in their household", "household.oldest", "whole"),
    Condition("complaint", "has an open complaint", "complaint.open", "yes/no"),
)
MORE: Final = (
    Condition("", "orders in all", "purchases.count", "whole"),
    Condition("", "orders in the last … days", "purchases.count", "whole", days=True),
    Condition("", "spent in all", "purchases.amount", "cents"),
    Condition("", "days since the last order", "purchases.days_since", "whole"),
    Condition("", "days between two purchases of the category", "purchases.interval_days", "number", category=True),
    Condition("", "days between two orders", "purchases.interval_days", "number"),
    Condition("", "how due they are to order again (1 = now)", "purchases.due_ratio", "number"),
    Condition("", "orders out of a mail", "orders.by_mail", "whole"),
    Condition("", "why the cart was left", "cart.cause", "text"),
    Condition("", "hours since a checkout was begun", "checkout.hours_since", "whole"),
    Condition("", "opens of our mails by them or their mail provider", "mail.opens", "whole"),
    Condition("", "days since the last such open", "mail.days_since_open", "whole"),
    Condition("", "days since they registered a product of the category", "registrations.days_since", "whole", True),
    Condition("", "days that a complaint has been open", "complaint.days_open", "whole"),
    Condition("", "their latest review of the category", "review.sentiment", "text", category=True),
    Condition("", "latest score in the survey “…”", "survey.score", "number", named=True),
    Condition("", "days since they answered the survey “…”", "survey.days_since", "whole", named=True),
    Condition("", "call notes", "notes.count", "whole"),
    Condition("", "days since the last call note", "notes.days_since", "whole"),
    Condition("", "what they said of the category", "feedback.category", "text", category=True),
    Condition("", "what they want of the category (service or an offer)", "route", "text", category=True),
    Condition("", "agreed to tracking", "consent.tracking", "yes/no", no="said no to tracking"),
    Condition("", "agreed to profiling", "consent.profiling", "yes/no", no="said no to profiling"),
    Condition("", "agreed to advertising", "consent.advertising", "yes/no", no="said no to advertising"),
    Condition("", "size of the household, as they told it", "household.size", "any"),
    Condition("", "kids in the household, as they told it", "household.kids", "any"),
    Condition("", "age of the household, as they told it", "household.age", "any"),
    Condition("", "grown-ups in their household", "household.adults", "whole"),
    Condition("", "children of 0 to 2 in their household", "household.children_0_2", "whole"),
    Condition("", "children of 3 to 5 in their household", "household.children_3_5", "whole"),
    Condition("", "children of 6 to 12 in their household", "household.children_6_12", "whole"),
    Condition("", "children of 13 to 17 in their household", "household.children_13_17", "whole"),
    Condition(
        "",
        "has children in the household",
        "household.has_children",
        "yes/no",
        no="is known to have no children in the household",
    ),
    Condition("", "age of the youngest in their household", "household.youngest", "whole"),
    Condition("", "their part in the household", "household.role", "text"),
    Condition("", "how sure their household is (%)", "household.confidence", "share"),
    Condition("", "how likely they are up to “…” (%)", "intent", "share", named=True),
    Condition("", "the score “…”", "score", "number", named=True),
    Condition("", "days since the score “…” was computed", "score.days_since", "whole", named=True),
    Condition("", "flagged by the profit guard for “…”", "flag", "yes/no", named=True),
    Condition("", "price of the product, in the smallest unit of its currency,", "product.price_cents", "whole"),
    Condition("", "stock of the product", "product.stock", "whole"),
    Condition("", "its product is in stock", "product.in_stock", "yes/no", no="its product is sold out"),
    Condition("", "hours since the feed named the product", "product.feed_hours", "whole"),
    Condition("", "days since they bought this very product", "product.days_since", "whole"),
    Condition("", "what they said of this very product", "product.feedback", "text"),
    Condition("", "hour of their day", "now.hour", "whole"),
    Condition("", "day of their week (1 = Monday)", "now.weekday", "whole"),
    Condition("", "date where they are", "now.date", "text"),
    Condition("", "who opened the mail (live, test or machine)", "open.lane", "text"),
    Condition("", "perhaps a machine opened the mail", "open.undecided", "yes/no"),
    Condition("", "language of the open", "open.locale", "text"),
    Condition("", "hours since the mail was sent", "open.hours_since_send", "number"),
    Condition("", "how often the mail was opened, this time included", "open.number", "whole"),
)
"""What rules may ask and no form offers."""
COMPARISONS: Final = (
    (">=", "at least"), ("<=", "at most"), ("=", "is"), (">", "more than"), ("<", "less than"), ("not", "is not"),
    ("present", "is known"), ("missing", "is not known"),
)  # fmt: skip
EVERYBODY: Final[dict[str, Any]] = {"always": True}
WITHOUT_VALUE: Final = ("present", "missing")
_NOBODY_NAMED: Final[Mapping[int, str]] = MappingProxyType({})
_OF_CATEGORY: Final = re.compile(r"\b(the category|it)\b")
_WORDS: Final = dict(COMPARISONS) | {"!=": "is other than", "in": "is one of"}


def phrase(rule: Any, categories: Mapping[str, str], segments: Mapping[int, str] = _NOBODY_NAMED) -> str:
    """A rule in a line, such as “orders in all at least 2 and not in “Runners””.

    Names: of `categories` by slug, of `segments` by number. What this release has no words for is quoted as written.
    """
    return _phrase(rule, categories, segments, outermost=True)


def _phrase(rule: Any, categories: Mapping[str, str], segments: Mapping[int, str], outermost: bool = False) -> str:
    match rule:
        case {"all": [*parts]} | {"any": [*parts]}:
            joint = " and " if "all" in rule else " or "
            said = joint.join(_phrase(part, categories, segments, outermost=len(parts) == 1) for part in parts)
            return said if outermost or len(parts) == 1 else f"({said})"
        case {"always": holds}:
            return "everybody" if holds else "nobody"
        case {"segment": number}:
            return f"in “{segments.get(number, f'no. {number}')}”"
        case {"not": {"segment": _} as part}:
            return f"not {_phrase(part, categories, segments)}"
        case {"not": {"always": holds}}:
            return "nobody" if holds else "everybody"
        case {"not": {"field": _, "op": "=" | "in" as op, **rest} as part} if not isinstance(rest.get("value"), bool):
            return _compared(part, "is not" if op == "=" or _is_one(rest.get("value")) else "is none of", categories)
        case {"not": part}:
            return f"not: {_phrase(part, categories, segments)}"
        case {"field": _, "op": op}:
            return _compared(
                rule, "is" if op == "in" and _is_one(rule.get("value")) else _WORDS.get(op, op), categories
            )
        case {"event": event}:
            slug = rule.get("category")
            of = "" if slug is None else f" of {categories.get(slug, slug)}"
            return f"“{event}”{of} {_often(rule.get('min_count'), rule.get('max_count'))}{_between(rule)}"
    return str(rule)


def _often(least: int | None, most: int | None) -> str:
    """How often something happened, in a history window; None as it is read there."""
    if most == 0:
        return "never"
    if most is None:
        return "any number of times" if least == 0 else f"at least {_times(least or 1)}"
    if least == 0:
        return f"at most {_times(most)}"
    return f"exactly {_times(most)}" if (least or 1) == most else f"{least or 1:,} to {_times(most)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _between(window: Mapping[str, Any]) -> str:
    """From which day of a history window on, and before which."""
    begin, end, zone = window.get("from"), window.get("to"), window.get("zone")
    if begin and end:
        said = f" from {_day(begin)} to before {_day(end)}"
    else:
        said = f" since {_day(begin)}" if begin else f" before {_day(end)}" if end else ""
    return f"{said} ({zone})" if said and zone else said


def _day(bound: Mapping[str, Any]) -> str:
    match bound:
        case {"days_ago": 0} | {"months_ago": 0}:
            return "today"
        case {"days_ago": back}:
            return "yesterday" if back == 1 else f"{back:,} days ago"
        case {"months_ago": back}:
            return "a month ago" if back == 1 else f"{back} months ago"
        case {"month_start": back}:
            month = ("this month", "last month")[back] if back < 2 else f"the month {back} months ago"
            return f"the first of {month}"
        case {"date": day}:
            return str(day)
    return str(bound)


def _compared(node: Mapping[str, Any], comparison: str, categories: Mapping[str, str]) -> str:
    """One comparison. A unit is said where the number stands; what a number means is not."""
    asked = next((one for one in (*CONDITIONS, *MORE) if one.is_about(node)), None)
    if asked is None:
        extras = [str(value) for key, value in node.items() if key not in ("field", "op", "value")]
        what, kind = " ".join((str(node["field"]), *extras)), "any"
    else:
        what, kind = _what(asked, node, categories), asked.kind
    value = node.get("value")
    no = asked.no if asked else ""
    if kind == "yes/no" and isinstance(value, bool):
        return what if value == (comparison == "is") else no or f"not: {what}"
    if no and node["op"] in WITHOUT_VALUE:
        return f"neither {what} nor {no}" if node["op"] == "missing" else f"({what} or {no})"
    if node["op"] in WITHOUT_VALUE:
        return f"{what} {comparison}"
    values = value if isinstance(value, list) else [value]
    said = dict.fromkeys(_value(one, kind) for one in values)
    return f"{what} {comparison} {', '.join(one.replace('_', ' ') if asked and asked.values else one for one in said)}"


def _what(asked: Condition, node: Mapping[str, Any], categories: Mapping[str, str]) -> str:
    what = asked.words.partition(" (")[0]
    if node.get("within_days") == 1:
        what = what.replace("in the last … days", "in the last day")
    if asked.category:
        slug = str(node["category"])
        what = _OF_CATEGORY.sub(lambda _: categories.get(slug, slug), what, count=1)
    if asked.named and "…" not in what:
        return str(node["name"])
    return what.replace("…", str(node.get("within_days", node.get("name", ""))))


def _is_one(value: Any) -> bool:
    """Whether the values of a list are one, as the text, the number and the yes or no that somebody typed."""
    return isinstance(value, list) and len({_value(one, "any") for one in value}) == 1


def _value(value: Any, kind: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if kind == "cents":
        value = value / 100
    elif kind == "share":
        value = value * 100
    if kind == "any":  # A year, or a number that is a name: as it was told.
        return str(int(value)) if float(value).is_integer() else f"{value:.6g}"
    if float(value).is_integer():
        said = f"{int(value):,}"
    else:
        said = f"{value:,.2f}" if kind == "cents" else f"{value:,.6g}"
    return f"{said}%" if kind == "share" else said
