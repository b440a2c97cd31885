"""The next best offer in a call or a chat, for programs that agents work with."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from campaigns import access_log, calls, customers
from campaigns.access import allow
from campaigns.api.desk import Id, api, served
from campaigns.calls import Channel, Contact, Request
from campaigns.parts import parts
from campaigns.views.acting import actor
from render.outcome import OutcomeOut


class ContactQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which contact. `request` tells it from others, as a call's number does; empty: one that begins now."""

    campaign: Id
    channel: Channel = "call"
    request: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:-]{0,64}$")] = ""


class SaidIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the person said in a contact to the offer that was read out for a place."""

    campaign: Id
    request: Request
    slot: Annotated[int, msgspec.Meta(ge=0, le=254)]
    offer: Id
    outcome: Literal["taken", "refused"]
    channel: Channel = "call"


class AdviceOut(msgspec.Struct, frozen=True):
    """What to offer in one place; `offer` null: nothing. `chance` is 0 to 1, `worth` cents a showing, null where no
    model scored it. `texts` and `because` can be read aloud; `why` and `others` are for the agent."""

    slot: int
    place: str
    offer: int | None
    name: str
    chance: float | None
    worth: float | None
    texts: list[str]
    because: str
    why: list[str]
    others: list[str]
    said: str | None


class AdviceList(msgspec.Struct, frozen=True):
    """What `/v1/decide` would answer in this contact at this instant, place by place."""

    profile: int
    request: str
    places: list[AdviceOut]


@api.get("/customers/<long:profile>/offer")
@allow("support")
@served(200, AdviceList, "customers", 404)
def get_next_offer(profile: int, query: ContactQuery) -> AdviceList:
    """The next best offer for a customer in a call or a chat; looking uses nothing up and records nothing shown."""
    contact = Contact(query.campaign, query.channel, query.request or calls.begin())
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        calls.campaign(session, contact.campaign)
        _, places = calls.advice(parts().store, parts().blobs, root.id, contact, parts().now())
        detail = {"campaign": contact.campaign}
        access_log.record(session, actor(), "next offer", parts().now(), profile_id=root.id, detail=detail)
        number = root.id
    return AdviceList(
        number,
        contact.request,
        [
            AdviceOut(
                one.slot, one.place, one.offer, one.name, one.chance, one.worth, list(one.texts), one.because,
                list(one.why.why), [other.sentence for other in one.why.others], one.said,
            )
            for one in places
        ],
    )  # fmt: skip


@api.post("/customers/<long:profile>/offer")
@allow("support")
@served(200, OutcomeOut, "customers", 404, 409)
def tell_next_offer(profile: int, json: SaidIn) -> OutcomeOut:
    """Make the offer that was read out, and keep once whether it was taken: for caps, rests and learning."""
    contact = Contact(json.campaign, json.channel, json.request)
    with parts().transaction() as session:
        root = customers.root_of(session, profile)
        calls.campaign(session, contact.campaign)
        return calls.tell(
            session, parts().endpoint, parts().store, parts().blobs, root.id, contact, json.slot, json.offer,
            json.outcome, parts().now(), actor(),
        )  # fmt: skip
