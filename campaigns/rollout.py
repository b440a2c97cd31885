"""Models on their way through a campaign: shadow, canary, live, and back.

In the shadow a model decides recorded opens once more, and nobody sees what it chose. As a canary it decides a share
of the deliveries, drawn by a keyed hash. Live it decides all. It goes live when the gate lets it, or when somebody says
why it should all the same; going back needs no one's leave. Each step is one row of `model_move` and one line of the
admin log, and reaches mails already sent within a second, as the live key does.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import Conflict, InvalidInput, NotFound
from base.stores import Store
from campaigns import publish
from campaigns.admin_log import Actor
from campaigns.gate import Verdict
from campaigns.models.campaign import Campaign
from campaigns.models.learning import ModelMove, ModelVerdict, TrainedModel
from render.model import Model

LONGEST_REASON: Final = 500
VERDICT_HOLDS: Final = timedelta(days=7)
"""A verdict older than this says nothing about today."""
MOST_MOVES: Final = 200


def trained(session: Session, digest: str) -> TrainedModel:
    """A model of the registry. Raises NotFound."""
    row = session.get(TrainedModel, digest)
    if row is None:
        raise NotFound("model", digest[:64])
    return row


def checked(session: Session, blobs: FolderBlobs, digest: str) -> None:
    """See that a model is in the registry and that an open could use it.

    Raises NotFound, or InvalidInput naming what is wrong with its artefact; then what runs now goes on.
    """
    trained(session, digest)
    try:
        Model.load(blobs.get(digest))
    except NotFound as error:
        raise InvalidInput("model", f"cannot be used, its artefact is lost or damaged: {error}") from error


def to_shadow(
    session: Session, store: Store, blobs: FolderBlobs, campaign_id: int, digest: str, now: datetime, by: Actor,
    reason: str = "",
) -> None:  # fmt: skip
    """Let a model decide recorded opens of a campaign once more; what people see is not touched."""
    checked(session, blobs, digest)
    row = publish.locked(session, campaign_id)
    if digest in (row.model_hash, row.canary_hash):
        raise Conflict("this model is further than that already in this campaign")
    _move(session, store, row, "shadow", digest, now, by, {"shadow_hash": digest}, reason)


def to_canary(
    session: Session, store: Store, blobs: FolderBlobs, campaign_id: int, digest: str, share: float, now: datetime,
    by: Actor, reason: str = "",
) -> None:  # fmt: skip
    """Let a model decide a share of a campaign's deliveries, 0.01 to 0.5; it must be in its shadow or be its canary."""
    if not 0.01 <= share <= 0.5:
        raise InvalidInput("share", "must be from 0.01 to 0.5")
    checked(session, blobs, digest)
    row = publish.locked(session, campaign_id)
    if digest not in (row.shadow_hash, row.canary_hash):
        raise Conflict("a model goes through the shadow first")
    changes: dict[str, Any] = {"canary_hash": digest, "canary_share": share}
    if row.shadow_hash == digest:
        changes["shadow_hash"] = None
    _move(session, store, row, "canary", digest, now, by, changes, reason, share=share)


def to_live(
    session: Session, store: Store, blobs: FolderBlobs, campaign_id: int, digest: str, now: datetime, by: Actor,
    reason: str = "",
) -> None:  # fmt: skip
    """Let a model decide all of a campaign.

    Raises Conflict with the gate's words where the gate does not let it and no `reason` is given to do it all the same.
    """
    checked(session, blobs, digest)
    row = publish.locked(session, campaign_id)
    if digest == row.model_hash:
        raise Conflict("this model is live in this campaign already")
    found = verdict(session, row, digest, now)
    if not found.passes and not reason.strip():
        raise Conflict(f"The gate does not let this model go live. {found.why} Say why it should all the same.")
    changes: dict[str, Any] = {"model_hash": digest}
    if row.canary_hash == digest:
        changes |= {"canary_hash": None, "canary_share": None}
    if row.shadow_hash == digest:
        changes["shadow_hash"] = None
    _move(session, store, row, "live", digest, now, by, changes, reason, found=found)


def roll_back(
    session: Session, store: Store, blobs: FolderBlobs, campaign_id: int, now: datetime, by: Actor, reason: str = ""
) -> str | None:
    """Go back to what was live before, and end a canary; returns the model that decides now, None for the rules.

    Who goes back twice goes back further. Raises Conflict where nothing was live before, and InvalidInput where the
    model before cannot be loaded: then `to_rules` is left.
    """
    row = publish.locked(session, campaign_id)
    before = before_live(session, row)
    if before is None:
        raise Conflict("nothing was live in this campaign before what is live now")
    if before.before_hash is not None:
        checked(session, blobs, before.before_hash)
    changes = {"model_hash": before.before_hash, "canary_hash": None, "canary_share": None}
    _move(session, store, row, "rollback", before.before_hash, now, by, changes, reason)
    return before.before_hash


def to_rules(session: Session, store: Store, campaign_id: int, now: datetime, by: Actor, reason: str = "") -> None:
    """Leave all slots of mode "model" to the rules, and end every trial."""
    row = publish.locked(session, campaign_id)
    changes = {"model_hash": None, "canary_hash": None, "canary_share": None, "shadow_hash": None}
    _move(session, store, row, "rules", None, now, by, changes, reason)


