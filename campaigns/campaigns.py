"""Campaigns: audience + message + schedule, as they are written. What runs is the plan that publishing makes of it."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from base.clock import check_year
from base.errors import Conflict, InvalidInput, NotFound
from campaigns import (
    admin_log,
    gateways,
    joining,
    locks,
    messages,
    offers,
    ranking,
    rulebook,
    timing,
    wallclock,
    waves,
    weblinks,
    windows,
)
from campaigns.admin_log import Actor
from campaigns.models.campaign import Campaign, Occurrence
from campaigns.models.catalogue import Creative, Message, Offer
from campaigns.ranking import ArbitrationIn, PolicyIn
from campaigns.texts import TextIn
from campaigns.timing import Repeat, Timing
from render.arbitration import Arbitration, Policy, arbitration_faults, effect_faults, policy_faults
from render.arms import MAX_ARMS
from render.plan import KINDS
from signals import exchange
from signals.contents import PURPOSES

OVER: Final = ("finished", "cancelled")
NOT_BEGUN: Final = ("draft", "scheduled")
SETTLED: Final = ("kind", "trigger", "replenish", "repeat", "gateway_id")
"""What says of a campaign whom its runs mail: once it has begun, another of them would mail people again."""
SETTLED_TIMING: Final = ("joins", "newcomers_only")
MAX_CANDIDATES: Final = 200
MAX_CATEGORIES: Final = 60
Name = Annotated[str, Meta(max_length=120)]
Share = Annotated[float, Meta(ge=0, le=0.5)]
Moment = Annotated[datetime, Meta(tz=True)]
Id = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class SlotChoice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one slot of the message may show. `default` is compulsory: a block can never come out empty.

    `offers` are candidates in order. Mode "rules" takes the first that may be shown, by priority; "model" the most
    valuable; `policy` is how it then draws among the best, None shows the best.
    """

    slot: Annotated[int, Meta(ge=0, le=254)]
    default: Id
    offers: list[Id] = []
    mode: Literal["rules", "model"] = "rules"
    policy: PolicyIn | None = None


class Replenish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is due to restock: the time since the last purchase of a category over the household's own usual interval.

    A household enters once per category and purchase, when the ratio reaches `ratio` and is below `until`; a run is
    made every `every_days` days while the campaign lasts.
    """

    categories: list[str]
    ratio: Annotated[float, Meta(gt=0, le=10)] = 1.0
    until: Annotated[float, Meta(gt=0, le=100)] = 3.0
    every_days: Annotated[int, Meta(ge=1, le=365)] = 1


class Trigger(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a campaign waits for: an event by its name, of a category or any. It counts for `within_hours`; a person
    enters a campaign once."""

    event: Annotated[str, Meta(min_length=1, max_length=200)]
    category: str | None = None
    within_hours: Annotated[int, Meta(ge=1, le=168)] = 24


class Swap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An offer that looks otherwise in an arm."""

    offer: Id
    creative: Id


class ArmIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version of the campaign that a share of the people get: without some offers, or with other creatives.

    Shares are parts of the sum of all shares.
    """

    name: Annotated[str, Meta(min_length=1, max_length=40)]
    share: Annotated[float, Meta(gt=0, le=1)]
    without: list[Id] = []
    creatives: list[Swap] = []


class CampaignIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A campaign as it is written. `audience` is a rule of the JSON language; {"always": true} is everybody.

    An empty `currency` is the usual one (`signals.exchange.usual`, else EUR), and on a change the one that it has.
    Holdout shares are fractions. `needs_consent` names purposes without which nobody is mailed and only the default is
    shown. `landing_hosts` may be empty: the hosts of the offers' own addresses are always allowed. `amp` adds an AMP
    part to the mails. `tracking` none: everybody's mails share their addresses, get the defaults, and nothing is kept;
    anonymous: each person gets what fits, and what is kept of opens and clicks names nobody.

    `suppress` is a rule about people, asked at the freeze, when the mail leaves and at every open: for whom it holds
    there is no mail, no sales offer, and service goes first. `guard` offers: whom the profit guard flags is offered
    nothing that widens what they buy; audience: they get no mail either.

    `arbitration` switches factors of model slots off, names contexts that lift kinds of offers, and with `effect` ranks
    by what showing an offer changes instead of by its chance. Where a person may
    get only so many mails (`campaigns.contacts`), campaigns of higher `priority` go first; a `mandatory` one goes to
    everybody, once a period. With `ends_on_purchase` whoever buys gets no further mail of it: what waits for them is
    skipped, as converted where they bought what it was about, else as converted elsewhere.

    `arms` are versions tried against each other, the first being what the others are held against; none, or two and
    more. They are drawn by a key of the campaign's own, and cannot change once mails have left.

    With a `gateway_id` nobody is mailed: the gateway gets the `text`, a text or push message, and the message is the
    page that its `{{ link.view }}` leads to. Only people who agreed to that channel get it.
    """

    name: Name
    message_id: Id | None = None
    kind: Literal["broadcast", "recurring", "evergreen", "replenishment", "triggered"] = "broadcast"
    audience: dict[str, Any] = msgspec.field(default_factory=lambda: {"always": True})
    replenish: Replenish | None = None
    slots: list[SlotChoice] = []
    default_landing: Annotated[str, Meta(max_length=2000)] = ""
    landing_hosts: list[str] = []
    send_holdout: Share = 0.0
    content_holdout: Share = 0.0
    hold_s: Annotated[int, Meta(ge=1, le=30 * 86_400)] = 3600
    lifetime_days: Annotated[int, Meta(ge=1, le=3650)] = 60
    feed_stale_s: Annotated[int, Meta(ge=60, le=365 * 86_400)] = 172_800
    currency: Annotated[str, Meta(pattern="^([A-Z]{3})?$")] = ""
    locale: Annotated[str, Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = "en"
    brand: Name = ""
    needs_consent: list[str] = []
    undecided_capped: bool = True
    amp: bool = False
    tracking: Literal["identified", "anonymous", "none"] = "identified"
    timezone: str = "UTC"
    ends_at: Moment | None = None
    suppress: dict[str, Any] | None = None
    guard: Literal["off", "offers", "audience"] = "off"
    arbitration: ArbitrationIn | None = None
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    mandatory: bool = False
    ends_on_purchase: bool = False
    trigger: Trigger | None = None
    arms: Annotated[list[ArmIn], Meta(max_length=MAX_ARMS)] = []
    timing: Timing = Timing()
    repeat: Repeat | None = None
    gateway_id: Id | None = None
    text: TextIn | None = None


def create_campaign(session: Session, content: CampaignIn, now: datetime, by: Actor) -> Campaign:
    """Keep a new draft. Raises InvalidInput naming the field, Conflict when the name is taken."""
    _check(session, content, None)
    row = Campaign(
        state="draft",
        created_by=by.user_id,
        created_at=now,
        updated_at=now,
        killed=False,
        channel=gateways.channel(session, content.gateway_id),
        withdrawn=[],
        arms_key=secrets.token_bytes(16),
        **{"currency": exchange.usual(session) or "EUR"} | _columns(content),
    )
    session.add(row)
    session.flush()
    admin_log.record(session, by, "create", "campaign", row.id, now, after=admin_log.snapshot(row))
    return row


def update_campaign(session: Session, campaign_id: int, content: CampaignIn, now: datetime, by: Actor) -> Campaign:
    """Replace a campaign's content; what is published goes on unchanged.

    Raises Conflict once it is over, or locked, and for another of `SETTLED` once it has begun.
    """
    row = campaign(session, campaign_id)
    if row.state in OVER:
        raise Conflict(f"The campaign is {row.state}.")
    locks.refuse(row)
    _refuse_settled(row, content)
    before, timed, audience = admin_log.snapshot(row), (row.timing, row.timezone), row.audience
    _check(session, content, campaign_id)
    for name, value in _columns(content).items():
        setattr(row, name, value)
    row.arms_key = row.arms_key or secrets.token_bytes(16)
    row.channel = gateways.channel(session, content.gateway_id)
    row.updated_at = now
    if (row.timing, row.timezone) != timed:
        _retime(session, row, now)
    if (row.timing, row.timezone, row.audience) != (*timed, audience) and row.state in ("scheduled", "paused"):
        joining.take_snapshot(session, row, now)
    session.flush()
    admin_log.record(session, by, "change", "campaign", row.id, now, before=before, after=admin_log.snapshot(row))
    return row


def _refuse_settled(row: Campaign, wanted: CampaignIn) -> None:
    """Raises Conflict naming the field that cannot change any more."""
    if row.state in NOT_BEGUN:
        return
    held = content(row)
    changed = [name for name in SETTLED if getattr(held, name) != getattr(wanted, name)]
    changed += [
        f"timing.{name}" for name in SETTLED_TIMING if getattr(held.timing, name) != getattr(wanted.timing, name)
    ]
    if changed:
        raise Conflict(f"{changed[0]}: cannot be changed once the campaign has begun.")


def _retime(session: Session, row: Campaign, now: datetime) -> None:
    """Have what is scheduled follow the timing as it is written now."""
    windows.forget(session, row.id)
    due = select(Occurrence).where(
        Occurrence.campaign_id == row.id, Occurrence.state == "due", Occurrence.wall.is_not(None)
    )
    for run in session.scalars(due.with_for_update()):
        if run.wall is not None:
            meant = wallclock.read(run.wall, row.due_zone or row.timezone)
            at = row.due_at if run.wall == row.due_wall and row.due_at is not None else meant.at
            run.due_at = waves.placed(timing.of(row.timing), run.wall, at, now)


def campaign(session: Session, campaign_id: int) -> Campaign:
    """One campaign. Raises NotFound."""
    row = session.get(Campaign, campaign_id)
    if row is None:
        raise NotFound("campaign", campaign_id)
    return row


def campaigns(session: Session, *, name: str = "", skipping: int = 0, most: int | None = None) -> list[Campaign]:
    """Campaigns, the last changed first: those with `name` in theirs, `most` of them after the first `skipping`."""
    query = select(Campaign).order_by(Campaign.updated_at.desc(), Campaign.id.desc())
    if name:
        query = query.where(func.lower(Campaign.name).contains(name.lower(), autoescape=True))
    return list(session.scalars(query.offset(skipping).limit(most)))


def content(row: Campaign) -> CampaignIn:
    """A stored campaign as it could be written again."""
    stored = {name: getattr(row, name) for name in CampaignIn.__struct_fields__}
    stored["arbitration"] = ranking.known(row.arbitration, Arbitration)
    stored["slots"] = [slot | {"policy": ranking.known(slot.get("policy"), Policy)} for slot in row.slots]
    return msgspec.convert(stored, CampaignIn)


def _columns(content: CampaignIn) -> dict[str, Any]:
    told = (name for name in CampaignIn.__struct_fields__ if name != "currency" or content.currency)
    columns = {name: getattr(content, name) for name in told}
    return columns | {
        "name": content.name.strip(),
        "slots": msgspec.to_builtins(content.slots),
        "replenish": msgspec.to_builtins(content.replenish),
        "arbitration": msgspec.to_builtins(content.arbitration),
        "trigger": msgspec.to_builtins(content.trigger),
        "arms": msgspec.to_builtins(content.arms),
        "timing": msgspec.to_builtins(content.timing),
        "repeat": msgspec.to_builtins(content.repeat),
        "text": msgspec.to_builtins(content.text),
    }


def _check(session: Session, content: CampaignIn, campaign_id: int | None) -> None:
    if not content.name.strip():
        raise InvalidInput("name", "must not be empty")
    taken = session.scalar(select(Campaign.id).where(Campaign.name == content.name.strip()))
    if taken is not None and taken != campaign_id:
        raise Conflict("Another campaign has this name.")
    wallclock.zone(content.timezone, "timezone")
    if content.ends_at is not None:
        check_year(content.ends_at, "ends_at")
    for purpose in content.needs_consent:
        if purpose not in PURPOSES:
            raise InvalidInput("needs_consent", f"must be of {', '.join(PURPOSES)}")
    if content.default_landing:
        weblinks.host(content.default_landing, "default_landing")
    rulebook.check(session, content.audience, "audience", "audience")
    if content.suppress is not None:
        # It is asked twice, by SQL at the freeze and by Python at opens, so it may only say what both can answer.
        rulebook.check(session, content.suppress, "audience", "suppress")
        rulebook.check(session, content.suppress, "eligibility", "suppress")
    _check_arbitration(session, content)
    _check_replenish(session, content)
    _check_trigger(session, content)
    timing.check(content.timing, content.repeat, content.kind, has_end=content.ends_at is not None)
    _check_slots(session, content)
    places = [] if content.message_id is None else messages.message(session, content.message_id).slots
    gateways.check_text(session, content.gateway_id, content.text, content.locale, places)
    _check_arms(session, content)


def _check_arbitration(session: Session, content: CampaignIn) -> None:
    if content.arbitration is None:
        return
    policies = (slot.policy for slot in content.slots if slot.policy is not None)
    for field, message in (
        *arbitration_faults("arbitration", content.arbitration, KINDS),
        *effect_faults("arbitration", content.arbitration, policies),
    ):
        raise InvalidInput(field, message)
    for position, context in enumerate(content.arbitration.contexts):
        rulebook.check(session, context.rule, "eligibility", f"arbitration.contexts[{position}].rule")


def _check_replenish(session: Session, content: CampaignIn) -> None:
    if (content.kind == "replenishment") != (content.replenish is not None):
        raise InvalidInput("replenish", "belongs to campaigns of kind replenishment, and to no others")
    if content.replenish is None:
        return
    wanted = content.replenish.categories
    if not 0 < len(set(wanted)) <= MAX_CATEGORIES or len(set(wanted)) != len(wanted):
        raise InvalidInput("replenish.categories", f"must be 1 to {MAX_CATEGORIES} different categories")
    known = rulebook.categories(session)
    for slug in wanted:
        if slug not in known:
            raise InvalidInput("replenish.categories", f"names the category {slug}, which there is not")
    if content.replenish.until <= content.replenish.ratio:
        raise InvalidInput("replenish.until", "must be greater than ratio")


def _check_trigger(session: Session, content: CampaignIn) -> None:
    if (content.kind == "triggered") != (content.trigger is not None):
        raise InvalidInput("trigger", "belongs to campaigns of kind triggered, and to no others")
    if content.trigger is None:
        return
    category = content.trigger.category
    if category is not None and category not in rulebook.categories(session):
        raise InvalidInput("trigger.category", f"names the category {category}, which there is not")


def _check_slots(session: Session, content: CampaignIn) -> None:
    if content.message_id is not None:
        if session.get(Message, content.message_id) is None:
            raise InvalidInput("message_id", f"names the message {content.message_id}, which there is not")
        places = {slot["index"] for slot in messages.message(session, content.message_id).slots}
        for position, choice in enumerate(content.slots):
            if choice.slot not in places:
                raise InvalidInput(f"slots[{position}].slot", f"{choice.slot} is no slot of the message")
    if len({choice.slot for choice in content.slots}) != len(content.slots):
        raise InvalidInput("slots", "fill a slot twice")
    for position, choice in enumerate(content.slots):
        at = f"slots[{position}]"
        for field, message in policy_faults(f"{at}.policy", choice.policy) if choice.policy is not None else ():
            raise InvalidInput(field, message)
        if len(choice.offers) > MAX_CANDIDATES or len(set(choice.offers)) != len(choice.offers):
            raise InvalidInput(f"{at}.offers", f"must be at most {MAX_CANDIDATES} different offers")
        for offer_id in choice.offers:
            _offer(session, offer_id, f"{at}.offers")
        if not offers.is_default(_offer(session, choice.default, f"{at}.default")):
            raise InvalidInput(
                f"{at}.default", "must be a neutral offer without conditions: it is what everybody can see"
            )


def _check_arms(session: Session, content: CampaignIn) -> None:
    names = [arm.name.strip() for arm in content.arms]
    if len(names) == 1 or len(set(names)) != len(names) or not all(names):
        raise InvalidInput("arms", "must be none, or two and more with names of their own")
    shown = {offer for choice in content.slots for offer in choice.offers}
    for position, arm in enumerate(content.arms):
        for offer_id in (*arm.without, *(swap.offer for swap in arm.creatives)):
            if offer_id not in shown:
                raise InvalidInput(f"arms[{position}]", f"names the offer {offer_id}, which no place shows")
        if len({swap.offer for swap in arm.creatives}) != len(arm.creatives):
            raise InvalidInput(f"arms[{position}].creatives", "name an offer twice")
        for swap in arm.creatives:
            if session.get(Creative, swap.creative) is None:
                raise InvalidInput(
                    f"arms[{position}].creatives", f"name the creative {swap.creative}, which there is not"
                )


def _offer(session: Session, offer_id: int, field: str) -> Offer:
    try:
        return offers.offer(session, offer_id)
    except NotFound:
        raise InvalidInput(field, f"names the offer {offer_id}, which there is not") from None
