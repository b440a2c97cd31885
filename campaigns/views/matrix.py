"""The matrix: every offer of every place of a campaign, with its picture, and why some can never be shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue

from base.errors import InvalidInput
from campaigns import campaigns, matrix, reach
from campaigns.access import allow
from campaigns.conditions import TIME
from campaigns.parts import parts
from campaigns.presenting import moment
from campaigns.reach import Variant
from campaigns.views.campaigns import frame
from render.plan import Plan, digest, encode

PICTURE_SECONDS: Final = 300
pages = Blueprint("matrix", __name__, url_prefix="/campaigns/<int:campaign_id>/matrix")


@pages.get("/")
@allow("manager")
def show(campaign_id: int) -> ResponseReturnValue:
    """Every variant of every place as it is written now, in a locale, light and dark, with pictures or without."""
    locale, scale = _locale(), _scale()
    with parts().transaction() as session:
        told = {"locale": locale, "scale": scale, "locales": matrix.LOCALES, "off": "off" in request.args}
        told |= frame(session, campaigns.campaign(session, campaign_id), "offers")
        try:
            plan, found = matrix.of_campaign(session, campaign_id, parts().now())
        except InvalidInput as error:
            return render_template("campaigns/matrix.html", **told, fault=error.message)
        by_slot = {slot: [one for one in found if one.slot == slot.index] for slot in plan.slots}
        version = digest(encode(plan))[:16]
        return render_template("campaigns/matrix.html", **told, plan=plan, by_slot=by_slot, when=when, version=version)


@pages.get("/<int:slot>/<int:offer_id>.jpg")
@allow("manager")
def picture(campaign_id: int, slot: int, offer_id: int) -> ResponseReturnValue:
    """One offer in one place, drawn. The page names it by what the campaign says, so a browser need not ask again for
    a while: only prices, stock and countdowns may have gone on."""
    with parts().transaction() as session:
        body = matrix.picture(
            session, parts().blobs, campaign_id, slot, offer_id, parts().now(),
            locale=_locale(), dark="dark" in request.args, scale=_scale(),
        )  # fmt: skip
    response = Response(body, content_type="image/jpeg")
    if "version" in request.args:
        response.cache_control.private = True
        response.cache_control.max_age = PICTURE_SECONDS
    return response


def when(plan: Plan, variant: Variant) -> str:
    """One situation of many that shows a variant, as a phrase; "to anybody" where nothing special is needed."""
    told = []
    for variable, value in variant.when:
        if variable == TIME:
            told.append(f"from {moment(datetime.fromtimestamp(value / 1000, UTC))}")
        else:
            told.append(reach.words(plan, variable, value))
    return f"for example {', '.join(told)}" if told else "to anybody"


def _locale() -> str:
    locale = request.args.get("locale", "en")
    return locale if locale in matrix.LOCALES else "en"


def _scale() -> int:
    return 1 if request.args.get("scale") == "1" else 2
