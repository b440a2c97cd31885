"""The lower part of the ladder: from what was decided (render/opening.py) to the default, to the static picture.

Every rung is an answer of the promised size with status 200; lower rungs need less. The default needs the plan, the
static picture needs nothing.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from base.clock import monotonic
from base.logs import logger
from render.cache import Picture
from render.creative import Background, Creative
from render.facts import Chosen
from render.fetch import Fetch, Open
from render.fields import default_fields
from render.metrics import Metrics
from render.pictures import Late, Pictures, Wanted
from render.plan import Plan, Slot

RECORD_SECONDS: Final = 0.04
"""Kept back from drawing for what must still be written down before the picture leaves."""
WARM_SECONDS: Final = 5.0


class Served(NamedTuple):
    """What goes out, from which rung, and which offer it shows; None where it shows nothing of the plan."""

    picture: Picture
    rung: str
    offer: int | None


class Ladder:
    """Finds the best picture that can be had in time. For many threads."""

    def __init__(self, pictures: Pictures, metrics: Metrics) -> None:
        self._pictures = pictures
        self._metrics = metrics

    def at_hand(self, fetch: Fetch, opened: Open) -> Picture | None:
        """The decided picture, if it need not be drawn. Never raises."""
        try:
            wanted = _wanted(fetch, opened)
            return self._pictures.at_hand(wanted) if wanted is not None else None
        except Exception as error:  # noqa: BLE001 - `best` comes next, and has a ladder
            self._note(error)
            return None

    def best(self, fetch: Fetch, opened: Open) -> Served:
        """The decided picture, drawn if there is time; else what the ladder has. Never raises."""
        chosen = opened.in_slot(fetch.token.slot)
        try:
            wanted = _wanted(fetch, opened)
            if chosen is None or wanted is None:
                return self.static(fetch)
            at_hand = self._pictures.at_hand(wanted)
            picture = at_hand or self._pictures.get(wanted, fetch.deadline - RECORD_SECONDS)
            rung = opened.rung("cached" if at_hand is not None else "drawn")
            return Served(picture, rung, chosen.offer)
        except Exception as error:  # noqa: BLE001 - whatever a drawing raises, the mail gets a picture
            self._note(error)
            return self.default(fetch, opened)

    def default(self, fetch: Fetch, opened: Open) -> Served:
        """The slot's default, from the cache or drawn in what time is left; else the static picture. Never raises."""
        slot = opened.plan.slot_by_index.get(fetch.token.slot)
        if slot is None:
            return self.static(fetch)
        offer = opened.plan.offer_by_id[slot.default]
        fields = default_fields(opened.plan, offer)
        chosen = Chosen(slot.index, offer.id, offer.creative, fields)
        try:
            wanted = _of(fetch, opened.plan, opened.plan_hash, slot, chosen, opened.locale)
            return Served(self._pictures.get(wanted, fetch.deadline - RECORD_SECONDS), "default", offer.id)
        except Exception as error:  # noqa: BLE001 - the static picture is below
            self._note(error)
            return self.static(fetch)

    def static(self, fetch: Fetch) -> Served:
        """The neutral picture of the token's size."""
        return Served(self._pictures.static((fetch.token.width, fetch.token.height), fetch.token.fmt), "static", None)

    def warm(self, plan: Plan, plan_hash: str) -> None:
        """Have every slot's default drawn, so that it is at hand when something fails. Never raises."""
        for slot in plan.slots:
            offer = plan.offer_by_id[slot.default]
            chosen = Chosen(slot.index, offer.id, offer.creative, default_fields(plan, offer))
            for dark in (False, True):
                try:
                    size = (slot.width, slot.height)
                    wanted = _design(plan, plan_hash, slot, chosen, plan.locale, size, slot.fmt, dark)
                    self._pictures.get(wanted, monotonic() + WARM_SECONDS)
                except Exception as error:  # noqa: BLE001 - below a default that cannot be drawn is the static picture
                    self._note(error)

    def _note(self, error: Exception) -> None:
        if isinstance(error, Late):
            self._metrics.count("late_drawings")
            return
        self._metrics.count("errors", value="draw")
        logger(__name__).error("drawing failed", error=type(error).__name__)


def _wanted(fetch: Fetch, opened: Open) -> Wanted | None:
    chosen = opened.in_slot(fetch.token.slot)
    slot = opened.plan.slot_by_index.get(fetch.token.slot)
    if chosen is None or slot is None:
        return None
    live = opened.running.live
    if live is not None and live.state == "killed" and live.picture:
        return _pinned(fetch, slot, live.picture)
    return _of(fetch, opened.plan, opened.plan_hash, slot, chosen, opened.locale)


def _of(fetch: Fetch, plan: Plan, plan_hash: str, slot: Slot, chosen: Chosen, locale: str) -> Wanted:
    """The picture of a choice in the size and format that the mail was promised, whatever the slot has become."""
    token = fetch.token
    size = (token.width, token.height)
    wanted = _design(plan, plan_hash, slot, chosen, locale, size, token.fmt, fetch.kind == "dark")
    return wanted._replace(at_ms=fetch.now_ms)


def _design(
    plan: Plan, plan_hash: str, slot: Slot, chosen: Chosen, locale: str, size: tuple[int, int], fmt: str, dark: bool
) -> Wanted:
    creative = plan.creative_by_id[chosen.creative]
    return Wanted(plan_hash, creative, chosen.fields, size, fmt, dark, locale, plan.currency, slot.max_bytes)


def _pinned(fetch: Fetch, slot: Slot, blob: str) -> Wanted:
    """The picture that a manager pinned when the campaign was killed, filling whatever size the mail was promised."""
    token = fetch.token
    creative = Creative(0, "pinned", token.width, token.height, (Background(picture=blob),))
    size = (token.width, token.height)
    return Wanted(f"pinned:{blob}", creative, {}, size, token.fmt, False, "en", "USD", slot.max_bytes)
