"""What a mail would show a person, as the campaign is written now."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec
from flask import Response

from base.clock import check_year
from campaigns import access_log, campaigns, matrix, reach
from campaigns.access import allow
from campaigns.api.desk import Id, LongId, api, served
from campaigns.campaigns import Moment
from campaigns.parts import parts
from campaigns.previewing import WhatIf, shoot
from campaigns.views.acting import actor

MAX_BOUGHT = 20


class PreviewIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For whom, when, and with which categories (by number) bought after all that is known."""

    profile: LongId | None = None
    at: Moment | None = None
    bought: Annotated[list[Id], msgspec.Meta(max_length=MAX_BOUGHT)] = []
    complained: bool = False
    dark: bool = False


class PreviewSlot(msgspec.Struct, frozen=True):
    """What one place would show and why; `picture` are the very bytes an open would be sent, in base64."""

    slot: int
    name: str
    offer: int
    offer_name: str
    why: list[str]
    others: list[str]
    picture: bytes
    sha256: str


class PreviewOut(msgspec.Struct, frozen=True):
    """What every place would show, and the mail around them."""

    slots: list[PreviewSlot]
    html: str


@api.post("/campaigns/<int:campaign_id>/preview")
@allow("manager")
@served(200, PreviewOut, "campaigns", 404)
def preview_campaign(campaign_id: int, json: PreviewIn) -> PreviewOut:
    """What the campaign, as it is written now, would show a person, and why."""
    now = parts().now()
    if json.at is not None:
        check_year(json.at, "at")
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        shot = shoot(
            session,
            parts().store,
            parts().blobs,
            parts().settings.hash_key,
            row,
            json.profile,
            json.at or now,
            WhatIf(bought=tuple(json.bought), complained=json.complained),
            dark=json.dark,
        )
        if json.profile is not None:
            access_log.record(session, actor(), "preview", now, profile_id=json.profile)
    slots = [
        PreviewSlot(
            slot=part.slot,
            name=part.name,
            offer=part.offer,
            offer_name=part.offer_name,
            why=list(part.why),
            others=[other.sentence for other in part.others],
            picture=shot.look.pictures[part.slot],
            sha256=hashlib.sha256(shot.look.pictures[part.slot]).hexdigest(),
        )
        for part in shot.look.explanations
    ]
    return PreviewOut(slots, shot.html)


class VariantOut(msgspec.Struct, frozen=True):
    """An offer in a place. `reachable` null: not told, neither was found. `when` are the circumstances of one
    situation that shows it, beyond the plain ones; `why` is what keeps it from ever being shown."""

    slot: int
    offer: int
    reachable: bool | None
    when: list[str]
    why: str


class Matrix(msgspec.Struct, frozen=True):
    """Every offer of every place of a campaign as it is written now."""

    variants: list[VariantOut]


class VariantLook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a variant is looked at."""

    locale: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=40)] = "en"
    dark: bool = False
    scale: Literal[1, 2] = 2


@api.get("/campaigns/<int:campaign_id>/matrix")
@allow("manager")
@served(200, Matrix, "campaigns", 404)
def get_matrix(campaign_id: int) -> Matrix:
    """What each place can ever show, and why the rest cannot."""
    with parts().transaction() as session:
        plan, found = matrix.of_campaign(session, campaign_id, parts().now())
    return Matrix(
        [
            VariantOut(one.slot, one.offer, one.reachable, [reach.words(plan, *fact) for fact in one.when], one.why)
            for one in found
        ]
    )


@api.get("/campaigns/<int:campaign_id>/matrix/<int:slot>/<int:offer_id>/picture")
@allow("manager")
@served(200, None, "campaigns", 404)
def get_variant_picture(campaign_id: int, slot: int, offer_id: int, query: VariantLook) -> Response:
    """One offer in one place, drawn as an open draws it (JPEG)."""
    with parts().transaction() as session:
        body = matrix.picture(
            session, parts().blobs, campaign_id, slot, offer_id, parts().now(),
            locale=query.locale, dark=query.dark, scale=query.scale,
        )  # fmt: skip
    return Response(body, content_type="image/jpeg")
