"""Publishing: compile a campaign into its immutable plan and mail, and let the open know what is live.

The database is the truth of what is live. The store's `live:<campaign>` is written with the commit; should that fail,
`refresh`, which the schedule loop calls every few seconds, writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import UNSET, convert
from msgspec.structs import replace
from redis import RedisError
from sqlalchemy import and_, event, exists, select
from sqlalchemy.orm import Session

from base import keys, logs
from base.blobs import FolderBlobs
from base.errors import InvalidInput, NotFound
from base.ids import TEST_BIT
from base.stores import Store
from campaigns import admin_log, arms, creatives, lasting, mail, messages, offers, plans, pools, relations, rulebook
from campaigns.admin_log import Actor
from campaigns.campaigns import campaign
from campaigns.mail import CompiledMail
from campaigns.models.campaign import Campaign, Plan
from campaigns.models.catalogue import Message, Offer
from campaigns.models.delivery import Delivery
from render import agree
from render import plan as render_plan
from render.arbitration import Arbitration, Policy
from render.creative import Creative, countdown_of
from render.faults import validate
from render.pick import Pick
from signals import productpictures
from signals.catalog import Category
from signals.products import Product

_log = logs.logger(__name__)


def compile_campaign(session: Session, row: Campaign) -> tuple[render_plan.Plan, CompiledMail]:
    """The plan and the mail of a campaign as it is written now. Raises InvalidInput naming what keeps it from going."""
    if row.message_id is None:
        raise InvalidInput("message_id", "is missing: a campaign needs a message")
    if not row.default_landing:
        raise InvalidInput("default_landing", "is missing: clicks that cannot be resolved go there")
    message = messages.message(session, row.message_id)
    compiled = mail.compile_mail(messages.content(message), row.id, row.brand, with_amp=row.amp)
    shown = _offers(session, row)
    known = rulebook.categories(session)
    pools_of = {offer.id: pools.compiled(session, offer) for offer in shown if offer.pick is not None}
    named = sorted(
        {slug for offer in shown for slug in _slugs(offer)} | {*_named(row.suppress), *_named(row.arbitration)}
    )
    designs = {
        number: creatives.compiled(creatives.creative(session, number))
        for number in sorted({offer.creative_id for offer in shown} | _swapped(row))
    }
    plan = render_plan.Plan(
        campaign=row.id,
        name=row.name,
        slots=tuple(_slots(row, message)),
        offers=tuple(
            _timed(_versioned(session, offer, known, pools_of.get(offer.id), designs), designs) for offer in shown
        ),
        creatives=tuple(designs.values()),
        default_landing=row.default_landing,
        locale=row.locale,
        currency=row.currency,
        brand=row.brand,
        hold_s=row.hold_s,
        lifetime_days=row.lifetime_days,
        feed_stale_s=row.feed_stale_s,
        categories={slug: known[slug] for slug in named if slug in known},
        category_names=_names(session, named),
        sensitive=rulebook.sensitive(session),
        needs_consent=tuple(row.needs_consent),
        undecided_capped=row.undecided_capped,
        landing_hosts=_hosts(row, shown, pools_of.values()),
        amp_senders=(message.from_address.lower(),) if row.amp else UNSET,
        tracking=UNSET if row.tracking == "identified" else convert(row.tracking, Literal["none", "anonymous"]),
        suppress=UNSET if row.suppress is None else row.suppress,
        guarded=UNSET if row.guard == "off" else True,
        arbitration=UNSET if row.arbitration is None else convert(row.arbitration, Arbitration),
        split=arms.split(row.arms_key, row.arms) or UNSET,
        # The page names its mail, so that a plan's hash stands for the mail too.
        view_html=f"{mail.view_template(compiled)}<!-- {render_plan.digest(mail.encode(compiled))} -->",
    )
    faults = validate(plan)
    if faults:
        field, _, text = faults[0].partition(": ")
        raise InvalidInput(field, "; ".join((text, *faults[1:])))
    for field, text in lasting.faults(plan, compiled.html, _titles(session, plan.product_ids)):
        raise InvalidInput(field, text)
    for offer in shown:
        for layer in render_plan.LAYERS:
            if getattr(offer, layer) is not None:
                rulebook.check(session, getattr(offer, layer), "eligibility", f"offers[{offer.id}].{layer}")
    return plan, compiled


def _versioned(
    session: Session, row: Offer, known: Mapping[str, int], pick: Pick | None, designs: Mapping[int, Creative]
) -> render_plan.Offer:
    """The offer with the versions of its product's line where it tells of them; of a picked one the pool has them."""
    told = pools.versions(session, row, designs[row.creative_id])
    return replace(offers.compiled(row, known, pick), versions=told)


