"""Whom and what a form chose: a customer by number or by a search, a category by its slug."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import InvalidInput, NotFound
from campaigns import customers
from campaigns.parts import parts
from campaigns.views import forms
from signals.catalog import Category


def category(session: Session, slug: str | None) -> int | None:
    """The category's number; None where none is named. Raises InvalidInput."""
    if slug is None:
        return None
    found = session.scalar(select(Category.id).where(Category.slug == slug))
    if found is None:
        raise InvalidInput("bought", f"names the category {slug}, which there is not")
    return found


def person(session: Session, values: Mapping[str, str]) -> int | None:
    """The profile whose number is given, or None for somebody unknown. Raises InvalidInput."""
    number = forms.position(values, "customer")
    if not number:
        return None
    try:
        return customers.root_of(session, number).id
    except NotFound:
        raise InvalidInput("customer", "is nobody we know") from None


def found(session: Session, values: Mapping[str, str]) -> int | None:
    """The profile that the search names; the one shown so far where it names nobody. Raises InvalidInput."""
    query = forms.optional(values, "person")
    if query is None:
        return person(session, values)
    settings = parts().settings
    matches = customers.find(session, query, settings.hash_key, settings.phone_regions)
    if len(matches) != 1:
        raise InvalidInput("person", "names nobody we know" if not matches else "names more than one customer")
    return matches[0].profile


def name_of(session: Session, profile: int | None) -> str:
    """What pages call them."""
    return (
        "somebody unknown" if profile is None else customers.display_name(customers.document(session, profile), profile)
    )
