"""Shops that tell of orders by webhook: connecting one, and what came of what each tells."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from base.errors import InvalidInput
from campaigns import shops
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.views import forms
from campaigns.views.acting import actor

pages = Blueprint("shops", __name__, url_prefix="/system/shops")


@pages.get("/")
@allow("admin")
def show() -> ResponseReturnValue:
    """The shops, and the form for another."""
    return _page(None, {})


@pages.post("/")
@allow("admin")
def add() -> ResponseReturnValue:
    """Connect a shop; its address stays on the page, its secret is shown this once."""
    form = request.form
    try:
        with parts().transaction() as session:
            number, _, secret = shops.add_shop(
                session, parts().settings, forms.text(form, "name"), form.get("platform", ""), parts().now(), actor(),
                secret=forms.text(form, "secret"), currency=forms.text(form, "currency") or "EUR",
                prefix=forms.text(form, "prefix"),
            )  # fmt: skip
    except InvalidInput as error:
        return _page(error, form), 400
    return _page(None, {}, made=number, secret=secret)


def _page(fault: InvalidInput | None, values: Mapping[str, str], made: int = 0, secret: str = "") -> str:
    with parts().transaction() as session:
        return render_template(
            "system/shops.html",
            shops=shops.connected(session, parts().settings),
            names=shops.NAMES,
            topics=shops.TOPICS,
            fault=fault,
            values=values,
            made=made,
            secret=secret,
        )
