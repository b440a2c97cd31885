"""The tracking plan: which events a shop sends, what their properties must be, and sources that send no others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select

from base.errors import InvalidInput
from campaigns import people
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.views import forms
from campaigns.views.acting import actor
from signals.events import RejectedEvent
from signals.signal import NAME_LENGTH
from signals.sources import sources
from signals.trackingplan import (
    MOST_VALUES,
    TYPE_WORDS,
    Definition,
    Property,
    PropertyType,
    definition,
    is_name,
    planned,
)

ROWS: Final = 8
"""Lines for properties on the form beyond those that are there."""
MOST_ROWS: Final = 100
PARTS: Final = ("p", "values", "least", "most", "required")
"""What of a line, before its number, says that something stands in it; its type always does."""
_VALUE: Final = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*|([^,]*))(?:,|\Z)')
"""One of several values, in quotes or bare."""
_LONGEST: Final = MOST_VALUES * (2 * NAME_LENGTH + 4)
"""Characters of the values of a line: each in quotes, with its own quotes doubled."""
pages = Blueprint("trackingplan", __name__, url_prefix="/system/tracking-plan")


@pages.get("/")
@allow("admin")
def show() -> ResponseReturnValue:
    """The plan; one of its events in the form, where the address names it."""
    return _page(None, {})


@pages.post("/")
@allow("admin")
def save() -> ResponseReturnValue:
    """Say what an event must be."""
    form = request.form
    try:
        with parts().transaction() as session:
            row = people.plan_event(session, forms.text(form, "name"), _definition(form), parts().now(), actor())
            name = row.name
    except InvalidInput as error:
        return _page(_at_its_line(error, form), form), 400
    flash(f"“{name}” goes by this within a second.")
    return redirect(url_for("trackingplan.show"))


@pages.post("/<int:number>/remove")
@allow("admin")
def remove(number: int) -> ResponseReturnValue:
    """Take an event out of the plan."""
    with parts().transaction() as session:
        people.unplan_event(session, number, parts().now(), actor())
    flash("It is not in the plan any more.")
    return redirect(url_for("trackingplan.show"))


@pages.post("/sources/<int:source_id>")
@allow("admin")
def close(source_id: int) -> ResponseReturnValue:
    """Take only planned events of a source, or any again."""
    closed = forms.on(request.form, "closed")
    with parts().transaction() as session:
        people.close_source(session, source_id, parts().now(), actor(), closed=closed)
    flash("Of its own events only planned ones are taken now." if closed else "Any event of it is taken now.")
    return redirect(url_for("trackingplan.show"))


def _at_its_line(fault: InvalidInput, form: Mapping[str, str]) -> InvalidInput:
    """The fault of a property by the name of its line's field."""
    for row in range(MOST_ROWS):
        if fault.field == f"properties.{forms.text(form, f'p{row}')}":
            return InvalidInput(f"p{row}", fault.message)
    return fault


def _definition(form: Mapping[str, str]) -> Definition:
    """The properties of the form's lines; an empty line is none. Raises InvalidInput naming the property."""
    properties = {}
    for row in range(MOST_ROWS):
        name = forms.text(form, f"p{row}")
        if not name:
            if any(forms.text(form, f"{part}{row}") for part in PARTS[1:]):
                raise InvalidInput(f"p{row}", "must be named")
            continue
        if not is_name(name):
            raise InvalidInput(f"p{row}", f"must have 1 to {NAME_LENGTH} characters")
        if name in properties:
            raise InvalidInput(f"p{row}", "is named twice")
        kind = form.get(f"type{row}", "text")
        if kind not in TYPE_WORDS:
            raise InvalidInput(f"type{row}", "must be a type of the list")
        type_ = cast(PropertyType, kind)
        values = _parted(forms.text(form, f"values{row}", most=_LONGEST), f"values{row}")
        properties[name] = Property(
            type=type_,
            required=forms.on(form, f"required{row}"),
            values=[_value(type_, value, f"values{row}") for value in values],
            least=forms.number(form, f"least{row}"),
            most=forms.number(form, f"most{row}"),
        )
    return forms.content({"properties": properties, "strict": forms.on(form, "strict")}, Definition)


def listed(values: Iterable[object]) -> str:
    """Values with commas between; one that has a comma, a quote or a blank at an end itself is in quotes."""
    return ", ".join(map(_quoted, map(str, values)))


def _quoted(value: str) -> str:
    if value and value == value.strip() and "," not in value and '"' not in value:
        return value
    doubled = value.replace('"', '""')
    return f'"{doubled}"'


def _parted(text: str, field: str) -> Iterator[str]:
    """The values of a text such as `listed` makes. Raises InvalidInput for the field."""
    for found in _VALUE.finditer(text):
        if found[1] is not None:
            yield found[1].replace('""', '"')
        elif (bare := found[2].strip()).startswith('"'):
            raise InvalidInput(field, "must have a quote at both ends of a value that begins with one")
        elif bare:
            yield bare


def _value(type_: PropertyType, text: str, field: str) -> str | int | float:
    if type_ not in ("number", "whole"):
        return text
    try:
        return int(text) if type_ == "whole" else float(text)
    except ValueError:
        raise InvalidInput(field, "must be numbers, with commas between") from None


def _page(fault: InvalidInput | None, values: Mapping[str, str]) -> str:
    chosen = forms.position(request.args, "event")
    with parts().transaction() as session:
        rows = [(row, definition(row)) for row in planned(session)]
        waiting: dict[Any, int] = dict(
            session.execute(
                select(func.lower(RejectedEvent.name), func.count())
                .where(RejectedEvent.reason == "plan", RejectedEvent.replayed_at.is_(None))
                .group_by(func.lower(RejectedEvent.name))
            ).all()
        )
        shown = dict(values) if fault is not None else {}
        for row, wanted in rows:
            if fault is None and row.id == chosen:
                shown = _values(row.name, wanted or Definition())
        used = [row for row in range(MOST_ROWS) if any(shown.get(f"{part}{row}") for part in PARTS)]
        return render_template(
            "system/trackingplan.html",
            events=rows,
            waiting=waiting,
            sources=sources(session),
            types=TYPE_WORDS,
            listed=listed,
            most=MOST_ROWS,
            lines=range(min(MOST_ROWS, max(used, default=-1) + 1 + ROWS)),
            values=shown,
            fault=fault,
        )


def _values(name: str, wanted: Definition) -> dict[str, str]:
    """An event of the plan as its form holds it."""
    values = {"name": name} | ({"strict": "1"} if wanted.strict else {})
    for row, (named, one) in enumerate(wanted.properties.items()):
        values |= {f"p{row}": named, f"type{row}": one.type, f"values{row}": listed(one.values)}
        values |= {f"required{row}": "1"} if one.required else {}
        values |= {f"{bound}{row}": f"{at:.15g}" for bound, at in (("least", one.least), ("most", one.most))
                   if at is not None}  # fmt: skip
    return values
