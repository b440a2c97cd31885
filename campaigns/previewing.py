"""The mail as it would open for a person at a moment: as it is written now, by the functions the endpoint calls.

A preview reads and writes nothing of a person's caps, opens or reports. "What if" facts are signals folded on top of
the state in memory: had they bought a category, complained, or said nothing at all.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from base import keys
from base.blobs import FolderBlobs
from base.errors import InvalidInput
from base.ids import Delivery
from base.stores import Store
from campaigns import publish
from campaigns.compose import Composer
from campaigns.links import MailUrls, SlotUrls
from campaigns.models import Campaign
from campaigns.models import Delivery as LedgerRow
from campaigns.pictures import StoredAssets, fonts
from render import agree
from render.decide import seed_of
from render.explanation import SlotExplanation, explain
from render.facts import Shown, Used, decode_shown, decode_used
from render.model import Model
from render.plan import Plan
from render.preview import Preview, preview
from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.profiles import ProfileStateRow
from signals.state import ProfileState, decode

CHARGE_CENTS = 2_000
"""What a purchase that never happened is taken to cost."""

_product = msgspec.msgpack.Decoder(ProductFacts).decode


@dataclass(frozen=True)
class WhatIf:
    """Facts supposed on top of the state: categories bought after the send, a complaint opened."""

    bought: tuple[int, ...] = ()
    complained: bool = False

    def events(self, at_ms: int) -> tuple[FoldEvent, ...]:
        """The signals that would have told us so, at that moment (Unix milliseconds)."""
        events = [
            FoldEvent(
                time_ms=at_ms, message_id=f"what-if-{number}", kind="order", order_id=f"what-if-{number}",
                lines=(Line("what-if", category, 1, CHARGE_CENTS),), total_cents=CHARGE_CENTS,
            )
            for number, category in enumerate(self.bought)
        ]  # fmt: skip
        if self.complained:
            events.append(FoldEvent(time_ms=at_ms, message_id="what-if-c", kind="complaint", subject="what-if"))
        return tuple(events)


@dataclass(frozen=True)
class Shot:
    """A preview with its words: the pictures by slot, the mail around them, and why."""

    plan: Plan
    result: Preview
    explanations: tuple[SlotExplanation, ...]
    html: str
    sent_at: datetime


def shoot(
    session: Session,
    store: Store,
    blobs: FolderBlobs,
    hash_key: bytes,
    row: Campaign,
    profile: int | None,
    now: datetime,
    what_if: WhatIf,
    *,
    dark: bool = False,
    sent_at: datetime | None = None,
) -> Shot:
    """What this campaign, as it is written now, would show a person at `now`; without a person, somebody unknown.

    Raises InvalidInput naming what keeps the campaign from being compiled, or the profile that there is not.
    """
    plan, mail = publish.compile_campaign(session, row)
    delivery, sent = _delivery(session, row, profile, sent_at or now)
    state = _state(session, store, profile)
    shown, used = _kept(store, delivery)
    result = preview(
        plan,
        state,
        used,
        _products(store, plan),
        _model(blobs, row.model_hash),
        now,
        seed_of(delivery, shown.live.open_number + 1),
        # What is supposed comes after all that is known, also when a sender's clock runs a little ahead.
        what_if.events(max(unix_ms(now), (state.last_ms or 0) + 1)),
        sent_at_ms=unix_ms(sent),
        fonts=fonts(),
        assets=StoredAssets(blobs),
        caps={number: left for number in plan.capped_ids if (left := agree.balance(store, number)) is not None} or None,
        last=shown.live.last,
        live=publish.live(row),
        dark=dark,
    )
    composer = Composer(mail, hash_key)
    html = composer.html(dict(state.traits), _inline(plan, result.pictures))
    return Shot(plan, result, explain(result.decision, plan), html, sent)


def _delivery(session: Session, row: Campaign, profile: int | None, otherwise: datetime) -> tuple[Delivery, datetime]:
    """The person's newest delivery of the campaign and when it was sent; a would-be one where there is none."""
    found = session.scalar(
        select(LedgerRow)
        .where(LedgerRow.campaign_id == row.id, LedgerRow.profile_id == profile, LedgerRow.sent_at.is_not(None))
        .order_by(LedgerRow.id.desc())
        .limit(1)
    )
    if found is None or found.sent_at is None:
        return Delivery(profile or 0, row.id, 1), otherwise
    return Delivery(found.profile_id, row.id, found.occurrence), found.sent_at


def _state(session: Session, store: Store, profile: int | None) -> ProfileState:
    if profile is None:
        return ProfileState()
    data = cast("bytes | None", store.get(keys.state(profile)))
    if data is None:
        row = session.get(ProfileStateRow, profile)
        if row is None:
            raise InvalidInput("profile", "names a customer of whom nothing is known")
        data = row.encoded
    return decode(data)


def _kept(store: Store, delivery: Delivery) -> tuple[Shown, Used]:
    shown, used = cast(
        "list[bytes | None]", store.mget(keys.shown(delivery.profile, delivery.name), keys.used(delivery.profile))
    )
    return decode_shown(shown) if shown else Shown(), decode_used(used) if used else Used()


def _products(store: Store, plan: Plan) -> dict[str, ProductFacts]:
    if not plan.product_ids:
        return {}
    values = cast("list[bytes | None]", store.mget([keys.product(name) for name in plan.product_ids]))
    return {name: _product(data) for name, data in zip(plan.product_ids, values, strict=True) if data is not None}


def _model(blobs: FolderBlobs, digest: str | None) -> Model | None:
    return Model.load(blobs.get(digest)) if digest is not None else None


def _inline(plan: Plan, pictures: dict[int, bytes]) -> MailUrls:
    """The mail's addresses with the pictures themselves in their place and links that lead nowhere."""

    def data(index: int, fmt: str) -> str:
        kind = "jpeg" if fmt == "jpg" else fmt
        return f"data:image/{kind};base64,{base64.b64encode(pictures[index]).decode()}"

    slots = {}
    for slot in plan.slots:
        address = data(slot.index, slot.fmt)
        slots[slot.index] = SlotUrls(picture=address, dark=address, html="#", click="#")
    return MailUrls(slots=slots, view="#", unsubscribe="#")
