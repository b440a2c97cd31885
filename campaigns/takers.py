"""Who would get an offer now, and why not more: a campaign's audience sent through the decision, one person at a time.

Every person of the audience as it is counted, or a sample of SAMPLE of them that is the same at each look, is looked
at: of who gets no mail, or neutral content, the reason is told; the others are decided on as an open just after a send
would be, by the facts of this moment. Of a sample shares are told with a 95 % interval (Wilson 1927).
Nothing is written, and no cap is used: each is decided on as if they came first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt
from typing import Final, cast

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy.orm import Session

from base import keys
from base.blobs import FolderBlobs
from base.errors import InvalidInput
from base.ids import Delivery
from base.storecluster import is_of_another_kind
from base.stores import Store
from campaigns import audience, campaigns, wording
from campaigns.lift import MIN_PEOPLE
from campaigns.models import Campaign
from campaigns.reports import report
from campaigns.scenes import Scene, model_of, written_scene
from render.decide import decide, seed_of
from render.decision import Candidate, Decision, RemovedBy
from render.explanation import LAYER_WORDS, because
from render.facts import Used, decode_used, locale_of
from render.lookup import understood
from render.model import Model
from render.plan import Plan
from render.trial import models_of
from signals.profiles import stored
from signals.state import ProfileState

SAMPLE: Final = 500
"""People who are decided on at one look: what a page can wait for, and shares to about 4 points."""
JUST_BEFORE: Final = timedelta(seconds=1)
Z: Final = 1.96
_UNMAILED: Final = "unmailed"
_NEUTRAL: Final = "neutral"
_REFUSED: Final = "refused"
_ORDER: Final = (_UNMAILED, _NEUTRAL, _REFUSED, "legal", "relevant", "beneficial", "arbitration")


class Share(Struct, frozen=True):
    """People out of those looked at; `low` and `high` are the ends of the share's 95 % interval, 0 to 1.

    Where everybody was looked at both are the share itself.
    """

    people: int
    share: float
    low: float
    high: float


class Loss(Struct, frozen=True):
    """Those whom one rule of one layer keeps the offer from: what the layer asks, the rule's code, and a sentence."""

    layer: str
    rule: str
    why: str
    lost: Share


class Came(Struct, frozen=True):
    """What came of the offer in this campaign so far. `clicked` null: too few saw it to tell."""

    seen: int
    clicks: int
    orders: int
    cents: int
    clicked: Share | None


class Takers(Struct, frozen=True):
    """An offer in a campaign: its audience, how many of them were looked at, who would get it, and what keeps the rest.

    Losses begin with who gets no mail, and follow the way through the layers. `cap_total` and `cap_left` are showings,
    null where there is no cap.
    """

    audience: int
    looked_at: int
    get_it: Share
    losses: tuple[Loss, ...]
    cap_total: int | None
    cap_left: int | None
    came: Came


@dataclass(frozen=True)
class _Person:
    """What a decision about somebody needs beside what is the campaign's."""

    delivery: Delivery
    state: ProfileState | None
    used: Used


def campaigns_of(session: Session, offer: int) -> list[Campaign]:
    """The campaigns that offer it somewhere, the newest first."""
    return [row for row in campaigns.campaigns(session) if any(offer in one["offers"] for one in row.slots)]


def takers(
    session: Session, store: Store, blobs: FolderBlobs, row: Campaign, offer: int, now: datetime, hash_key: bytes
) -> Takers:
    """Who would get the offer in this campaign now, and why the others would not.

    Raises InvalidInput naming what keeps the campaign from being compiled, or the offer that it does not have.
    """
    scene = written_scene(session, store, blobs, row, None, now - JUST_BEFORE)
    slots = [slot.index for slot in scene.plan.slots if offer in slot.offers]
    if not slots:
        raise InvalidInput("campaign", "has no place that offers it")
    fates: Counter[tuple[str, str]] = Counter()
    models: dict[str, Model] = {}
    total, people = audience.sampled(session, row, now, hash_key, SAMPLE)
    looked_at = len(people)
    fates.update(fate for one in people if (fate := _unshown(one)) is not None)
    for one in _read(session, store, row, [one.profile_id for one in people if _unshown(one) is None]):
        fates[_fate(_decided(blobs, scene, models, one, now), slots, offer)] += 1
    got = fates.pop(("", ""), 0)
    ordered = sorted(fates.items(), key=lambda found: (_ORDER.index(found[0][0]), -found[1], found[0][1]))
    planned = scene.plan.offer_by_id[offer]
    return Takers(
        audience=total,
        looked_at=looked_at,
        get_it=_share(got, looked_at, total),
        losses=tuple(
            _loss(scene.plan, row, offer, layer, rule, _share(lost, looked_at, total))
            for (layer, rule), lost in ordered
        ),
        cap_total=planned.cap_total,
        cap_left=scene.caps.get(offer) if planned.cap_total is not None else None,
        came=_came(session, row.id, offer),
    )