def _timed(offer: render_plan.Offer, designs: Mapping[int, Creative]) -> render_plan.Offer:
    """An offer whose design counts down is bound to the clock, whether or not its manager thought of that."""
    return replace(offer, clock_bound=True) if countdown_of(designs[offer.creative].layers) is not None else offer


def publish(session: Session, store: Store, blobs: FolderBlobs, campaign_id: int, now: datetime, by: Actor) -> str:
    """Make what is written what is shown and sent from now on, and return the plan's hash.

    The caller commits; the store's live key is written with the commit. Raises InvalidInput naming what is missing or
    wrong, and redis.RedisError when the store is away: then nothing changes.
    """
    row = locked(session, campaign_id)
    _lock_offers(session, row)
    before = admin_log.snapshot(row)
    plan, compiled = compile_campaign(session, row)
    data = render_plan.encode(plan)
    digest = blobs.put(data)
    is_anonymous = plan.tracking == "anonymous"
    if plan.tracking is UNSET:
        _check_never_anonymous(session, row)
    _check_same_arms(session, row)
    mail_hash = blobs.put(mail.encode(compiled))
    plans.add(session, digest, row.id, mail_hash, len(data), now, by.name, anonymous=is_anonymous, arms=row.arms)
    row.plan_hash = digest
    session.flush()
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


def _swapped(row: Campaign) -> set[int]:
    """The creatives that only some arm shows."""
    return {swap["creative"] for arm in row.arms for swap in arm["creatives"]}


def _check_same_arms(session: Session, row: Campaign) -> None:
    """Raises InvalidInput where mails left in other arms: a person would move, and neither arm could be counted."""
    mailed = exists().where(Delivery.campaign_id == row.id, Delivery.occurrence < TEST_BIT)
    before = session.scalar(select(Plan.arms).where(Plan.hash == row.plan_hash))
    if before is not None and before != row.arms and session.scalar(select(mailed)):
        raise InvalidInput("arms", "cannot change: mails of this campaign have left, and people are in its arms")


def is_current(session: Session, row: Campaign) -> bool:
    """Whether what is published is what is written. Raises InvalidInput when what is written could not be published."""
    return row.plan_hash == render_plan.digest(render_plan.encode(compile_campaign(session, row)[0]))


def missing(session: Session, row: Campaign) -> list[str]:
    """What is still missing before a campaign can be sent, a sentence each; empty when it can."""
    try:
        current = is_current(session, row)
    except InvalidInput as error:
        return [str(error)]
    if row.plan_hash is None:
        return ["It has not been published."]
    return [] if current else ["It was changed since it was published: publish it again."]


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


def live(row: Campaign, learnt: str | None) -> render_plan.Live:
    """What the open is told of a campaign; `learnt` names the relations that are current."""
    return render_plan.Live(
        plan=row.plan_hash,
        state="killed" if row.killed else "live",
        withdrawn=tuple(row.withdrawn),
        model=row.model_hash,
        brand=row.brand,
        picture=row.kill_picture,
        canary=render_plan.Canary(row.canary_hash, row.canary_share or 0.0) if row.canary_hash else None,
        relations=learnt,
    )


