"""The arms of a campaign: versions of its offers and creatives that are tried against each other."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput
from campaigns import campaigns, creatives, offers
from campaigns.access import allow
from campaigns.campaigns import ArmIn, Swap
from campaigns.models import Campaign, Offer
from campaigns.parts import parts
from campaigns.views import forms
from campaigns.views.acting import actor
from campaigns.views.campaigns import frame
from render.arms import MAX_ARMS

pages = Blueprint("arms", __name__, url_prefix="/campaigns/<int:campaign_id>/arms")
ROWS = 4
"""Arms that the form has room for; the API takes more."""
WITHOUT = "without"


@pages.get("/")
@allow("manager")
def show(campaign_id: int) -> ResponseReturnValue:
    """The arms: what each leaves out, and what it shows in another design."""
    with parts().transaction() as session:
        return _page(session, campaigns.campaign(session, campaign_id), None)


@pages.post("/")
@allow("manager")
def save(campaign_id: int) -> ResponseReturnValue:
    """Keep the arms; without any name there are none."""
    try:
        with parts().transaction() as session:
            row = campaigns.campaign(session, campaign_id)
            arms = _arms(request.form, _shown(session, row))
            content = forms.changed(campaigns.content(row), arms=arms)
            campaigns.update_campaign(session, row.id, content, parts().now(), actor())
    except (InvalidInput, Conflict) as error:
        with parts().transaction() as session:
            return _page(session, campaigns.campaign(session, campaign_id), error), 400
    flash("The arms are saved." if arms else "There are no arms: everybody gets the same version.")
    return redirect(url_for("arms.show", campaign_id=campaign_id))


def _page(session: Session, row: Campaign, fault: InvalidInput | Conflict | None) -> str:
    kept = [] if fault is not None else row.arms
    values: dict[str, str] = dict(request.form) if fault is not None else {}
    for number, arm in enumerate(kept):
        values[f"name-{number}"], values[f"share-{number}"] = arm["name"], f"{100 * arm['share']:g}"
        values |= {f"look-{number}-{offer}": WITHOUT for offer in arm["without"]}
        values |= {f"look-{number}-{swap['offer']}": str(swap["creative"]) for swap in arm["creatives"]}
    return render_template(
        "campaigns/arms.html",
        **frame(session, row, "offers"),
        fault=fault,
        values=values,
        rows=range(max(ROWS, len(row.arms))),
        shown=_shown(session, row),
        designs=creatives.creatives(session),
    )


def _shown(session: Session, row: Campaign) -> list[Offer]:
    """The offers that any place may show, each once, in their order."""
    numbers = dict.fromkeys(offer for choice in row.slots for offer in choice["offers"])
    return [offers.offer(session, number) for number in numbers]


def _arms(form: Mapping[str, str], shown: list[Offer]) -> list[ArmIn]:
    made = []
    for number in range(MAX_ARMS):
        name = forms.text(form, f"name-{number}")
        if not name:
            continue
        looks = {offer.id: form.get(f"look-{number}-{offer.id}", "") for offer in shown}
        made.append(
            ArmIn(
                name=name,
                share=forms.share(form, f"share-{number}"),
                without=[offer for offer, look in looks.items() if look == WITHOUT],
                creatives=[Swap(offer=offer, creative=int(look)) for offer, look in looks.items() if look.isdecimal()],
            )
        )
    return made
