"""What a signal changed, in the words of whoever talks to the customer: the state's own names stay inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from signals.measures import shown
from signals.moments import ORIGIN, moment_of, ms_of
from signals.tracing import Change

Measure = Literal["plain", "money", "moment", "day", "days", "share", "consent"]


@dataclass(frozen=True)
class Said:
    """One change in words; None where there was or is nothing. `measure` says how the values are to be read: money in
    cents, a moment or its day as datetime, days as a number of them, a share of one."""

    words: str
    before: Any
    after: Any
    measure: Measure


WORDS: Final[Mapping[str, tuple[str, Measure]]] = {
    "since_s": ("Known since", "moment"),
    "orders": ("Orders", "plain"),
    "order_cents": ("Spent", "money"),
    "last_order_s": ("Last order", "moment"),
    "order_interval_days": ("Between two orders, usually", "days"),
    "mail_orders": ("Orders after a click in a mail", "plain"),
    "coupon_orders": ("Orders with a coupon", "plain"),
    "recent": ("Bought lately", "plain"),
    "cart": ("In the cart", "plain"),
    "cart_s": ("Cart last changed", "moment"),
    "checkout_s": ("Checkout begun", "moment"),
    "marks": ("Corrections", "plain"),
    "notes": ("Notes of calls", "plain"),
    "last_note_s": ("Last note of a call", "moment"),
    "clicks": ("Clicks in mails", "plain"),
    "last_click_s": ("Last click in a mail", "moment"),
    "opens": ("Opens of mails", "plain"),
    "last_open_s": ("Last open of a mail", "moment"),
    "intent_top": ("What they seem to want", "plain"),
    "categories.n": ("Orders of {}", "plain"),
    "categories.cents": ("Spent on {}", "money"),
    "categories.last_s": ("Last order of {}", "moment"),
    "categories.interval_days": ("Between two orders of {}, usually", "days"),
    "categories.coupons": ("Orders of {} with a coupon", "plain"),
    "views.n": ("Looks at {}", "plain"),
    "views.last_s": ("Last look at {}", "moment"),
    "traits": ("{}", "plain"),
    "consent": ("May be used for {}", "consent"),
    "complaints": ("Complaint {} open since", "moment"),
    "reviews.sentiment": ("Review of {}", "plain"),
    "registered": ("Registered: {}", "day"),
    "surveys.score": ("Answer to {}", "plain"),
    "intents": ("Seems to want: {}", "share"),
    "clues": ("Why the cart may have been left: {}", "moment"),
}
"""The fields of the state's document (`signals/state.py`) that say something to people; the braces hold the name."""
SILENT: Final = frozenset({
    "format", "version", "last_ms", "erased", "order_keys", "unmatched", "order_days", "open_complaint_day", "segments",
    "scores", "household", "categories.days", "categories.last_day", "reviews.day", "surveys.day",
    "since_day", "last_order_day", "cart_day", "checkout_day", "last_note_day", "last_click_day", "last_open_day",
    "views.last_day",
})  # fmt: skip
"""Fields that tell again what another tells, or how the state is kept."""
OF_CATEGORY: Final = frozenset(
    one for one in (*WORDS, *SILENT) if one.startswith(("categories.", "views.", "reviews.")) or one == "registered"
)
"""Fields whose name is a category's slug."""
_PURPOSES: Final = {"email": "mail", "sms": "text messages", "push": "push messages"}


def said(changes: Sequence[Change], categories: Mapping[str, str]) -> list[Said]:
    """The changes that say something to people, in words; that something is nothing still is no change. `categories`:
    their names by slug."""
    found = []
    for change in changes:
        field, name = _field(change.path)
        if field in WORDS:
            words, measure = WORDS[field]
            before, after = (_value(field, value) for value in (change.before, change.after))
            if before != after:
                named = categories.get(name, name) if field in OF_CATEGORY else _named(field, name)
                found.append(Said(words.format(named), before, after, measure))
    return found


def _field(path: str) -> tuple[str, str]:
    """The field of the document that a path lies in, and the name within it: `categories.shoes.n` is that of shoes."""
    first, _, rest = path.partition(".")
    name, _, last = rest.rpartition(".")
    if f"{first}.{last}" in WORDS or f"{first}.{last}" in SILENT:
        return f"{first}.{last}", name
    return first, rest


def _named(field: str, name: str) -> str:
    if field == "traits":
        return name.replace("_", " ").replace(".", ", ").capitalize()
    return _PURPOSES.get(name, name) if field == "consent" else name.replace("_", " ")


def _value(field: str, value: Any) -> Any:
    if value in (None, 0, []) and value is not False:
        return None
    match field:
        case "recent" | "cart":
            return ", ".join(_line(one) for one in value)
        case "marks":
            return ", ".join(_marked(one["word"], *one["target"].split(":", 1)) for one in value)
        case "complaints":
            return moment_of(value)
        case "clues":
            return moment_of(ms_of(value))
        case "registered":
            return ORIGIN + timedelta(days=value)
    return datetime.fromisoformat(value) if WORDS[field][1] == "moment" else value


def _marked(word: str, kind: str, name: str) -> str:
    return f"{word.replace('_', ' ')}: {name if kind != 'category' else 'a category'}"


def _line(line: Mapping[str, Any]) -> str:
    quantity = shown(line["quantity"], line.get("millionths", 0))
    return f"{quantity} × {line['product']}" if quantity != 1 else str(line["product"])
