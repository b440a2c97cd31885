"""What is checked before a campaign goes out, on one page."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from base.errors import InvalidInput
from campaigns import campaigns, scenarios
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.views.campaigns import frame

pages = Blueprint("checks", __name__, url_prefix="/campaigns/<int:campaign_id>/checks")


@pages.get("/")
@allow("manager")
def show(campaign_id: int) -> ResponseReturnValue:
    """The scenarios, asked of the campaign as it is written now."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        try:
            _, verdicts = scenarios.as_written(session, parts().store, parts().blobs, row, parts().now())
        except InvalidInput:
            verdicts = []
        return render_template(
            "campaigns/checks.html",
            **frame(session, row, "checks"),
            scenarios=scenarios.scenarios(session, row.id),
            verdicts={one.scenario: one for one in verdicts},
        )
