"""Publishing: compile a campaign into its immutable plan and mail, and let the open know what is live.

The database is the truth of what is live. The store's `live:<campaign>` is written with the commit; should that fail,
`refresh`, which the schedule loop calls every few seconds, writes it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from msgspec import UNSET
from redis import RedisError
from sqlalchemy import and_, event, exists, select
from sqlalchemy.orm import Session

from base import keys, logs
from base.blobs import FolderBlobs
from base.clock import check_year
from base.errors import Conflict, InvalidInput, NotFound
from base.ids import TEST_BIT
from base.stores import Store, ask_each
from campaigns import admin_log, approvals, findings, locks, mail, plans, relations, scenarios
from campaigns.admin_log import SYSTEM, Actor
from campaigns.campaigns import campaign
from campaigns.compiling import compile_campaign, live, offer_ids, offers_of
from campaigns.models.campaign import Campaign, Plan
from campaigns.models.catalogue import Offer
from campaigns.models.delivery import Delivery
from render import agree
from render import plan as render_plan
from signals import productpictures

_log = logs.logger(__name__)
_LEAVING: Final = ("scheduled", "sending", "paused")
"""States in which mails are still to leave."""


def publish(
    session: Session,
    store: Store,
    blobs: FolderBlobs,
    campaign_id: int,
    now: datetime,
    by: Actor,
    *,
    starts_at: datetime | None = None,
    is_sending: bool,
) -> str:
    """Make what is written what is shown and sent from now on, or from `starts_at` on, and return the plan's hash.

    A moment to come belongs to campaigns whose mails may have left: opens before it show what they show now.

    The caller commits; the store's live key is written with the commit. Raises InvalidInput naming what is missing or
    wrong, and redis.RedisError when the store is away: then nothing changes. A draft that fails a scenario is published
    and cannot be scheduled; of one that is scheduled, or has left, it is refused with a Conflict. So is a change of one
    that is locked, or that needs a second person's approval and has none for this very plan; and of one whose mails
    are still to leave what would keep it from being scheduled. `is_sending`: they would go to people.
    """
    row = locked(session, campaign_id)
    if starts_at is not None:
        check_year(starts_at, "starts_at")
    if starts_at is not None and (starts_at <= now or row.state not in approvals.LEFT):
        raise InvalidInput("starts_at", "must be to come, and belongs to campaigns whose mails have left")
    _lock_offers(session, row)
    before = admin_log.snapshot(row)
    plan, compiled = compile_campaign(session, row)
    data = render_plan.encode(plan)
    digest = blobs.put(data)
    verdicts = scenarios.ask(session, store, blobs, row, plan, compiled, now)
    for verdict in verdicts:
        if row.state != "draft" and not verdict.passed:
            raise Conflict(scenarios.failed(verdict))
    if row.state in _LEAVING and (blocking := findings.errors(row, plan, compiled, is_sending=is_sending)):
        raise Conflict(blocking[0])
    is_anonymous = plan.tracking == "anonymous"
    if plan.tracking is UNSET:
        _check_never_anonymous(session, row)
    _check_same_arms(session, row)
    mail_hash = blobs.put(mail.encode(compiled))
    _turn(row, now)
    if digest != row.plan_hash:
        locks.refuse(row)
    approvals.check_change(session, row, digest, mail_hash, starts_at, published=plans.brand(blobs, row.plan_hash))
    plans.add(
        session, digest, row.id, mail_hash, len(data), now, by.name,
        anonymous=is_anonymous, arms=row.arms, starts_at=starts_at,
    )  # fmt: skip
    if starts_at is None:
        row.plan_hash, row.next_plan_hash, row.next_plan_at = digest, None, None
    else:
        row.next_plan_hash, row.next_plan_at = digest, starts_at
    scenarios.keep(session, verdicts, digest, now)
    store.set(keys.plan(digest), data)
    _open_caps(session, store, row)
    productpictures.try_again(session, set(plan.product_ids), now)
    admin_log.record(session, by, "publish", "campaign", row.id, now, before=before, after=admin_log.snapshot(row))
    _write_live_with_commit(session, store, row)
    return digest


def _check_never_anonymous(session: Session, row: Campaign) -> None:
    """Raises InvalidInput where mails left that were not to be followed by person: they would be from now on."""
    mailed = exists().where(Delivery.campaign_id == row.id, Delivery.occurrence < TEST_BIT)
    anonymous = exists().where(Plan.campaign_id == row.id, Plan.anonymous)
    if session.scalar(select(and_(mailed, anonymous))):
        raise InvalidInput("tracking", "cannot follow people: mails of this campaign left that name nobody")


def _check_same_arms(session: Session, row: Campaign) -> None:
    """Raises InvalidInput where mails left in other arms: a person would move, and neither arm could be counted."""
    mailed = exists().where(Delivery.campaign_id == row.id, Delivery.occurrence < TEST_BIT)
    before = session.scalar(select(Plan.arms).where(Plan.hash == row.plan_hash))
    if before is not None and before != row.arms and session.scalar(select(mailed)):
        raise InvalidInput("arms", "cannot change: mails of this campaign have left, and people are in its arms")


def _turn(row: Campaign, now: datetime) -> None:
    """Have a plan whose moment has come, though nobody came by to say so yet."""
    if row.next_plan_at is not None and row.next_plan_at <= now:
        row.plan_hash, row.next_plan_hash, row.next_plan_at = row.next_plan_hash, None, None


def turn(session: Session, now: datetime) -> int:
    """Make the plans whose moment has come the ones their campaigns have; returns how many.

    Opens go by the moment itself, so nothing depends on how soon this is called.
    """
    query = select(Campaign).where(Campaign.next_plan_at <= now).order_by(Campaign.id).with_for_update()
    rows = list(session.scalars(query))
    for row in rows:
        before = admin_log.snapshot(row)
        _turn(row, now)
        session.flush()
        admin_log.record(session, SYSTEM, "turn", "campaign", row.id, now, before=before, after=admin_log.snapshot(row))
    return len(rows)


def missing(session: Session, row: Campaign, *, is_sending: bool) -> list[str]:
    """What is still missing before a campaign can be sent, a sentence each; empty when it can.

    `is_sending`: its mails would go to people, not to the embedded sink.
    """
    try:
        plan, compiled = compile_campaign(session, row)
    except InvalidInput as error:
        return [str(error)]
    blocking = findings.errors(row, plan, compiled, is_sending=is_sending)
    if row.plan_hash is None:
        return ["It has not been published.", *blocking]
    if render_plan.digest(render_plan.encode(plan)) != row.plan_hash:
        return ["It was changed since it was published: publish it again.", *blocking]
    return [*blocking, *scenarios.failing(session, row)]


def kill(
    session: Session, store: Store, campaign_id: int, now: datetime, by: Actor, *, picture: str | None = None
) -> None:
    """Pin every block of a campaign to its default (or to a static picture, by blob hash) at once; see `revive`."""
    switch(session, store, campaign_id, "kill", now, by, {"killed": True, "kill_picture": picture})


def revive(session: Session, store: Store, campaign_id: int, now: datetime, by: Actor) -> None:
    """Undo `kill`."""
    switch(session, store, campaign_id, "revive", now, by, {"killed": False, "kill_picture": None})


def withdraw_offer(session: Session, store: Store, campaign_id: int, offer_id: int, now: datetime, by: Actor) -> None:
    """Stop showing one offer in mails already sent, without a new plan."""
    withdrawn = sorted({*locked(session, campaign_id).withdrawn, offer_id})
    switch(session, store, campaign_id, "withdraw offer", now, by, {"withdrawn": withdrawn})


def restore_offer(session: Session, store: Store, campaign_id: int, offer_id: int, now: datetime, by: Actor) -> None:
    """Undo `withdraw_offer`."""
    withdrawn = [number for number in locked(session, campaign_id).withdrawn if number != offer_id]
    switch(session, store, campaign_id, "restore offer", now, by, {"withdrawn": withdrawn})


def refresh(session: Session, store: Store, blobs: FolderBlobs) -> int:
    """Write every live key that differs from the database, and plans that are gone or not as long as they should be;
    returns how many were written.

    A campaign whose key differs is locked and read again before it is written: somebody may have switched it off since,
    and been told so. A plan whose blob is missing is left out with a log line, and so is what a cluster's lost node
    holds: the others must not wait for it. Raises redis.RedisError.
    """
    rows = list(session.scalars(select(Campaign).where(Campaign.plan_hash.is_not(None)).order_by(Campaign.id)))
    if not rows:
        return 0
    learnt = relations.current(session)
    wanted = {keys.live(row.id): render_plan.encode_live(live(row, learnt)) for row in rows}
    held = ask_each(store, list(wanted), lambda pipe, name: pipe.get(name))
    stale: dict[str, bytes] = {}
    differing = [
        row for row, (name, data) in zip(rows, wanted.items(), strict=True) if name in held and held[name] != data
    ]
    for row in differing:
        session.refresh(row, with_for_update=True)
        stale[keys.live(row.id)] = render_plan.encode_live(live(row, learnt))
    named = {name: row.id for row in rows for name in (row.plan_hash, row.next_plan_hash) if name is not None}
    published = session.execute(select(Plan.hash, Plan.size).where(Plan.hash.in_(list(named))))
    sizes = {plan.hash: plan.size for plan in published}
    lengths = ask_each(store, [keys.plan(name) for name in named], lambda pipe, name: pipe.strlen(name))
    for name, campaign_id in named.items():
        if lengths.get(keys.plan(name), sizes.get(name)) != sizes.get(name):
            data = _plan_of(blobs, name, campaign_id)
            stale |= {keys.plan(name): data} if data is not None else {}
    for key, data in stale.items():
        store.set(key, data)
    return len(stale)


def restore_plan(session: Session, store: Store, blobs: FolderBlobs, digest: str) -> bool:
    """Write a published plan where what is under its key is anything else; whether that was so.

    `refresh` looks at its length alone. A plan whose blob is missing is left out as there. Raises redis.RedisError.
    """
    row = session.get(Plan, digest)
    data = _plan_of(blobs, digest, row.campaign_id) if row is not None else None
    name = keys.plan(digest)
    if data is None or ask_each(store, [name], lambda pipe, name: pipe.get(name))[name] == data:
        return False
    store.set(name, data)
    return True


def _plan_of(blobs: FolderBlobs, digest: str, campaign_id: int) -> bytes | None:
    try:
        return blobs.get(digest)
    except NotFound:
        _log.error("a published plan is missing from the blobs", campaign=campaign_id, plan=digest)
        return None


def switch(
    session: Session, store: Store, campaign_id: int, action: str, now: datetime, by: Actor, changes: dict[str, Any]
) -> None:
    """Change columns of a campaign that its live key tells of; the key is written with the caller's commit."""
    row = locked(session, campaign_id)
    before = admin_log.snapshot(row)
    for name, value in changes.items():
        setattr(row, name, value)
    session.flush()
    admin_log.record(session, by, action, "campaign", row.id, now, before=before, after=admin_log.snapshot(row))
    _write_live_with_commit(session, store, row)


