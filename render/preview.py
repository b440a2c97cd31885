"""What an open would show under given facts, pictures included: the same bytes that the endpoint would send.

It decides and draws with the very functions the endpoint calls, and reads and writes nothing: the caller brings the
facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from base.errors import InvalidInput
from render.binding import resolve
from render.decide import Decision, decide
from render.draw import draw
from render.facts import Facts, LaneName, LastDecision, Used, locale_of
from render.fonts import Fonts
from render.model import Model
from render.photo import Assets
from render.plan import Live, Plan
from render.relations import Relations
from signals.fold import advance
from signals.foldevent import FoldEvent
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.state import ProfileState

NO_ASSETS: Final[Assets] = {}


class Preview(Struct, frozen=True):
    """What an open would show: the decision, and per slot index the picture's bytes as the endpoint would send them."""

    decision: Decision
    pictures: dict[int, bytes]


def preview(
    plan: Plan,
    state: ProfileState | None,
    used: Used,
    products: Mapping[str, ProductFacts],
    model: Model | None,
    now: datetime,
    seed: int,
    extra_events: Sequence[FoldEvent] = (),
    *,
    sent_at_ms: int,
    fonts: Fonts,
    assets: Assets = NO_ASSETS,
    caps: Mapping[int, int] | None = None,
    last: LastDecision | None = None,
    lane: LaneName = "live",
    live: Live | None = None,
    locale: str | None = None,
    dark: bool = False,
    relations: Relations | None = None,
) -> Preview:
    """What a person would see at `now`, had `extra_events` happened as well.

    locale: None takes the person's own, as the endpoint does. caps: balances left; None takes every total cap as
    untouched (a plan that was never published has none yet). Raises InvalidInput for extra events that correct older
    ones: fold those with the stored events and pass that state.
    """
    balances = {offer.id: offer.cap_total for offer in plan.offers if offer.cap_total is not None}
    supposed = supposing(state, extra_events) if state is not None else None
    locale = locale or locale_of(supposed)
    facts = Facts(
        state=supposed,
        sent_at_ms=sent_at_ms,
        used=used,
        products=products,
        caps=balances if caps is None else caps,
        model=model,
        last=last,
        lane=lane,
        locale=locale,
        live=live or Live(),
        relations=relations,
    )
    decision = decide(plan, facts, now, seed)
    return Preview(decision, pictures(plan, decision, fonts, assets, locale, dark, unix_ms(now)))


def supposing(state: ProfileState, events: Sequence[FoldEvent]) -> ProfileState:
    """The state as if these events had happened after all that it holds. Raises InvalidInput for other events."""
    advanced = advance(state, events)
    if advanced is None:
        raise InvalidInput("extra_events", "correct or precede what is known; fold them with the stored events")
    return advanced


def pictures(
    plan: Plan,
    decision: Decision,
    fonts: Fonts,
    assets: Assets = NO_ASSETS,
    locale: str | None = None,
    dark: bool = False,
    at_ms: int | None = None,
) -> dict[int, bytes]:
    """The pictures of a decision by slot index, drawn as the endpoint draws them for a fetch at `at_ms` (Unix ms)."""
    drawn = {}
    for chosen in decision.slots:
        slot = plan.slot_by_index[chosen.slot]
        creative = plan.creative_by_id[chosen.creative]
        resolved = resolve(creative, chosen.fields, locale or plan.locale, plan.currency, at_ms)
        drawn[slot.index] = draw(resolved, assets, (slot.width, slot.height), slot.fmt, dark, fonts, slot.max_bytes)
    return drawn
