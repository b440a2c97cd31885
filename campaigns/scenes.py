"""Everything an open would find, read for a page: the same keys, understood the same way, and nothing written.

A scene is the campaign either as it is live or as it is written now, with one person's facts. `campaigns.previewing`
decides and draws on it with the functions of the open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, cast

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from base import keys
from base.blobs import FolderBlobs
from base.errors import InvalidInput, NotFound
from base.ids import Delivery
from base.stores import Store
from base.tokens import WHOLE_MAIL, Purpose, Token
from campaigns import compiling, plans, relations
from campaigns.mail import CompiledMail
from campaigns.models import Campaign
from campaigns.models import Delivery as LedgerRow
from render import agree
from render.contact import contact_mark, counted_from
from render.facts import Facts, Shown, Used, decode_shown, decode_used, locale_of
from render.lookup import understood
from render.model import Model
from render.plan import Live, Plan, decode_live, digest, encode
from render.relations import Relations
from render.replay import moment
from render.trial import models_of
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.profiles import stored
from signals.state import ProfileState, decode

HELD_OUT: Final = Live(state="ended")
"""What an open of the content holdout goes by, whatever the campaign does."""
_product = msgspec.msgpack.Decoder(ProductFacts).decode


@dataclass(frozen=True)
class Place:
    """What a mail was promised for one slot: the size in CSS pixels and the format its address carries."""

    size: tuple[int, int]
    fmt: str


@dataclass(frozen=True)
class Scene:
    """A campaign and a person as an open finds them. `state` is None where the store has none: lost, or nobody.

    `delivery` is the person's mail, or the one it would be. `promised` is what a mail that was sent was promised; of
    one that was not it is what the plan says.
    """

    plan: Plan
    plan_hash: str
    live: Live
    delivery: Delivery
    sent_at: datetime
    state: ProfileState | None
    shown: Shown
    used: Used
    products: Mapping[str, ProductFacts]
    caps: Mapping[int, int]
    model: Model | None
    relations: Relations | None
    promised: Mapping[int, Place]
    mail: CompiledMail | None = None

    @property
    def facts(self) -> Facts:
        """The facts of an open that begins now, in the lane of people."""
        return Facts(
            state=self.state,
            sent_at_ms=unix_ms(self.sent_at),
            used=self.used,
            products=self.products,
            caps=self.caps,
            model=self.model,
            relations=self.relations,
            last=self.shown.live.last,
            locale=locale_of(self.state),
            live=self.live,
        )


def live_scene(session: Session, store: Store, blobs: FolderBlobs, delivery: Delivery) -> Scene:
    """A mail that was sent, under the plan that is live now. Raises NotFound: it was not sent, or nothing is live."""
    row = _sent(session, delivery)
    if row is None or row.sent_at is None:
        raise NotFound("mail of this customer")
    plan, live = _live(store, blobs, delivery.campaign)
    sent_plan = plans.load(blobs, row.plan_hash) if row.plan_hash and row.plan_hash != live.plan else plan
    shown, used = _kept(store, delivery)
    return Scene(
        plan=plan,
        plan_hash=live.plan or "",
        live=HELD_OUT if row.holdout == "content" else live,
        delivery=delivery,
        sent_at=row.sent_at,
        state=_stored(store, delivery.profile),
        shown=shown,
        used=used,
        products=_products(store, plan),
        caps=_caps(store, plan),
        model=model_of(blobs, live, delivery),
        relations=_relations(blobs, plan, live),
        promised=_promised(sent_plan),
    )


def contact_scene(
    store: Store, blobs: FolderBlobs, profile: int, campaign: int, contact: tuple[str, str, str], now: datetime
) -> Scene:
    """A contact (channel, placement, request) as `/v1/decide` finds it. Raises NotFound where nothing is live."""
    plan, live = _live(store, blobs, campaign)
    mark = contact_mark(campaign, contact)
    sent = Token(Purpose.HTML, profile, campaign, 0, WHOLE_MAIL, sent_s=counted_from(now))
    shown, used = _read(store, keys.contact(profile, mark), keys.used(profile))
    return Scene(
        plan=plan,
        plan_hash=live.plan or "",
        live=live,
        delivery=sent.delivery,
        sent_at=moment(sent.sent_ms),
        state=_stored(store, profile),
        shown=shown,
        used=used,
        products=_products(store, plan),
        caps=_caps(store, plan),
        model=model_of(blobs, live, sent.delivery),
        relations=_relations(blobs, plan, live),
        promised=_promised(plan),
    )


def written_scene(
    session: Session, store: Store, blobs: FolderBlobs, row: Campaign, profile: int | None, otherwise: datetime
) -> Scene:
    """The campaign as it is written now, for a person or for somebody unknown.

    Whoever has no mail of it yet gets one that would have left at `otherwise`. Raises InvalidInput naming what keeps
    the campaign from being compiled, or the profile of whom nothing is known.
    """
    return compiled_scene(session, store, blobs, row, profile, otherwise, *compiling.compile_campaign(session, row))


def compiled_scene(
    session: Session,
    store: Store,
    blobs: FolderBlobs,
    row: Campaign,
    profile: int | None,
    otherwise: datetime,
    plan: Plan,
    mail: CompiledMail,
) -> Scene:
    """`written_scene` of a campaign that was compiled already."""
    ledger = _newest(session, row.id, profile) if profile is not None else None
    delivery = Delivery(profile or 0, row.id, ledger.occurrence if ledger is not None else 1)
    sent_at = otherwise if ledger is None or ledger.sent_at is None else ledger.sent_at
    shown, used = _kept(store, delivery)
    untouched = {offer.id: offer.cap_total for offer in plan.offers if offer.cap_total is not None}
    held_out = ledger is not None and ledger.holdout == "content"
    live = compiling.live(row, relations.current(session))
    return Scene(
        plan=plan,
        plan_hash=digest(encode(plan)),
        live=HELD_OUT if held_out else live,
        delivery=delivery,
        sent_at=sent_at,
        state=ProfileState() if profile is None else _known(session, store, profile),
        shown=shown,
        used=used,
        products=_products(store, plan),
        # A plan that was never published has no caps yet: they are as they will be opened.
        caps=untouched | _caps(store, plan),
        model=model_of(blobs, live, delivery),
        relations=_relations(blobs, plan, live),
        promised=_promised(plan),
        mail=mail,
    )


def supposing(scene: Scene, state: ProfileState) -> Scene:
    """The scene with another state of the person."""
    return replace(scene, state=state)


def _sent(session: Session, delivery: Delivery) -> LedgerRow | None:
    return session.scalar(
        select(LedgerRow).where(
            LedgerRow.campaign_id == delivery.campaign,
            LedgerRow.occurrence == delivery.occurrence,
            LedgerRow.profile_id == delivery.profile,
        )
    )


def _newest(session: Session, campaign: int, profile: int) -> LedgerRow | None:
    """The person's newest mail of the campaign that was sent."""
    return session.scalar(
        select(LedgerRow)
        .where(LedgerRow.campaign_id == campaign, LedgerRow.profile_id == profile, LedgerRow.sent_at.is_not(None))
        .order_by(LedgerRow.id.desc())
        .limit(1)
    )


