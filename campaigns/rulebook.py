"""Rules as managers keep them: checked when they are saved, with segments by id and categories by slug."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from campaigns.models.campaign import Segment
from signals import rules
from signals.catalog import Category
from signals.rulejson import below, whole
from signals.rules import MOST_SEGMENT

MAX_NESTING: Final = 5
"""Segments inside segments; a circle is found long before."""
Where = Literal["audience", "eligibility"]


def categories(session: Session) -> dict[str, int]:
    """Every category's number by its slug."""
    rows = session.execute(select(Category.slug, Category.id).order_by(Category.slug))
    return {row.slug: row.id for row in rows}


def sensitive(session: Session) -> tuple[int, ...]:
    """The numbers of the sensitive categories, ascending."""
    return tuple(session.scalars(select(Category.id).where(Category.sensitive).order_by(Category.id)))


def check(session: Session, rule: Mapping[str, Any], where: Where, field: str, of: int | None = None) -> rules.Rule:
    """The rule, read. Raises InvalidInput whose field begins with `field` and goes on with the path in the rule.

    Opens ask a person's state of which segments they are in, so for them segments are looked up but stay as they are.
    `of`: the segment that has the rule, which must not be within it.
    """
    meant = _expanded(session, dict(rule), field, () if of is None else (of,))
    try:
        return rules.parse(meant if where == "audience" else dict(rule), categories(session), where=where)
    except InvalidInput as error:
        path = f"{field}.{error.field}" if error.field else field
        raise InvalidInput(path, error.message) from None


def is_for_audiences(session: Session, rule: Mapping[str, Any]) -> bool:
    """Whether the database can answer a rule, which opens can."""
    try:
        check(session, rule, "audience", "rule")
    except InvalidInput:
        return False
    return True


def expanded(session: Session, rule: Mapping[str, Any], field: str = "audience") -> dict[str, Any]:
    """The rule with each segment replaced by that segment's own rule, as it is now. Raises InvalidInput."""
    return _expanded(session, dict(rule), field, ())


def _expanded(session: Session, node: dict[str, Any], path: str, within: tuple[int, ...]) -> dict[str, Any]:
    """The node at this path; all that is within a segment is at the path of that segment."""
    if "segment" in node:
        return _segment(session, node["segment"], path if within else below(path, "segment"), within)
    result = dict(node)
    for name in ("all", "any"):
        if isinstance(node.get(name), list):
            result[name] = [
                _expanded(session, child, path if within else f"{below(path, name)}[{index}]", within)
                if isinstance(child, dict)
                else child
                for index, child in enumerate(node[name])
            ]
    if isinstance(node.get("not"), dict):
        result["not"] = _expanded(session, node["not"], path if within else below(path, "not"), within)
    return result


def _segment(session: Session, number: object, path: str, within: tuple[int, ...]) -> dict[str, Any]:
    found = session.get(Segment, whole(number, path, 1, MOST_SEGMENT))
    if found is None:
        raise InvalidInput(path, f"names the segment {number}, which there is not")
    if found.id in within:
        raise InvalidInput(path, f"the segment {found.name} contains itself")
    if len(within) >= MAX_NESTING:
        raise InvalidInput(path, f"has segments within segments more than {MAX_NESTING} deep")
    return _expanded(session, dict(found.rule), path, (*within, found.id))
