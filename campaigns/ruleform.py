"""Audience rules as rows of a form: condition, category, comparison, value, or a segment; all or any of them.

A form speaks of what managers ask most. A rule made elsewhere (by the API, deeper than rows can say) is shown in words
and kept as it is until somebody replaces it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from campaigns.models.campaign import Segment
from signals.catalog import Category

ROWS: Final = 6
Kind = Literal["whole", "number", "cents", "share", "yes/no"]


@dataclass(frozen=True)
class Condition:
    """One thing that may be asked. `key` is its value in the form; `field` the catalogue's name."""

    key: str
    words: str
    field: str
    kind: Kind
    category: bool = False
    days: bool = False
    name: str = ""


CONDITIONS: Final = (
    Condition("bought", "times they bought the category", "purchases.count", "whole", category=True),
    Condition("bought_within", "times they bought it in the last … days", "purchases.count", "whole", True, True),
    Condition("since", "days since they last bought the category", "purchases.days_since", "whole", category=True),
    Condition("due", "how due they are to restock it (1 = now)", "purchases.due_ratio", "number", category=True),
    Condition("spent", "spent on the category", "purchases.amount", "cents", category=True),
    Condition("viewed", "times they looked at the category", "views.count", "whole", category=True),
    Condition("orders", "orders in all", "orders.count", "whole"),
    Condition("orders_within", "orders in the last … days", "orders.count", "whole", days=True),
    Condition("last_order", "days since the last order", "orders.days_since", "whole"),
    Condition("spent_all", "spent in all", "orders.amount", "cents"),
    Condition("cart", "lines in the cart", "cart.count", "whole"),
    Condition("clicks", "clicks in our mails", "mail.clicks", "whole"),
    Condition("churn", "chance of leaving (%)", "score", "share", name="churn"),
    Condition("cross_buy", "chance of trying something new (%)", "score", "share", name="cross_buy"),
    Condition("best", "chance of becoming one of the best (%)", "score", "share", name="best"),
    Condition("ltv", "worth expected in 90 days", "score", "cents", name="ltv"),
    Condition("interval", "days until the next order, expected", "score", "number", name="interval"),
    Condition("household", "people in their household", "household.people", "whole"),
    Condition("children", "children who live with them", "household.children", "whole"),
    Condition("grown", "grown-up children who live elsewhere", "household.grown_children", "whole"),
    Condition("oldest", "age of the oldest in their household", "household.oldest", "whole"),
    Condition("complaint", "has an open complaint (1 = yes)", "complaint.open", "yes/no"),
)
BY_KEY: Final = {condition.key: condition for condition in CONDITIONS}
COMPARISONS: Final = ((">=", "at least"), ("<=", "at most"), ("=", "exactly"), (">", "more than"), ("<", "less than"))
EVERYBODY: Final[dict[str, Any]] = {"always": True}
INSIDE, OUTSIDE = "in", "out"
"""Before a segment's number in the place of a condition's key: who is in it, or who is not."""
FIELDS: Final = ("condition", "category", "days", "comparison", "value")
_SEGMENT: Final = re.compile(rf"({INSIDE}|{OUTSIDE})-([1-9][0-9]{{0,8}})")


def read(form: Mapping[str, str]) -> dict[str, Any]:
    """The rule that the form's rows say; nothing filled in means everybody. Raises InvalidInput naming the row."""
    rules = [rule for number in range(ROWS) if (rule := _row(form, number)) is not None]
    if not rules:
        return dict(EVERYBODY)
    return {"any" if form.get("join") == "any" else "all": rules}


def choices(session: Session, besides: int | None = None) -> dict[str, Any]:
    """What the rows of a form offer, as their template wants it; `besides`: a segment that must not name itself."""
    named = select(Segment.id, Segment.name).where(Segment.id != (besides or 0)).order_by(Segment.name)
    return {
        "row_count": ROWS,
        "conditions": CONDITIONS,
        "comparisons": COMPARISONS,
        "categories": session.scalars(select(Category).order_by(Category.name)).all(),
        "segments": {row.id: row.name for row in session.execute(named)},
    }


def typed(form: Mapping[str, str]) -> list[dict[str, str]]:
    """The rows as they were typed, to be shown again beside their fault."""
    return [{name: form.get(f"{name}-{number}", "") for name in FIELDS} for number in range(ROWS)]


def joined(rule: Mapping[str, Any]) -> str:
    """How a rule joins its rows: all or any of them."""
    return "any" if "any" in rule else "all"


