"""Who would get an offer now, and why not more."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from base.errors import InvalidInput
from campaigns import offers
from campaigns.access import allow
from campaigns.parts import parts
from campaigns.takers import SAMPLE, Takers, campaigns_of, takers
from campaigns.views import forms

pages = Blueprint("takers", __name__, url_prefix="/offers")


@pages.get("/<int:offer_id>/takers")
@allow("manager")
def show(offer_id: int) -> ResponseReturnValue:
    """The way of an audience through the layers to this offer, in the campaign that is chosen or the newest."""
    with parts().transaction() as session:
        offer = offers.offer(session, offer_id)
        listed = campaigns_of(session, offer_id)
        wanted = forms.position(request.args, "campaign")
        chosen = next((row for row in listed if row.id == wanted), listed[0] if listed else None)
        found: Takers | None = None
        fault: InvalidInput | None = None
        if chosen is not None:
            try:
                found = takers(
                    session, parts().store, parts().blobs, chosen, offer_id, parts().now(), parts().settings.hash_key
                )
            except InvalidInput as error:
                fault = error
        return render_template(
            "offers/takers.html",
            offer=offer, campaigns=listed, chosen=chosen, found=found, fault=fault, at=parts().now(), sample=SAMPLE,
        )  # fmt: skip
