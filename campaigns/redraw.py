"""A served picture drawn once more from its record: for the few whose bytes were not kept for this person.

Render hands over the bytes of a picture once per process. Another person with the same texts may be sent the same
picture afterwards, and the sealed copy lies under the first one's key. The record has all that the picture was made of,
so it is drawn again and is right only if its SHA-256 is the recorded one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from base.blobs import FolderBlobs
from campaigns.pictures import StoredAssets, fonts
from render.binding import resolve
from render.draw import draw
from render.encode import CONTENT_TYPES
from render.facts import Chosen, locale_of
from render.fields import default_fields
from render.plan import Plan, Slot
from render.record import DecisionFacts, SlotRecord
from signals.state import decode


@dataclass(frozen=True)
class Recorded:
    """What an open was made of, as its record tells it. `sent_plan` is the one the mail left with."""

    plan: Plan
    slots: tuple[SlotRecord, ...]
    facts: DecisionFacts
    sent_plan: Plan | None = None


def redrawn(
    recorded: Recorded, slot: int, *, dark: bool, sha256: str, at_ms: int, blobs: FolderBlobs
) -> tuple[bytes, str] | None:
    """The picture with this hash and its type; None when none that this open may have shown has it.

    `at_ms` is the instant of its fetch, Unix ms: a countdown is right at that second.
    """
    plan = recorded.plan
    place = plan.slot_by_index.get(slot)
    if place is None:
        return None
    state = decode(recorded.facts.state) if recorded.facts.state is not None else None
    locale = locale_of(state) or plan.locale
    for chosen in _may_have_shown(recorded, place):
        resolved = resolve(plan.creative_by_id[chosen.creative], chosen.fields, locale, plan.currency, at_ms)
        for width, height, fmt in _promised(recorded, place):
            body = draw(resolved, StoredAssets(blobs), (width, height), fmt, dark, fonts(), place.max_bytes)
            if hashlib.sha256(body).hexdigest() == sha256:
                return body, CONTENT_TYPES[fmt]
    return None


def _may_have_shown(recorded: Recorded, place: Slot) -> Iterator[Chosen]:
    """What was decided for the place, then its default, which stands in when a drawing fails."""
    for kept, fields in zip(recorded.slots, recorded.facts.fields, strict=False):
        if kept.slot == place.index and kept.creative in recorded.plan.creative_by_id:
            yield Chosen(kept.slot, kept.offer, kept.creative, fields)
    offer = recorded.plan.offer_by_id[place.default]
    yield Chosen(place.index, offer.id, offer.creative, default_fields(recorded.plan, offer))


def _promised(recorded: Recorded, place: Slot) -> Iterator[tuple[int, int, str]]:
    """The sizes and formats that may have been promised: the plan's, those of the plan a mail left with, a page's."""
    sizes = [(place.width, place.height, place.fmt)]
    before = recorded.sent_plan.slot_by_index.get(place.index) if recorded.sent_plan is not None else None
    if before is not None:
        sizes.append((before.width, before.height, before.fmt))
    sizes.append((place.width, place.height, place.web_fmt))
    yield from dict.fromkeys(sizes)
