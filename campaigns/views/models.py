"""Models: the registry, what is known of each, and each campaign's way with them."""

from __future__ import annotations

from typing import get_args

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from base.errors import Conflict, InvalidInput, NotFound
from campaigns import campaigns, people, registry, rollout
from campaigns.access import allow
from campaigns.gate import LEAST_EFFECTIVE, LEAST_ORDERS, MARGIN
from campaigns.models.campaign import Campaign
from campaigns.parts import parts
from campaigns.rollout import Action, Step
from campaigns.views import forms
from campaigns.views.acting import actor

pages = Blueprint("models", __name__, url_prefix="/models")
SHARES = (5, 10, 20, 50)
LISTED_STEPS = 20
DONE = {
    "shadow": "It decides along from now on, and nobody sees what it chooses.",
    "canary": "It decides its share of the mails from now on.",
    "live": "It decides from now on, in mails already sent too.",
    "rollback": "What was live before decides again, in mails already sent too.",
    "stop": "It is off trial.",
    "rules": "The rules decide from now on.",
}


@pages.get("/")
@allow("manager")
def index() -> ResponseReturnValue:
    """Where models decide, every model, and the latest steps."""
    with parts().transaction() as session:
        return render_template(
            "models/index.html",
            places=registry.places(session, parts().now()),
            entries=registry.listed(session, parts().now()),
            steps=rollout.moves(session)[:LISTED_STEPS],
            runs=registry.runs(session),
            **_words(session),
        )


@pages.get("/<model>")
@allow("manager")
def show(model: str) -> ResponseReturnValue:
    """How good a model is, what it goes by, where it decides, and how far the world has moved from it."""
    with parts().transaction() as session:
        row = rollout.trained(session, model)
        places = [place for place in registry.places(session, parts().now()) if place.stage(row.hash)]
        return render_template(
            "models/show.html",
            row=row,
            places=places,
            steps=rollout.moves(session, digest=row.hash)[:LISTED_STEPS],
            drift=registry.drift(session, row.hash),
            held=registry.held(session, row),
            **_words(session),
        )


@pages.get("/campaigns/<int:campaign_id>")
@allow("manager")
def campaign(campaign_id: int) -> ResponseReturnValue:
    """What decides one campaign, what is on trial in it, and the buttons that change that."""
    with parts().transaction() as session:
        return _campaign_page(session, campaigns.campaign(session, campaign_id), None)


@pages.post("/campaigns/<int:campaign_id>")
@allow("manager")
def act(campaign_id: int) -> ResponseReturnValue:
    """Do what the pressed button says; a refusal is shown on the page and changes nothing."""
    try:
        step = _step()
        with parts().transaction() as session:
            rollout.take(session, parts().store, parts().blobs, campaign_id, step, parts().now(), actor())
    except (InvalidInput, Conflict, NotFound) as error:
        with parts().transaction() as session:
            return _campaign_page(session, campaigns.campaign(session, campaign_id), error), 400
    flash(DONE[step.action])
    return redirect(url_for("models.campaign", campaign_id=campaign_id))


def _step() -> Step:
    form = request.form
    action: Action | None = next((one for one in get_args(Action) if one == form.get("do")), None)
    if action is None:
        raise InvalidInput("do", "asks for something that is not known")
    share = forms.whole(form, "share") if action == "canary" else None
    return Step(
        action=action,
        model=forms.optional(form, "model"),
        share=None if share is None else share / 100,
        reason=forms.text(form, "reason", most=rollout.LONGEST_REASON),
    )


def _campaign_page(session: Session, row: Campaign, fault: InvalidInput | Conflict | NotFound | None) -> str:
    place = registry.place(session, row, parts().now())
    known = {place.live, place.canary, place.shadow}
    return render_template(
        "models/campaign.html",
        campaign=row,
        place=place,
        choices=[model for model in registry.models(session) if model.hash not in known],
        wants_model=any(choice["mode"] == "model" for choice in row.slots),
        by_effect=(row.arbitration or {}).get("effect", False),
        knows_effects=place.live is not None and registry.knows_effects(session, place.live),
        steps=rollout.moves(session, campaign_id=row.id)[:LISTED_STEPS],
        shares=SHARES,
        margin=MARGIN,
        least=(LEAST_EFFECTIVE, LEAST_ORDERS),
        values=request.form,
        fault=fault,
        **_words(session),
    )


def _words(session: Session) -> dict[str, object]:
    return {
        "names": people.names(session),
        "titles": registry.campaign_names(session),
        "step_words": registry.step_words,
    }
