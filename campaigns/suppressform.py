"""A campaign's suppression rule as a form: an open complaint, bad reviews of categories, purchases of categories.

A rule made elsewhere that says more is shown as it is and kept until somebody replaces it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from base.errors import InvalidInput

COMPLAINT: Final[dict[str, Any]] = {"field": "complaint.open", "op": "=", "value": True}
DAYS: Final = 30
MAX_DAYS: Final = 3650


def read(form: Mapping[str, str], reviewed: Sequence[str], bought: Sequence[str]) -> dict[str, Any] | None:
    """The rule that the form says, None where nothing is ticked; `reviewed` and `bought` are slugs of categories.

    Raises InvalidInput naming the days.
    """
    parts = [dict(COMPLAINT)] if "suppress-complaint" in form else []
    parts += [
        {"field": "review.sentiment", "category": slug, "op": "=", "value": "negative"} for slug in reviewed if slug
    ]
    text = form.get("suppress-days", "").strip() or str(DAYS)
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= MAX_DAYS):
        raise InvalidInput("days", f"must be a whole number from 1 to {MAX_DAYS}")
    parts += [
        {"field": "purchases.count", "category": slug, "within_days": int(text), "op": ">=", "value": 1}
        for slug in bought
        if slug
    ]
    return {"any": parts} if parts else None


def shown(rule: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the form shows of a rule: complaint, reviewed, bought, days; None when it cannot say it."""
    asked: dict[str, Any] = {"complaint": False, "reviewed": [], "bought": [], "days": DAYS}
    if rule is None:
        return asked
    if set(rule) != {"any"}:
        return None
    days = set()
    for part in rule["any"]:
        match part:
            case {"field": "complaint.open", "op": "=", "value": True} if len(part) == 3:
                asked["complaint"] = True
            case {"field": "review.sentiment", "category": str(slug), "op": "=", "value": "negative"} if len(part) == 4:
                asked["reviewed"].append(slug)
            case {
                "field": "purchases.count", "category": str(slug), "within_days": int(within), "op": ">=", "value": 1,
            } if len(part) == 5:  # fmt: skip
                asked["bought"].append(slug)
                days.add(within)
            case _:
                return None
    if len(days) > 1:
        return None
    return asked | {"days": days.pop() if days else DAYS}
