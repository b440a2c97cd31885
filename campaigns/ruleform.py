"""Audience rules as rows of a form: condition, category, comparison, value, or a segment; all or any of them.

A row may be tied to the one above: where all rows must hold, either of the two then will do; where any will do, both
must hold. So rows say every rule of two levels. A form speaks of what managers ask most; a rule made elsewhere (by the
API, deeper than rows can say) is shown in words and kept as it is until somebody replaces it.

An audience is asked by the database, the rule of an offer at an open (`where`): that reads sealed traits too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from campaigns import rulebook
from campaigns.models.campaign import Segment
from campaigns.numerals import numeral, refuse_grouped
from campaigns.rulebook import Where
from signals.catalog import Category
from signals.features import MAX_WITHIN_DAYS
from signals.foldevent import UNKEPT_TRAITS, trait_name
from signals.identifying import is_identifying
from signals.rules import UNKEPT
from signals.rulewords import COMPARISONS, CONDITIONS, EVERYBODY, WITHOUT_VALUE, Condition, phrase

ROWS: Final = 8
BY_KEY: Final = {condition.key: condition for condition in CONDITIONS}
TRAITS_LOOKED_AT: Final = 20_000
"""Values of traits whose names a form suggests."""
YES, NO = ("yes", "y", "true", "1"), ("no", "n", "false", "0")
INSIDE, OUTSIDE = "in", "out"
"""Before a segment's number in the place of a condition's key: who is in it, or who is not."""
MOST: Final = 10**9
"""The largest number a row takes; none is below 0."""
FIELDS: Final = ("tie", "condition", "name", "category", "days", "comparison", "value")
PART_OF: Final = {"name": "name", "category": "category", "within_days": "days", "op": "comparison", "value": "value"}
"""Which field of a row says a part of its comparison; whatever else is in a rule, its condition says."""
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,6}|,(?![0-9]{3}$)[0-9]{1,6})?")
"""What is a number in the value of a trait too; with a comma only where that can be read in one way."""
_SEGMENT: Final = re.compile(rf"({INSIDE}|{OUTSIDE})-([1-9][0-9]{{0,8}})")


class RowFault(InvalidInput):
    """A row cannot be asked as it was typed. `part`: which of its fields (`FIELDS`) is at fault."""

    def __init__(self, number: int, part: str, message: str) -> None:
        super().__init__(f"row {number + 1}", message)
        self.part = part


def read(
    form: Mapping[str, str], where: Where = "audience", standing: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The rule that the form's rows say; nothing filled in means everybody. Raises RowFault.

    `standing`: the rule that is kept, given back as it was written where the rows are those that show it.
    """
    if standing is not None and _is_untouched(form, standing, where):
        return dict(standing)
    groups: list[list[dict[str, Any]]] = []
    for number in range(ROWS):
        rule = _row(form, number, where)
        if rule is None:
            continue
        if groups and form.get(f"tie-{number}"):
            groups[-1].append(rule)
        else:
            groups.append([rule])
    if not groups:
        return dict(EVERYBODY)
    outer, inner = ("any", "all") if form.get("join") == "any" else ("all", "any")
    return {outer: [group[0] if len(group) == 1 else {inner: group} for group in groups]}


def checked(
    session: Session,
    form: Mapping[str, str],
    where: Where = "audience",
    standing: Mapping[str, Any] | None = None,
    of: int | None = None,
) -> dict[str, Any]:
    """As `read`, of rows each of which can be asked of what there is now. Raises RowFault.

    `of`: the segment that has the rule, which no row may lead back to.
    """
    rule = read(form, where, standing)
    for number in range(ROWS):
        row = _row(form, number, where)
        if row is None:
            continue
        try:
            rulebook.check(session, row, where, "row", of)
        except InvalidInput as error:
            at = error.field.rpartition(".")[2].partition("[")[0]
            raise RowFault(number, PART_OF.get(at, "condition"), error.message) from None
    return rule


def choices(session: Session, besides: int | None = None) -> dict[str, Any]:
    """What the rows of a form offer, as their template wants it; `besides`: a segment that must not name itself.

    `in_words` says a rule, which rows may be unable to.
    """
    named = select(Segment.id, Segment.name).where(Segment.id != (besides or 0)).order_by(Segment.name)
    categories = session.scalars(select(Category).order_by(Category.name)).all()
    segments = {row.id: row.name for row in session.execute(named)}
    return {
        "row_count": ROWS,
        "conditions": CONDITIONS,
        "comparisons": COMPARISONS,
        "categories": categories,
        "segments": segments,
        "in_words": partial(phrase, categories={one.slug: one.name for one in categories}, segments=segments),
        "traits": session.scalars(_TRAITS, {"most": TRAITS_LOOKED_AT}).all(),
    }


_TRAITS: Final = text(
    "SELECT DISTINCT name FROM (SELECT name FROM trait_lineage LIMIT :most) told ORDER BY name LIMIT 100"
)


def typed(form: Mapping[str, str]) -> list[dict[str, str]]:
    """The rows as they were typed, to be shown again beside their fault."""
    return [{name: form.get(f"{name}-{number}", "") for name in FIELDS} for number in range(ROWS)]


