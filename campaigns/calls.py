"""The next best offer in a call or a chat: what `/v1/decide` would answer at this instant, and what the person says.

Looking writes nothing and uses no cap. The decision is made and recorded, by the endpoint's own code, once the agent
tells what the person said to it; from then on it counts as every shown offer does.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.clock import monotonic
from base.errors import Conflict, InvalidInput, NotFound, Unavailable
from base.stores import Store
from base.tokens import WHOLE_MAIL
from campaigns import admin_log
from campaigns.admin_log import Actor
from campaigns.endpoint import Endpoint
from campaigns.models import Campaign
from campaigns.scenes import Scene, beside, contact_scene
from campaigns.standing import Standing, stand
from render.contact import DecideIn, DecideOut, decide_for, mint_profile
from render.explanation import SlotExplanation
from render.facts import Answer as Said
from render.outcome import OutcomeIn, OutcomeOut, answer_in, keep
from render.plan import Offer, Plan, Slot
from render.respond import Answer

Channel = Literal["call", "chat"]
CHANNELS: Final[tuple[Channel, ...]] = ("call", "chat")
MAX_CAMPAIGNS: Final = 100
READ_ALOUD: Final = (
    "offer.eyebrow", "offer.headline", "offer.body", "offer.badge", "offer.coupon", "product.name", "product.price",
)  # fmt: skip
"""The texts of an offer that an agent can say, in the order in which they are read."""
_PICKED: Final = {
    "complement": "It goes with what you bought of late.",
    "also-bought": "Many who bought what you have bought this too.",
    "popular": "Many of our customers buy it.",
    "upgrade": "It is the next better version of what you have.",
}
_KINDS: Final = {
    "thank-you": "It is to thank you.",
    "service": "We would like to put right what went wrong.",
    "volume": "It costs less if you take more than one.",
    "bundle": "It costs less together.",
}
Request = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
Told = TypeVar("Told")


class Contact(Struct, frozen=True):
    """One call or chat with a person about a campaign. `request` tells it from others, as a call's number does."""

    campaign: int
    channel: Channel
    request: Request


@dataclass(frozen=True)
class Advice:
    """What to offer in one place. `offer` None: there is nothing to offer.

    `because` is a reason that the agent can give, `why` the decision's own. `chance` (0 to 1) and `worth` (cents a
    showing) are None where no model scored it. `said` is what the person said to it in this contact, if they did.
    """

    slot: int
    place: str
    offer: int | None
    name: str
    chance: float | None
    worth: float | None
    texts: tuple[str, ...]
    because: str
    why: SlotExplanation
    said: Said | None


def begin() -> str:
    """The name of a contact that nobody named."""
    return secrets.token_hex(8)


def campaigns(session: Session) -> list[Campaign]:
    """The campaigns whose offers can be made in a call, the newest first, at most MAX_CAMPAIGNS: live, and followed."""
    query = (
        select(Campaign)
        .where(Campaign.plan_hash.is_not(None), ~Campaign.killed, Campaign.tracking == "identified")
        .order_by(Campaign.id.desc())
        .limit(MAX_CAMPAIGNS)
    )
    return list(session.scalars(query))


def campaign(session: Session, campaign_id: int) -> Campaign:
    """One of `campaigns`. Raises NotFound for one whose offers cannot be made in a call."""
    row = session.get(Campaign, campaign_id)
    if row is None or row.plan_hash is None or row.killed or row.tracking != "identified":
        raise NotFound("campaign that is live and follows people", campaign_id)
    return row


def advice(
    store: Store, blobs: FolderBlobs, profile: int, contact: Contact, now: datetime
) -> tuple[Scene, list[Advice]]:
    """What to offer, place by place; places without offers are left out. Raises NotFound where nothing is live."""
    scene = contact_scene(store, blobs, profile, contact.campaign, (contact.channel, "", contact.request), now)
    return scene, [_advised(store, scene, contact, slot, now) for slot in scene.plan.slots if slot.offers]