def refresh(session: Session, store: Store, blobs: FolderBlobs) -> int:
    """Write every live key that differs from the database, and plans that are gone; returns how many were written.

    A campaign whose key differs is locked and read again before it is written: somebody may have switched it off since,
    and been told so. A plan whose blob is missing is left out with a log line: the others must not wait for it.
    """
    rows = list(session.scalars(select(Campaign).where(Campaign.plan_hash.is_not(None)).order_by(Campaign.id)))
    if not rows:
        return 0
    learnt = relations.current(session)
    wanted = {keys.live(row.id): render_plan.encode_live(live(row, learnt)) for row in rows}
    held: list[bytes | None] = store.mget(list(wanted))  # type: ignore[assignment]
    stale: dict[str, bytes] = {}
    differing = [row for row, data, there in zip(rows, wanted.values(), held, strict=True) if data != there]
    for row in differing:
        session.refresh(row, with_for_update=True)
        stale[keys.live(row.id)] = render_plan.encode_live(live(row, learnt))
    for row in rows:
        if row.plan_hash is not None and not store.exists(keys.plan(row.plan_hash)):
            try:
                stale[keys.plan(row.plan_hash)] = blobs.get(row.plan_hash)
            except NotFound:
                _log.error("a published plan is missing from the blobs", campaign=row.id, plan=row.plan_hash)
    for name, data in stale.items():
        store.set(name, data)
    return len(stale)


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
    query = select(Offer).where(Offer.id.in_(_numbers(row))).order_by(Offer.id).with_for_update()
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
    for offer in _offers(session, row):
        if offer.cap_total is None:
            continue
        opened = offer.cap_opened is None and agree.open_cap(store, offer.id, offer.cap_total)
        if not opened:
            agree.change_cap(store, offer.id, offer.cap_total, offer.cap_opened or offer.cap_total)
        offer.cap_opened = offer.cap_total


def _offers(session: Session, row: Campaign) -> list[Offer]:
    """The offers a campaign may show, in the order in which its slots name them."""
    return [offers.offer(session, number) for number in _numbers(row)]


def _numbers(row: Campaign) -> dict[int, None]:
    wanted: dict[int, None] = {}
    for choice in row.slots:
        wanted |= dict.fromkeys([*choice["offers"], choice["default"]])
    return wanted


def _slots(row: Campaign, message: Message) -> Iterator[render_plan.Slot]:
    chosen = {choice["slot"]: choice for choice in row.slots}
    for place in message.slots:
        choice = chosen.get(place["index"])
        if choice is None:
            raise InvalidInput(
                "slots", f"do not say what the slot {place['name']} shows; each needs at least a default"
            )
        yield render_plan.Slot(
            index=place["index"],
            name=place["name"],
            width=place["width"],
            height=place["height"],
            alt=place["alt"],
            fmt=place["fmt"],
            # What counts down must be able to move there too.
            web_fmt="gif" if place["fmt"] == "gif" else "webp",
            max_bytes=place["max_bytes"],
            offers=tuple(choice["offers"]),
            default=choice["default"],
            mode=choice["mode"],
            policy=convert(choice["policy"], Policy) if choice.get("policy") else UNSET,
        )


def _slugs(offer: Offer) -> Iterator[str]:
    """The categories an offer names: in its own fields and in its rules."""
    yield from filter(None, (offer.category, offer.purpose_category, offer.after_category))
    for rule in (offer.legal, offer.relevant, offer.beneficial):
        yield from _named(rule)


def _named(rule: Any) -> Iterator[str]:
    """The categories that a rule names."""
    pending = [rule]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if isinstance(node.get("category"), str):
                yield node["category"]
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def _titles(session: Session, ids: Sequence[str]) -> dict[str, str]:
    rows = session.execute(select(Product.id, Product.title).where(Product.id.in_(ids)))
    return {row.id: row.title for row in rows}


def _names(session: Session, slugs: list[str]) -> dict[str, str]:
    rows = session.execute(select(Category.slug, Category.name).where(Category.slug.in_(slugs)).order_by(Category.slug))
    return {row.slug: row.name for row in rows}


def _hosts(row: Campaign, shown: list[Offer], picks: Iterable[Pick]) -> tuple[str, ...]:
    """Where a click may lead: the hosts of the addresses that managers wrote, those of the pages of products that may
    be picked, and those the campaign names."""
    links = (entry.link for pick in picks for entry in pick.pool)
    addresses = (row.default_landing, *(offer.landing for offer in shown), *links)
    hosts = {urlsplit(address).hostname for address in addresses}
    return tuple(sorted({host for host in hosts if host} | set(row.landing_hosts)))