def joined(rule: Mapping[str, Any]) -> str:
    """How a rule joins its rows: all or any of them."""
    return "any" if "any" in rule else "all"


def rows(rule: Mapping[str, Any], where: Where = "audience") -> list[dict[str, str]] | None:
    """The form's rows for a rule, or None when rows cannot say it."""
    if dict(rule) == EVERYBODY:
        return []
    outer, inner = ("any", "all") if "any" in rule else ("all", "any")
    nodes = rule[outer] if set(rule) == {outer} else [rule]
    if not isinstance(nodes, list):
        return None
    shown: list[dict[str, str]] = []
    for node in nodes:
        is_group = isinstance(node, dict) and isinstance(node.get(inner), list) and len(node) == 1
        for place, part in enumerate(node[inner] if is_group else [node]):
            row = _shown(part, where)
            if row is None:
                return None
            shown.append(row | {"tie": "1" if place else ""})
    return None if len(shown) > ROWS else shown


def _is_untouched(form: Mapping[str, str], rule: Mapping[str, Any], where: Where) -> bool:
    """Whether the form's rows are those that show a rule."""
    shown = rows(rule, where)
    if shown is None:
        return False
    filled = [row for row in typed(form) if row["condition"]]
    said = "any" if form.get("join") == "any" else "all"
    return said == joined(rule) and [*map(_asked, filled)] == [*map(_asked, shown)]


def _asked(row: Mapping[str, str]) -> dict[str, str]:
    """What of a row its rule is read from; what its page hides stays out."""
    names, condition = ["tie", "condition"], BY_KEY.get(row["condition"])
    if condition is not None:
        wanted = {"name": condition.named, "category": condition.category, "days": condition.days}
        names += [name for name, is_wanted in wanted.items() if is_wanted]
        is_compared = condition.kind != "yes/no"
        names += ["comparison"] * is_compared
        names += ["value"] * (not is_compared or row["comparison"] not in WITHOUT_VALUE)
    return {name: row[name].strip() for name in names}


def _row(form: Mapping[str, str], number: int, where: Where) -> dict[str, Any] | None:
    """The rule that a row says, None for one without a condition. Raises RowFault."""
    try:
        return _said(form, number, where)
    except InvalidInput as error:
        raise RowFault(number, error.field, error.message) from None


def _said(form: Mapping[str, str], number: int, where: Where) -> dict[str, Any] | None:
    """As `_row`; raises InvalidInput naming the field of the row that is at fault."""
    key = form.get(f"condition-{number}", "")
    if not key:
        return None
    if found := _SEGMENT.fullmatch(key):
        inside = {"segment": int(found[2])}
        return inside if found[1] == INSIDE else {"not": inside}
    condition = BY_KEY.get(key)
    if condition is None:
        raise InvalidInput("condition", "asks for something that is not known")
    rule: dict[str, Any] = {"field": condition.field} | ({"name": condition.name} if condition.name else {})
    if condition.named:
        rule["name"] = trait_name(form.get(f"name-{number}", ""))
        if not rule["name"]:
            raise InvalidInput("name", "needs the name of a trait")
        if rule["name"] in UNKEPT_TRAITS:
            raise InvalidInput("name", f"asks for {rule['name']}, which {UNKEPT}")
    if condition.category:
        category = form.get(f"category-{number}", "")
        if not category:
            raise InvalidInput("category", "needs a category")
        rule["category"] = category
    if condition.days:
        days = float(numeral(form.get(f"days-{number}", ""), "days", "needs a whole number of days"))
        if not days.is_integer() or days < 0:
            raise InvalidInput("days", "needs a whole number of days")
        if days > MAX_WITHIN_DAYS:
            raise InvalidInput("days", f"looks back at most {MAX_WITHIN_DAYS} days")
        rule["within_days"] = int(days)
    return _compared(rule, condition, form, number, where)