def tell(
    session: Session,
    endpoint: Endpoint,
    store: Store,
    blobs: FolderBlobs,
    profile: int,
    contact: Contact,
    slot: int,
    offer: int,
    outcome: Said,
    now: datetime,
    by: Actor,
) -> OutcomeOut:
    """Make the offer that was read the decision of this contact, and keep what the person said to it.

    Raises Conflict where another offer would be made by now or another answer was told before: what was told is not
    kept then. Should the offer change in the very instant of telling, the other one is on record as made in this
    contact, and stays what it offers. Raises InvalidInput for a place that offers nothing, NotFound where nothing
    is live, Unavailable while the store is away.
    """
    scene, advised = advice(store, blobs, profile, contact, now)
    told = _told_before(store, scene, contact, slot, offer, outcome)
    if told is not None:
        _note(session, told, contact, now, by)
        return told
    one = next((one for one in advised if one.slot == slot), None)
    if one is None or one.offer is None:
        raise InvalidInput("slot", "is no place with something to offer")
    if one.offer != offer:
        raise Conflict(f"By now the offer is “{one.name}”: read that one out. What you told was not kept.")
    where = {
        "campaign": contact.campaign, "channel": contact.channel, "placement": one.place, "request": contact.request,
    }  # fmt: skip
    parts = endpoint.ready(scene.delivery)
    named = where | {"profile": mint_profile(parts.tokens, profile)}
    asked, said = (
        msgspec.convert(named, DecideIn),
        msgspec.convert(named | {"slot": slot, "outcome": outcome}, OutcomeIn),
    )
    decided = _understood(decide_for(parts, asked, monotonic()), DecideOut)
    if offer not in [chosen.offer for chosen in decided.slots if chosen.slot == slot]:
        raise Conflict("By now another offer is made: load the page again. What you told was not kept.")
    # An answer to whatever another process decided in this contact meanwhile is none.
    said = msgspec.structs.replace(said, decision=decided.decision)
    told = _understood(keep(parts, said, monotonic()), OutcomeOut)
    _note(session, told, contact, now, by)
    return told


def _told_before(
    store: Store, scene: Scene, contact: Contact, slot: int, offer: int, outcome: Said
) -> OutcomeOut | None:
    """What was told before of this offer in this contact, whatever would be offered by now. Raises Conflict."""
    place = scene.plan.slot_by_index.get(slot)
    if place is None:
        return None
    lane = beside(store, scene, (contact.channel, place.name, contact.request)).shown.live
    chosen, before = lane.in_slot(slot), answer_in(lane, slot)
    if chosen is None or before is None or chosen.offer != offer:
        return None
    if before != outcome:
        raise Conflict(f"The offer was {before}, as was told before.")
    return OutcomeOut(decision=lane.decision, slot=slot, offer=offer, outcome=before, repeated=True)


def _note(session: Session, told: OutcomeOut, contact: Contact, now: datetime, by: Actor) -> None:
    """A line in the admin log; also when it was told before, as that line may have been lost after the outcome."""
    after = msgspec.to_builtins(told) | {"channel": contact.channel, "request": contact.request}
    admin_log.record(session, by, "tell outcome", "campaign", contact.campaign, now, after=after)


def _advised(store: Store, scene: Scene, contact: Contact, slot: Slot, now: datetime) -> Advice:
    """A place of a contact is a contact of its own, with an open of its own, as `/v1/decide` has it."""
    own = beside(store, scene, (contact.channel, slot.name, contact.request))
    return _told(own, stand(own, now, "decide", WHOLE_MAIL), slot)


def _told(scene: Scene, standing: Standing, slot: Slot) -> Advice:
    chosen = standing.chosen[slot.index]
    offer = scene.plan.offer_by_id[chosen.offer]
    candidates = () if standing.decision.no_record else standing.decision.slot(slot.index).candidates
    scored = next((one for one in candidates if one.offer == offer.id), None)
    texts = [chosen.fields.get(name) for name in READ_ALOUD]
    return Advice(
        slot=slot.index,
        place=slot.name,
        offer=None if offer.id in scene.plan.default_ids else offer.id,
        name=offer.name,
        chance=scored.probability if scored is not None else None,
        worth=scored.value if scored is not None else None,
        texts=tuple(dict.fromkeys(str(text) for text in texts if text)),
        because=_because(scene.plan, offer),
        why=next(part for part in standing.explanations if part.slot == slot.index),
        said=answer_in(scene.shown.live, slot.index) if slot.index in standing.kept else None,
    )


def _because(plan: Plan, offer: Offer) -> str:
    """A reason that holds of whoever is made the offer: what it asked for before it could be chosen."""
    if offer.pick is not None:
        return _PICKED[offer.pick.how]
    if offer.after_category is not None:
        return (
            f"You bought {plan.category_words.get(offer.after_category, 'something that it goes with')} not long ago."
        )
    if offer.when_due:
        return "It is about the time at which people buy it again."
    if offer.window_hours is not None:
        return "It goes with what you bought just now."
    return _KINDS.get(offer.kind, "We thought that this may be of use to you.")


def _understood(answer: Answer, kind: type[Told]) -> Told:
    """What the endpoint answered, or its refusal as an error of ours."""
    if answer.status.startswith("200"):
        return msgspec.json.decode(answer.body, type=kind)
    told = msgspec.json.decode(answer.body)["error"]
    if answer.status.startswith("503"):
        raise Unavailable("The store")
    if answer.status.startswith("400"):
        raise InvalidInput(told["field"], told["message"])
    raise Conflict(told["message"])
