"""What a mail would show a person at a moment, by the functions the endpoint calls: previews, and "what now".

Looking reads and writes nothing of a person's caps, opens or reports. "What if" facts are signals folded on top of the
state in memory: had they bought a category, or complained.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.ids import Delivery
from base.stores import Store
from campaigns.compose import Composer
from campaigns.links import MailUrls, SlotUrls
from campaigns.models import Campaign
from campaigns.pictures import StoredAssets, fonts
from campaigns.scenes import Place, Scene, live_scene, supposing, written_scene
from campaigns.standing import stand
from render.binding import resolve
from render.creative import Background, Creative
from render.draw import draw
from render.explanation import SlotExplanation
from render.facts import Chosen
from render.plan import Plan, Slot
from render.preview import supposing as folded
from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from signals.state import ProfileState

CHARGE_CENTS: Final = 2_000
"""What a purchase that never happened is taken to cost."""
JUST_BEFORE: Final = timedelta(seconds=1)


@dataclass(frozen=True)
class WhatIf:
    """Facts supposed on top of the state: categories bought, a complaint opened."""

    bought: tuple[int, ...] = ()
    complained: bool = False

    def events(self, at_ms: int, arrival: int) -> tuple[FoldEvent, ...]:
        """The signals that would have told us so, at that moment (Unix milliseconds), arriving as number `arrival`."""
        events = [
            FoldEvent(
                time_ms=at_ms, message_id=f"what-if-{number}", kind="order", order_id=f"what-if-{number}",
                lines=(Line("what-if", category, 1, CHARGE_CENTS),), total_cents=CHARGE_CENTS, arrival=arrival,
            )
            for number, category in enumerate(self.bought)
        ]  # fmt: skip
        if self.complained:
            events.append(
                FoldEvent(time_ms=at_ms, message_id="what-if-c", kind="complaint", subject="what-if", arrival=arrival)
            )
        return tuple(events)


@dataclass(frozen=True)
class Look:
    """What one look would show: a picture and its reasons per slot, in the plan's order."""

    plan: Plan
    sent_at: datetime
    pictures: Mapping[int, bytes]
    explanations: tuple[SlotExplanation, ...]


@dataclass(frozen=True)
class Shot:
    """A preview: the look, and the mail around its pictures."""

    look: Look
    html: str


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
) -> Shot:
    """What this campaign, as it is written now, would show a person at `now`; without a person, somebody unknown.

    Raises InvalidInput naming what keeps the campaign from being compiled, or the profile that there is not.
    """
    # A mail that nobody has yet left just before it is looked at: what they are supposed to have bought came after it.
    left = min(row.due_at or now, now) - JUST_BEFORE
    scene = written_scene(session, store, blobs, row, profile, left)
    if scene.state is not None and (what_if.bought or what_if.complained):
        scene = supposing(scene, supposed(scene.state, what_if, now))
    seen = look(scene, blobs, now, dark=dark)
    assert scene.mail is not None  # noqa: S101 - a written scene has its mail
    traits = dict(scene.state.traits) if scene.state is not None else {}
    html = Composer(scene.mail, hash_key).html(traits, _inline(scene, seen.pictures))
    return Shot(seen, html)


def seen_now(session: Session, store: Store, blobs: FolderBlobs, delivery: Delivery, now: datetime) -> Look:
    """What a mail that was sent would show if its person opened it now. Raises NotFound when it was not sent."""
    return look(live_scene(session, store, blobs, delivery), blobs, now)


def look(scene: Scene, blobs: FolderBlobs, now: datetime, *, dark: bool = False) -> Look:
    """What a fetch of every picture would be answered with: the open that stands, else a new one."""
    kind = "dark" if dark else "picture"
    standing = stand(scene, now, kind)
    killed = scene.live.state == "killed" and not standing.decision.no_record
    pinned = scene.live.picture if killed else None
    pictures: dict[int, bytes] = {}
    for slot in scene.plan.slots:
        place = scene.promised.get(slot.index) or Place((slot.width, slot.height), slot.fmt)
        design, fields = _design(scene.plan, standing.chosen[slot.index], pinned, place)
        in_dark = dark and not pinned
        pictures[slot.index] = _drawn(scene, slot, place, design, fields, blobs, dark=in_dark, at_ms=unix_ms(now))
    return Look(scene.plan, scene.sent_at, pictures, standing.explanations)


def supposed(state: ProfileState, what_if: WhatIf, now: datetime) -> ProfileState:
    """The state as if that had been told at `now`, after all that is known."""
    # What is supposed comes after all that is known, also when a sender's clock runs a little ahead.
    at_ms = max(unix_ms(now), (state.last_ms or 0) + 1)
    return folded(state, what_if.events(at_ms, state.version + 1))


def _design(plan: Plan, chosen: Chosen, pinned: str | None, place: Place) -> tuple[Creative, dict[str, str | int]]:
    """The creative and its texts; of a campaign that was switched off with a picture, that picture."""
    if pinned is None:
        return plan.creative_by_id[chosen.creative], chosen.fields
    return Creative(0, "pinned", *place.size, (Background(picture=pinned),)), {}


def _drawn(
    scene: Scene,
    slot: Slot,
    place: Place,
    design: Creative,
    fields: dict[str, str | int],
    blobs: FolderBlobs,
    *,
    dark: bool,
    at_ms: int,
) -> bytes:
    """The picture in the size and format that the mail was promised, whatever the slot has become."""
    resolved = resolve(design, fields, scene.facts.locale or scene.plan.locale, scene.plan.currency, at_ms)
    return draw(resolved, StoredAssets(blobs), place.size, place.fmt, dark, fonts(), slot.max_bytes)


def _inline(scene: Scene, pictures: Mapping[int, bytes]) -> MailUrls:
    """The mail's addresses with the pictures themselves in their place and links that lead nowhere."""
    slots = {}
    for slot in scene.plan.slots:
        kind = "jpeg" if slot.fmt == "jpg" else slot.fmt
        address = f"data:image/{kind};base64,{base64.b64encode(pictures[slot.index]).decode()}"
        slots[slot.index] = SlotUrls(picture=address, dark=address, html="#", click="#")
    return MailUrls(slots=slots, view="#", unsubscribe="#")