def _stored(store: Store, profile: int) -> ProfileState | None:
    (data,) = cast("list[bytes | None]", store.mget([keys.state(profile)]))
    return understood(decode, data)


def _known(session: Session, store: Store, profile: int) -> ProfileState:
    state = _stored(store, profile)
    if state is not None:
        return state
    held = stored(session, [profile]).get(profile)
    if held is None:
        raise InvalidInput("profile", "names a customer of whom nothing is known")
    return held.state


def beside(store: Store, scene: Scene, contact: tuple[str, str, str]) -> Scene:
    """Another contact with the person of a contact's scene, at the same instant: only what was shown in it is read."""
    profile, campaign = scene.delivery.profile, scene.delivery.campaign
    shown, _ = _read(store, keys.contact(profile, contact_mark(campaign, contact)), keys.used(profile))
    return replace(scene, shown=shown)


def _live(store: Store, blobs: FolderBlobs, campaign: int) -> tuple[Plan, Live]:
    (data,) = cast("list[bytes | None]", store.mget([keys.live(campaign)]))
    live = understood(decode_live, data)
    if live is None or live.plan is None:
        raise NotFound("live version of this campaign")
    return plans.load(blobs, live.plan), live


def _kept(store: Store, delivery: Delivery) -> tuple[Shown, Used]:
    return _read(store, keys.shown(delivery.profile, delivery.name), keys.used(delivery.profile))


def _read(store: Store, shown_key: str, used_key: str) -> tuple[Shown, Used]:
    shown, used = cast("list[bytes | None]", store.mget(shown_key, used_key))
    return understood(decode_shown, shown) or Shown(), understood(decode_used, used) or Used()


def _products(store: Store, plan: Plan) -> dict[str, ProductFacts]:
    if not plan.product_ids:
        return {}
    values = cast("list[bytes | None]", store.mget([keys.product(name) for name in plan.product_ids]))
    facts = {name: understood(_product, data) for name, data in zip(plan.product_ids, values, strict=True)}
    return {name: known for name, known in facts.items() if known is not None}


def _caps(store: Store, plan: Plan) -> dict[int, int]:
    found = ((number, agree.balance(store, number)) for number in plan.capped_ids)
    return {number: left for number, left in found if left is not None}


def model_of(blobs: FolderBlobs, live: Live, delivery: Delivery) -> Model | None:
    """The model that decides this delivery: the one on trial for those who take part in the trial."""
    name = next(iter(models_of(live, delivery)), None)
    return Model.load(blobs.get(name)) if name is not None else None


def _relations(blobs: FolderBlobs, plan: Plan, live: Live) -> Relations | None:
    return Relations.load(blobs.get(live.relations)) if live.relations is not None and plan.wants_relations else None


def _promised(plan: Plan) -> dict[int, Place]:
    return {slot.index: Place((slot.width, slot.height), slot.fmt) for slot in plan.slots}
