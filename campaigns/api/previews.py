"""What a mail would show a person, as the campaign is written now."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec

from campaigns import access_log, campaigns
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
