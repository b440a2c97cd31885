"""What goes with what: what stored orders say of products and categories, and what is set by hand."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from base.errors import Conflict, InvalidInput
from campaigns import relations
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.relations import ByHandIn
from campaigns.views import forms
from campaigns.views.acting import actor
from render.relations import LEAST_PEOPLE
from signals.catalog import Category

pages = Blueprint("relations", __name__, url_prefix="/relations")


@pages.get("/")
@allow("manager")
def index() -> ResponseReturnValue:
    """What opens go by: pairs, intervals, the most bought products, and what is set by hand."""
    return _page(None, {})


@pages.post("/")
@allow("manager")
def add() -> ResponseReturnValue:
    """Set something by hand."""
    form = request.form
    try:
        content = {
            "kind": forms.text(form, "kind"),
            "category": forms.text(form, "category"),
            "other": forms.optional(form, "other"),
            "days": forms.whole(form, "days"),
        }
        with parts().transaction() as session:
            relations.set_by_hand(session, parts().blobs, forms.content(content, ByHandIn), parts().now(), actor())
    except (InvalidInput, Conflict) as error:
        return _page(error, form), 400
    flash("Set. Mails that are opened go by it within seconds.")
    return redirect(url_for("relations.index"))


@pages.post("/<int:relation_id>/remove")
@allow("manager")
def remove(relation_id: int) -> ResponseReturnValue:
    """Take back what was set by hand."""
    with parts().transaction() as session:
        relations.remove_by_hand(session, parts().blobs, relation_id, parts().now(), actor())
    flash("Taken back. What was learnt holds again.")
    return redirect(url_for("relations.index"))


def _page(fault: InvalidInput | Conflict | None, values: Mapping[str, str]) -> str:
    with parts().transaction() as session:
        names = session.execute(select(Category.slug, Category.name, Category.sensitive).order_by(Category.name)).all()
        return render_template(
            "offers/relations.html",
            seen=relations.seen(session, parts().blobs),
            is_due=relations.is_due(session, parts().now()),
            by_hand=relations.by_hand(session),
            names={row.slug: row.name for row in names},
            choosable=[row for row in names if not row.sensitive],
            least=LEAST_PEOPLE,
            fault=fault,
            values=values,
        )
