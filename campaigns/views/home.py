"""The home page."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from flask_login import current_user

from campaigns.access import allow
from campaigns.overview import overview
from campaigns.parts import parts
from campaigns.views import approvals, customers

pages = Blueprint("home", __name__)


@pages.get("/")
@allow("manager", "support", "approver")
def index() -> ResponseReturnValue:
    """What goes out next, what is live, what needs a person. Support starts at the search, approvers with theirs."""
    if not current_user.may("manager"):
        return customers.index() if current_user.may("support") else approvals.index()
    with parts().transaction() as session:
        return render_template("home.html", view=overview(session, parts().now()))
