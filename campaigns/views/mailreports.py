"""What came back of mails: how many reports by each way and what became of them, and how many addresses get no mail."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from campaigns import mailreports
from campaigns.access import allow
from campaigns.parts import parts

pages = Blueprint("mailreports", __name__, url_prefix="/system")


@pages.get("/mail-reports")
@allow("admin")
def show() -> ResponseReturnValue:
    """The last thirty days."""
    with parts().transaction() as session:
        intake = mailreports.intake(session, parts().settings, parts().now())
    return render_template("system/mailreports.html", intake=intake)