def words(rule: Mapping[str, Any], segments: Mapping[int, str], categories: Mapping[str, str]) -> str | None:
    """A rule in a line, or None when rows cannot say it. Names: of `segments` by number, of `categories` by slug."""
    shown = rows(rule)
    if shown is None:
        return None
    between = " or " if joined(rule) == "any" else " and "
    return between.join(_said(row, segments, categories) for row in shown) or "everybody"


def _said(row: Mapping[str, str], segments: Mapping[int, str], categories: Mapping[str, str]) -> str:
    if found := _SEGMENT.fullmatch(row["condition"]):
        name = segments.get(int(found[2]), f"no. {found[2]}")
        return f"{'in' if found[1] == INSIDE else 'not in'} “{name}”"
    condition = BY_KEY[row["condition"]]
    what, _, unit = condition.words.partition(" (")
    if condition.category:
        name = categories.get(row["category"], row["category"])
        what = what.replace("the category", name).replace("bought it", f"bought {name}")
    if condition.kind == "yes/no":
        return what if row["value"] == "1" else f"not: {what}"
    # A unit is said where the number stands; what a number means is not.
    per_cent = "%" if unit.startswith("%") else ""
    return f"{what.replace('…', row['days'])} {dict(COMPARISONS)[row['comparison']]} {row['value']}{per_cent}"


def rows(rule: Mapping[str, Any]) -> list[dict[str, str]] | None:
    """The form's rows for a rule, or None when rows cannot say it."""
    if dict(rule) == EVERYBODY:
        return []
    nodes = rule.get("all", rule.get("any"))
    if len(rule) != 1 or not isinstance(nodes, list) or len(nodes) > ROWS:
        return None
    shown = [_shown(node) for node in nodes]
    return None if any(row is None for row in shown) else [row for row in shown if row is not None]


def _row(form: Mapping[str, str], number: int) -> dict[str, Any] | None:
    key = form.get(f"condition-{number}", "")
    if not key:
        return None
    if found := _SEGMENT.fullmatch(key):
        inside = {"segment": int(found[2])}
        return inside if found[1] == INSIDE else {"not": inside}
    condition = BY_KEY.get(key)
    if condition is None:
        raise InvalidInput(f"row {number + 1}", "asks for something that is not known")
    rule: dict[str, Any] = {"field": condition.field} | ({"name": condition.name} if condition.name else {})
    if condition.category:
        category = form.get(f"category-{number}", "")
        if not category:
            raise InvalidInput(f"row {number + 1}", "needs a category")
        rule["category"] = category
    if condition.days:
        rule["within_days"] = int(_number(form.get(f"days-{number}", ""), number, "days"))
    comparison = form.get(f"comparison-{number}", ">=")
    if comparison not in dict(COMPARISONS):
        raise InvalidInput(f"row {number + 1}", "compares in a way that is not known")
    value = _number(form.get(f"value-{number}", ""), number, "value")
    if condition.kind == "yes/no":
        return rule | {"op": "=", "value": bool(value)}
    if condition.kind == "share":
        value = value / 100
    elif condition.kind == "cents":
        value = round(value * 100)
    elif condition.kind == "whole":
        if value != int(value):
            raise InvalidInput(f"row {number + 1}", "needs a whole number")
        value = int(value)
    return rule | {"op": comparison, "value": value}


def _number(text: str, number: int, what: str) -> float:
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        raise InvalidInput(f"row {number + 1}", f"needs a number for the {what}") from None
    if not 0 <= value <= 10**9:
        raise InvalidInput(f"row {number + 1}", f"needs a {what} from 0 to a billion")
    return value


def _shown(node: Any) -> dict[str, str] | None:
    match node:
        case {"segment": int(number), **rest} if not rest:
            return dict.fromkeys(FIELDS, "") | {"condition": f"{INSIDE}-{number}"}
        case {"not": {"segment": int(number), **rest}, **beside} if not rest and not beside:
            return dict.fromkeys(FIELDS, "") | {"condition": f"{OUTSIDE}-{number}"}
    if not isinstance(node, dict) or not {"field", "op", "value"} <= set(node):
        return None
    has_days = "within_days" in node
    found = next(
        (
            one
            for one in CONDITIONS
            if one.field == node["field"]
            and one.days == has_days
            and one.category == ("category" in node)
            and one.name == node.get("name", "")
        ),
        None,
    )
    if found is None or set(node) - {"field", "op", "value", "category", "within_days", "name"}:
        return None
    value = node["value"]
    if found.kind == "cents":
        value = value / 100
    elif found.kind == "share":
        value = round(value * 100, 6)
    return {
        "condition": found.key,
        "category": str(node.get("category", "")),
        "days": str(node.get("within_days", "")),
        "comparison": str(node["op"]),
        "value": str(int(value)) if isinstance(value, bool) or float(value).is_integer() else str(value),
    }
