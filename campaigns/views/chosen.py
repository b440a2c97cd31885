"""Whom and what a form chose: a customer by number or by a search, a category by its slug."""

from __future__ import annotations

from collections.abc import Mapping

from flask import render_template, request
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import InvalidInput, NotFound
from campaigns import access_log, customers
from campaigns.customers import Found
from campaigns.parts import parts
from campaigns.views import forms
from campaigns.views.acting import actor
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
    matches = search(query)
    if len(matches) != 1:
        raise InvalidInput("person", "names nobody we know" if not matches else "names more than one customer")
    return matches[0].profile


def asked(profile: int, does: str) -> str:
    """The page that shows whom the words in `other` name, and asks before anything is done: the form that follows says
    whom by `chosen`. `does`: merge, or household. Raises InvalidInput where they name nobody else."""
    matches = _named()
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        found = [one for one in matches if one.profile != root.id]
        if not found:
            raise InvalidInput("other", "is the same customer already" if matches else "names nobody we know")
        access_log.record_all(session, actor(), does, parts().now(), [root.id, *(one.profile for one in found)])
        return render_template(
            "customers/asked.html",
            does=does,
            profile=root,
            name=name_of(session, root.id),
            found=found,
            names={one: customers.names(session, one) for one in (root.id, *(each.profile for each in found))},
            values=request.form,
        )


def _named() -> list[Found]:
    """Everybody whom the words in `other` name. A bare number is one of a page too, so that whoever has it as a
    customer number and whoever has it as a page are both told of. Raises InvalidInput."""
    query = forms.text(request.form, "other", most=customers.MAX_QUERY)
    if not query:
        raise InvalidInput("other", "type a customer number, e-mail address, phone number or order number")
    return search(query, f"customer {query}") if query.isdecimal() else search(query)


def search(*queries: str) -> list[Found]:
    """Everybody whom one of these names. Leaves a line in the access log, also where that is nobody. Raises
    InvalidInput."""
    settings = parts().settings
    found: dict[int, Found] = {}
    with parts().transaction() as session:
        for query in queries:
            for one in customers.find(session, query, settings.hash_key, settings.phone_regions):
                found.setdefault(one.profile, one)
        access_log.record(session, actor(), "search", parts().now(), detail={"found": len(found)})
    return list(found.values())


def name_of(session: Session, profile: int | None) -> str:
    """What pages call them."""
    return (
        "somebody unknown" if profile is None else customers.display_name(customers.document(session, profile), profile)
    )
