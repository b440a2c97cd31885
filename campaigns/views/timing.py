"""Parts of the schedule page: the instant of a wall time as it is typed, and the waves of recipients' clocks."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from campaigns import campaigns, runs, timing, timingform, transitions, wallclock, waves, windows
from campaigns.access import allow
from campaigns.models import Campaign
from campaigns.parts import parts
from campaigns.views import forms

pages = Blueprint("timing", __name__, url_prefix="/campaigns")
UPCOMING = 5
"""Coming runs of a recurring campaign that the page shows."""


@pages.get("/<int:campaign_id>/schedule/instant")
@allow("manager")
def instant(campaign_id: int) -> ResponseReturnValue:
    """What instant a wall time is, by the rule for clocks that are put forward or back."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        try:
            zone = wallclock.zone(forms.text(request.args, "timezone") or row.timezone, "timezone")
            value = forms.text(request.args, "due_at")
            meant = transitions.meant(row, wallclock.parse(value, "due_at"), zone) if value else None
        except InvalidInput as error:
            return render_template("campaigns/instant.html", campaign=row, meant=None, wrong=error)
        return render_template("campaigns/instant.html", campaign=row, meant=meant, wrong=None)


@pages.get("/<int:campaign_id>/waves")
@allow("manager")
def listed(campaign_id: int) -> ResponseReturnValue:
    """The waves of the newest run, as its ledger has them."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        return render_template("campaigns/waves.html", campaign=row, waves=waves.listing(session, row.id))


def shown(session: Session, row: Campaign) -> dict[str, Any]:
    """What the schedule page tells of a campaign's timing."""
    plan, now = timing.of(row.timing), parts().now()
    meant = runs.scheduled(row)
    ends = wallclock.of_instant(row.ends_at, row.timezone) if row.ends_at is not None else None
    return {
        "plan": plan,
        "meant": meant,
        "wall": wallclock.typed(meant.wall) if meant is not None else "",
        "ends": wallclock.typed(ends.wall.replace(second=0)) if ends is not None else "",
        "sentences": timingform.words(row),
        "choices": timingform,
        "coming": runs.upcoming(row, now, UPCOMING),
        "runs": runs.listing(session, row.id),
        "closed": windows.closed_until(row, now),
        "by_clocks": plan.clocks == "recipient",
        "zones": wallclock.zones(),
    }