def _compared(
    rule: dict[str, Any], condition: Condition, form: Mapping[str, str], number: int, where: Where
) -> dict[str, Any]:
    """The rule with its comparison and its value."""
    typed_value, comparison = form.get(f"value-{number}", "").strip(), form.get(f"comparison-{number}", ">=")
    if condition.kind == "yes/no":
        if typed_value.lower() not in YES + NO:
            raise InvalidInput("value", "needs yes or no")
        return rule | {"op": "=", "value": typed_value.lower() in YES}
    if comparison not in dict(COMPARISONS):
        raise InvalidInput("comparison", "compares in a way that is not known")
    if comparison in WITHOUT_VALUE:
        return rule | {"op": comparison}
    if condition.kind in ("text", "any") and comparison in ("=", "not"):
        if not typed_value and not condition.values:
            raise InvalidInput("value", "needs a value")
        if condition.values:
            typed_value = typed_value.lower().replace(" ", "_")
            if typed_value not in condition.values:
                raise InvalidInput("value", f"needs one of {', '.join(condition.values).replace('_', ' ')}")
        alike: list[str | float | bool] = [typed_value]
        if condition.kind == "any":
            alike = _alike(refuse_grouped(typed_value, "value"))
        if where == "audience" and condition.named and is_identifying(rule["name"]):
            alike = [one for one in alike if isinstance(one, bool)]
            if not alike:
                words = "is known or not, yes or no: it says who somebody is, so its value is kept sealed"
                raise InvalidInput("value", words)
        rule |= {"op": "in", "value": alike} if len(alike) > 1 else {"op": "=", "value": alike[0]}
        return {"not": rule} if comparison == "not" else rule
    if condition.kind == "text":
        raise InvalidInput("comparison", "asks for a word: choose is, is not, is known or is not known")
    exact = _number(typed_value.removesuffix("%").rstrip() if condition.kind == "share" else typed_value)
    value = float(exact)
    if condition.kind == "share":
        if value > 100:
            raise InvalidInput("value", "needs a percentage from 0 to 100")
        value = float(exact / 100)
    elif condition.kind == "cents":
        value = round(value * 100)
    elif condition.kind == "whole":
        if value != int(value):
            raise InvalidInput("value", "needs a whole number")
        value = int(value)
    return (
        {"not": rule | {"op": "=", "value": value}}
        if comparison == "not"
        else rule | {"op": comparison, "value": value}
    )


def _alike(typed_value: str) -> list[str | float | bool]:
    """What a value may be in a trait: the text, and the number or the yes or no that it says."""
    alike: list[str | float | bool] = [typed_value]
    if _NUMBER.fullmatch(typed_value):
        number = float(numeral(typed_value, "value"))
        alike.append(int(number) if number.is_integer() else number)
    elif typed_value.lower() in YES + NO:
        alike.append(typed_value.lower() in YES)
    return alike


def _number(text: str) -> Decimal:
    value = numeral(text, "value", "needs a number for the value")
    if not 0 <= value <= MOST:
        raise InvalidInput("value", "needs a value from 0 to a billion")
    return value


def _shown(node: Any, where: Where) -> dict[str, str] | None:
    match node:
        case {"segment": int(number), **rest} if not rest:
            return dict.fromkeys(FIELDS, "") | {"condition": f"{INSIDE}-{number}"}
        case {"not": {"segment": int(number), **rest}, **beside} if not rest and not beside:
            return dict.fromkeys(FIELDS, "") | {"condition": f"{OUTSIDE}-{number}"}
        case {"not": {"op": "=" | "in", **rest} as inner, **beside} if not beside and "field" in rest:
            row = _shown(inner, where)
            if row is None or BY_KEY[row["condition"]].kind == "yes/no":
                return None
            return row | {"comparison": "not"}
    if not isinstance(node, dict) or not {"field", "op"} <= set(node):
        return None
    found = next((one for one in CONDITIONS if one.is_about(node)), None)
    if found is None or set(node) - {"field", "op", "value", "category", "within_days", "name"}:
        return None
    value = _typed_value(found, node, where)
    if value is None or not isinstance(node.get("category", ""), str):
        return None
    row = dict.fromkeys(FIELDS, "") | {
        "condition": found.key,
        "name": str(node["name"]) if found.named else "",
        "category": str(node.get("category", "")),
        "days": str(node.get("within_days", "")),
        "comparison": "=" if node["op"] == "in" else str(node["op"]),
        "value": value,
    }
    told = dict(node) | ({"name": trait_name(row["name"])} if found.named else {})
    try:
        said = _row({f"{name}-0": typed_value for name, typed_value in row.items()}, 0, where)
    except InvalidInput:
        return None
    return row if said == told else None


def _typed_value(condition: Condition, node: Mapping[str, Any], where: Where) -> str | None:
    """What would have been typed to say a node's value; None where nothing would."""
    op, value = node["op"], node.get("value")
    if op in WITHOUT_VALUE:
        return "" if condition.kind != "yes/no" else None
    if op not in ("in", *dict(COMPARISONS)) or value is None:
        return None
    if op == "in":
        is_alike = isinstance(value, list) and value and isinstance(value[0], str) and value == _alike(value[0])
        return value[0] if is_alike and condition.kind == "any" else None
    if condition.kind == "yes/no":
        return None if op != "=" or not isinstance(value, bool) else "yes" if value else "no"
    if isinstance(value, str) and condition.values:
        return value.replace("_", " ") if op == "=" and value in condition.values else None
    if isinstance(value, str):
        return value if op == "=" and (condition.kind == "text" or _alike(value) == [value]) else None
    if isinstance(value, bool) and condition.kind == "any" and op == "=" and where == "audience":
        return ("yes" if value else "no") if is_identifying(str(node.get("name", ""))) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or (condition.kind == "any" and op == "="):
        return None
    if condition.kind in ("whole", "cents") and not float(value).is_integer():
        return None
    if condition.kind == "cents":
        value = value / 100
    elif condition.kind == "share":
        value = round(value * 100, 6)
    if not 0 <= value <= MOST:
        return None
    return str(int(value)) if float(value).is_integer() else str(value)