def locked(session: Session, campaign_id: int) -> Campaign:
    """The campaign as it is now, held until the transaction ends: who changes it at the same time waits."""
    row = campaign(session, campaign_id)
    session.refresh(row, with_for_update=True)
    return row


def _lock_offers(session: Session, row: Campaign) -> None:
    """Hold the campaign's offers: another campaign that shows them must not change their caps meanwhile."""
    query = select(Offer).where(Offer.id.in_(offer_ids(row))).order_by(Offer.id).with_for_update()
    session.scalars(query.execution_options(populate_existing=True)).all()


def _write_live_with_commit(session: Session, store: Store, row: Campaign) -> None:
    """Write the live key as the row is now, as the last thing before the transaction is committed.

    The row is still locked then, so that who switches next also writes next. A write that fails, or that no commit
    follows, is left to `refresh`.
    """
    name, data = keys.live(row.id), render_plan.encode_live(live(row, relations.current(session)))

    def commits(_session: Session) -> None:
        try:
            store.set(name, data)
        except RedisError as error:
            _log.warning("live key not written, the schedule loop will", error=type(error).__name__)

    event.listen(session, "before_commit", commits, once=True)


def _open_caps(session: Session, store: Store, row: Campaign) -> None:
    """Create the cap of each offer that has none, and change those whose total was changed since.

    Harmless when the commit fails: the next publish says the same to the store again.
    """
    for offer in offers_of(session, row):
        if offer.cap_total is None:
            continue
        opened = offer.cap_opened is None and agree.open_cap(store, offer.id, offer.cap_total)
        if not opened:
            agree.change_cap(store, offer.id, offer.cap_total, offer.cap_opened or offer.cap_total)
        offer.cap_opened = offer.cap_total