def _unshown(one: audience.Person) -> tuple[str, str] | None:
    """The layer and the rule of who sees no offer of the campaign; None for whom an open decides."""
    if one.reason is not None:
        return _UNMAILED, one.reason
    return (_NEUTRAL, "content_held") if one.holdout == "content" else None


def _read(session: Session, store: Store, row: Campaign, people: Sequence[int]) -> Iterator[_Person]:
    """What decisions about these people need."""
    found = stored(session, people)
    states = {profile: found[profile].state if profile in found else None for profile in sorted(people)}
    # One key a command: people's keys lie on different servers of a cluster.
    pipe = store.pipeline(transaction=False)
    for profile in states:
        pipe.get(keys.used(profile))
    kept: list[bytes | None] = []
    for answer in pipe.execute(raise_on_error=False):
        # What is under a key of another kind is nothing, as it is to opens.
        if isinstance(answer, Exception) and not is_of_another_kind(answer):
            raise answer
        kept.append(answer if isinstance(answer, bytes) else None)
    return (
        _Person(Delivery(profile, row.id, 1), state, understood(decode_used, used) or Used())
        for (profile, state), used in zip(states.items(), kept, strict=True)
    )


def _decided(blobs: FolderBlobs, scene: Scene, models: dict[str, Model], one: _Person, now: datetime) -> Decision:
    named = next(iter(models_of(scene.live, one.delivery)), None)
    if named is not None and named not in models:
        models[named] = cast("Model", model_of(blobs, scene.live, one.delivery))
    model = models[named] if named is not None else None
    facts = replace(scene.facts, state=one.state, used=one.used, locale=locale_of(one.state), model=model)
    return decide(scene.plan.shown_to(one.delivery.profile), facts, now, seed_of(one.delivery, 1))


def _fate(decision: Decision, slots: list[int], offer: int) -> tuple[str, str]:
    """The layer and the rule that removed the offer, two empty texts where it is shown somewhere."""
    if any(decision.slot(slot).offer == offer for slot in slots):
        return "", ""
    candidates: Mapping[int, Candidate] = {one.offer: one for one in decision.slot(slots[0]).candidates}
    found = candidates.get(offer)
    if found is None or found.removed_by is None:
        return _REFUSED, decision.reason or "left out by an arm"
    return found.removed_by, found.rule or ""


def _loss(plan: Plan, row: Campaign, offer: int, layer: str, rule: str, lost: Share) -> Loss:
    if layer == _UNMAILED:
        why = wording.reason_words(row.channel).get(rule, rule)
        return Loss("is mailed", rule, f"They get no mail: {why}.", lost)
    if layer == _NEUTRAL:
        return Loss("is mailed", rule, "They get neutral content, to measure the campaign.", lost)
    if layer == _REFUSED:
        return Loss("may be offered anything", rule, "Nothing may be offered to them, so they get the default.", lost)
    words = because(Candidate(offer, cast("RemovedBy", layer), rule), plan.offer_by_id[offer], plan)
    return Loss(LAYER_WORDS[layer], rule, f"{words[:1].upper()}{words[1:]}.", lost)


def _came(session: Session, campaign: int, offer: int) -> Came:
    line = next((one for one in report(session, campaign).offers if one.offer == offer), None)
    if line is None:
        return Came(0, 0, 0, 0, None)
    enough = line.seen >= MIN_PEOPLE
    clicked = _wilson(min(line.clicks, line.seen), line.seen) if enough else None
    return Came(line.seen, line.clicks, line.orders, line.cents, clicked)


def _share(people: int, looked_at: int, total: int) -> Share:
    if not looked_at:
        return Share(0, 0.0, 0.0, 0.0)
    if looked_at >= total:
        share = people / looked_at
        return Share(people, share, share, share)
    return _wilson(people, looked_at)


def _wilson(people: int, out_of: int) -> Share:
    """The share with Wilson's 95 % interval."""
    share, weight = people / out_of, Z * Z / out_of
    middle = (share + weight / 2) / (1 + weight)
    half = Z * sqrt(share * (1 - share) / out_of + weight / (4 * out_of)) / (1 + weight)
    return Share(people, share, max(0.0, middle - half), min(1.0, middle + half))