def stop_trial(
    session: Session, store: Store, campaign_id: int, digest: str, now: datetime, by: Actor, reason: str = ""
) -> None:
    """Take a model out of a campaign's shadow, or end it as its canary. Raises Conflict where it is neither."""
    row = publish.locked(session, campaign_id)
    changes: dict[str, Any] = {}
    if row.shadow_hash == digest:
        changes["shadow_hash"] = None
    if row.canary_hash == digest:
        changes |= {"canary_hash": None, "canary_share": None}
    if not changes:
        raise Conflict("this model is not on trial in this campaign")
    _move(session, store, row, "stop", digest, now, by, changes, reason)


def verdict(session: Session, row: Campaign, digest: str, now: datetime) -> Verdict:
    """What the gate last said of a model beside what is live in a campaign now."""
    newest = session.scalar(
        select(ModelVerdict)
        .where(ModelVerdict.campaign_id == row.id, ModelVerdict.model_hash == digest)
        .order_by(ModelVerdict.id.desc())
        .limit(1)
    )
    if newest is None:
        return Verdict(False, "Not known yet: nothing was measured yet.")
    if newest.against != row.model_hash:
        return Verdict(False, "Not known yet: it was measured beside something else than what is live now.")
    if now - newest.at > VERDICT_HOLDS:
        return Verdict(False, f"Not known any more: it was last measured on {newest.at:%Y-%m-%d}.")
    return msgspec.convert(newest.document, Verdict)


def before_live(session: Session, row: Campaign) -> ModelMove | None:
    """The step by which what decides now came to do so; None where there was none, or all were gone back from."""
    undone = 0
    steps = session.scalars(
        select(ModelMove)
        .where(ModelMove.campaign_id == row.id, ModelMove.action.in_(("live", "rollback", "rules")))
        .order_by(ModelMove.id.desc())
        .limit(MOST_MOVES)
    )
    for step in steps:
        if step.action == "rollback":
            undone += 1
        elif undone:
            undone -= 1
        else:
            return step
    return None


def moves(session: Session, *, campaign_id: int | None = None, digest: str | None = None) -> list[ModelMove]:
    """The newest steps first, of a campaign, of a model, or all; at most MOST_MOVES."""
    query = select(ModelMove).order_by(ModelMove.id.desc()).limit(MOST_MOVES)
    if campaign_id is not None:
        query = query.where(ModelMove.campaign_id == campaign_id)
    if digest is not None:
        query = query.where(or_(ModelMove.model_hash == digest, ModelMove.before_hash == digest))
    return list(session.scalars(query))


def _move(
    session: Session,
    store: Store,
    row: Campaign,
    action: str,
    digest: str | None,
    now: datetime,
    by: Actor,
    changes: dict[str, Any],
    reason: str,
    *,
    share: float | None = None,
    found: Verdict | None = None,
) -> None:
    if len(reason) > LONGEST_REASON:
        raise InvalidInput("reason", f"is longer than {LONGEST_REASON} characters")
    touched = {row.model_hash, row.canary_hash, row.shadow_hash, digest}
    session.add(
        ModelMove(
            at=now,
            campaign_id=row.id,
            action=action,
            model_hash=digest,
            before_hash=row.model_hash,
            share=share,
            reason=reason.strip(),
            overridden=found is not None and not found.passes,
            verdict=msgspec.to_builtins(found) if found is not None else None,
            by=by.name,
            user_id=by.user_id,
        )
    )
    publish.switch(session, store, row.id, f"model: {action}", now, by, changes)
    _note_states(session, {name for name in touched if name is not None})


def _note_states(session: Session, digests: Iterable[str]) -> None:
    """Keep each model's state in the registry at the furthest that it is in any campaign."""
    for digest in sorted(digests):
        model = session.get(TrainedModel, digest, with_for_update=True)
        if model is not None:
            model.state = _furthest(session, digest)
    session.flush()


def _furthest(session: Session, digest: str) -> str:
    for state, column in (
        ("live", Campaign.model_hash), ("canary", Campaign.canary_hash), ("shadow", Campaign.shadow_hash),
    ):  # fmt: skip
        if session.scalar(select(Campaign.id).where(column == digest).limit(1)) is not None:
            return state
    was_live = select(ModelMove.id).where(ModelMove.before_hash == digest).limit(1)
    return "retired" if session.scalar(was_live) is not None else "trained"


Action = Literal["shadow", "canary", "live", "rollback", "stop", "rules"]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step to take: shadow, canary, live and stop name a `model`, canary a `share` of 0.01 to 0.5.

    `reason` is kept for good; a model that the gate does not let go live needs one.
    """

    action: Action
    model: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    share: float | None = None
    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)] = ""


def take(
    session: Session, store: Store, blobs: FolderBlobs, campaign_id: int, step: Step, now: datetime, by: Actor
) -> None:
    """Take a step. Raises InvalidInput naming what is missing, and whatever the step itself raises."""
    if step.action == "rollback":
        roll_back(session, store, blobs, campaign_id, now, by, step.reason)
        return
    if step.action == "rules":
        to_rules(session, store, campaign_id, now, by, step.reason)
        return
    if step.model is None:
        raise InvalidInput("model", "is missing")
    if step.action == "stop":
        stop_trial(session, store, campaign_id, step.model, now, by, step.reason)
    elif step.action == "shadow":
        to_shadow(session, store, blobs, campaign_id, step.model, now, by, step.reason)
    elif step.action == "live":
        to_live(session, store, blobs, campaign_id, step.model, now, by, step.reason)
    elif step.share is None:
        raise InvalidInput("share", "is missing")
    else:
        to_canary(session, store, blobs, campaign_id, step.model, step.share, now, by, step.reason)
