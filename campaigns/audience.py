"""Who gets a campaign's mail, who does not and why. Counting and freezing ask one and the same query.

Reasons are tried in the order of EXCLUSIONS; the first that holds is the one counted, so the parts add up to the total.
Of several people at one address the oldest profile gets the mail, and that choice is kept with the rows of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import (
    CTE,
    ColumnElement,
    DateTime,
    LargeBinary,
    Row,
    Select,
    Text,
    and_,
    case,
    false,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from base.errors import Conflict
from campaigns import arms, campaigns, contacts, holdout, joining, replenish, rulebook, triggers, waves
from campaigns.channels import EMAIL, IDENTIFIERS
from campaigns.models.campaign import Campaign, Occurrence
from campaigns.models.delivery import Delivery
from campaigns.waves import Waves
from render.guard import FLAGS
from signals import rules_sql
from signals.consenthistory import UNSUBSCRIBED
from signals.profiles import Identifier, Profile, ProfileStateRow
from signals.readings import FLAG
from signals.rules import Rule
from signals.suppression import BOUNCED, Suppression

EXCLUSIONS: Final = (
    "no_address", "unsubscribed", "bounced", "suppressed", "no_consent", "ruled_out", "flag_service", "flag_returns",
    "flag_discount", "flag_spending", contacts.LIMITED, contacts.ONCE, waves.HOUR_PAST, "duplicate_address", "held_out",
)  # fmt: skip

ONCE: Final = ("MATERIALIZED",)
"""Without it the planner puts a step's subqueries into every place of the next one that reads them."""


@dataclass(frozen=True)
class Audience:
    """How many people the rule describes, how many are mailed, and why the others are not. total = sendable + excluded.

    `content_held` of the sendable get the mail with neutral blocks.
    """

    total: int
    sendable: int
    content_held: int
    excluded: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Person:
    """One person of an audience: why they get no mail (None: they do), their holdout, and who got it in their place."""

    profile_id: int
    reason: str | None
    holdout: str
    chosen_profile_id: int | None


def count(session: Session, campaign_id: int, now: datetime, hash_key: bytes) -> Audience:
    """Count the audience as it would be frozen now. Raises InvalidInput when the rule is not sound."""
    rows = _people(session, campaigns.campaign(session, campaign_id), now, hash_key)
    groups = select(rows.c.reason, rows.c.holdout, func.count()).group_by(rows.c.reason, rows.c.holdout)
    return _summed([(reason, kept, number) for reason, kept, number in session.execute(groups)])


def mailed(session: Session, campaign: Campaign, now: datetime, hash_key: bytes) -> Select[int]:
    """A query of the ids of everybody who would get the mail if it were frozen now. Raises InvalidInput."""
    rows = _people(session, campaign, now, hash_key)
    return select(rows.c.profile_id).where(rows.c.reason.is_(None))


def sampled(
    session: Session, campaign: Campaign, now: datetime, hash_key: bytes, most: int
) -> tuple[int, list[Person]]:
    """How many `count` counts, and at most so many of them: those with the least hash of their number, so the same ones
    at each look. Raises InvalidInput when the rule is not sound."""
    rows = _people(session, campaign, now, hash_key)
    number = rows.c.profile_id
    query = (
        select(rows, func.count().over().label("total"))
        .order_by(func.md5(func.concat("taker", number)), number)
        .limit(most)
    )
    found = session.execute(query).all()
    return found[0].total if found else 0, [_person(row) for row in found]


def is_anybody_due(session: Session, campaign: Campaign, now: datetime, hash_key: bytes) -> bool:
    """Whether a campaign that waits for people, or for what they do, has somebody of its audience to enter now."""
    if campaign.trigger is None:
        return session.scalar(select(_people(session, campaign, now, hash_key).c.profile_id).limit(1)) is not None
    done = triggers.due(session, campaign, now)
    members = joining.members(session, campaign, now)
    query = members.where(ProfileStateRow.profile_id.in_(select(done.c.profile_id))).limit(1)
    return session.scalar(query) is not None


def people(
    session: Session,
    campaign_id: int,
    now: datetime,
    hash_key: bytes,
    *,
    reason: str | None = None,
    after: int = 0,
    limit: int = 50,
) -> list[Person]:
    """Some of the audience by profile id: those with this reason, or with none; `after` pages on."""
    rows = _people(session, campaigns.campaign(session, campaign_id), now, hash_key)
    wanted = rows.c.reason.is_(None) if reason is None else rows.c.reason == reason
    query = select(rows).where(wanted, rows.c.profile_id > after).order_by(rows.c.profile_id).limit(min(limit, 1000))
    return [_person(row) for row in session.execute(query)]


def freeze(session: Session, campaign_id: int, occurrence: int, now: datetime, hash_key: bytes) -> Audience:
    """Write the ledger rows of a run: who gets the mail, and all others with the reason. Doing it again adds nobody.

    The caller commits. Raises Conflict when nothing was published.
    """
    campaign = campaigns.campaign(session, campaign_id)
    if campaign.plan_hash is None:
        raise Conflict("The campaign has not been published.")
    holdout.leave_merged(session, now)
    run = session.get(Occurrence, (campaign_id, occurrence))
    rows = _people(session, campaign, now, hash_key, None if run is None else run.wall)
    split = arms.published(session, campaign)
    session.execute(
        insert(Delivery)
        .from_select(
            [
                "campaign_id", "occurrence", "profile_id", "channel", "address_hash", "state", "reason", "holdout",
                "chosen_profile_id", "plan_hash", "created_at", "settled_at", "arm", "zone", "zone_from", "not_before",
            ],
            select(
                literal(campaign_id), literal(occurrence), rows.c.profile_id, literal(campaign.channel),
                rows.c.address_hash,
                case((rows.c.reason.is_(None), "queued"), else_="skipped"), rows.c.reason, rows.c.holdout,
                rows.c.chosen_profile_id, literal(campaign.plan_hash), literal(now),
                case((rows.c.reason.is_not(None), literal(now))),
                case((and_(rows.c.reason.is_(None), rows.c.holdout == "none"), arms.arm_of(split, rows.c.profile_id))),
                rows.c.zone, rows.c.zone_from, rows.c.not_before,
            ).order_by(rows.c.profile_id),
        )
        .on_conflict_do_nothing()
    )  # fmt: skip
    for (scope, kind), share in holdout.shares(session, campaign).items():
        if share > 0:
            drawn = select(rows.c.profile_id, rows.c[f"{kind}_{scope}"].label("held"))
            holdout.assign(session, scope, kind, share, drawn.where(rows.c.is_drawn), now)
    if campaign.replenish is not None:
        replenish.enter(session, campaign, occurrence, now)
    if campaign.trigger is not None:
        triggers.enter(session, campaign, occurrence, now)
    if joining.remembers(session, campaign):
        joining.enter(session, campaign, occurrence, now)
    joining.forget_snapshot(session, campaign_id)
    return frozen(session, campaign_id, occurrence)


def frozen(session: Session, campaign_id: int, occurrence: int) -> Audience:
    """The audience of a run as its ledger has it; rows are counted where they began, whatever became of them since."""
    began = case((Delivery.reason.in_(EXCLUSIONS) & (Delivery.state == "skipped"), Delivery.reason))
    query = (
        select(began, Delivery.holdout, func.count())
        .where(Delivery.campaign_id == campaign_id, Delivery.occurrence == occurrence)
        .group_by(began, Delivery.holdout)
    )
    return _summed([(reason, kept, number) for reason, kept, number in session.execute(query)])


def _person(row: Row[Any]) -> Person:
    return Person(row.profile_id, row.reason, row.holdout, row.chosen_profile_id)


def _summed(groups: Sequence[tuple[str | None, str, int]]) -> Audience:
    excluded = {
        name: sum(number for reason, _, number in groups if reason == name)
        for name in EXCLUSIONS
        if any(reason == name for reason, _, _ in groups)
    }
    sendable = sum(number for reason, _, number in groups if reason is None)
    held = sum(number for reason, kept, number in groups if reason is None and kept == "content")
    return Audience(sendable + sum(excluded.values()), sendable, held, excluded)


def _people(session: Session, campaign: Campaign, now: datetime, hash_key: bytes, wall: datetime | None = None) -> CTE:
    """Everybody in the audience, a row each, with reason, holdout, the choice at a shared address, zone and moment.

    `wall` is what recipients' clocks show when their mail may leave; the scheduled time unless given.
    """
    members = joining.members(session, campaign, now)
    if campaign.replenish is not None:
        items = replenish.due(session, campaign, now)
        members = members.where(ProfileStateRow.profile_id.in_(select(items.c.profile_id)))
    if campaign.trigger is not None and campaign.due_at is not None:
        done = triggers.due(session, campaign, now)
        members = members.where(ProfileStateRow.profile_id.in_(select(done.c.profile_id)))
    who = members.cte("who")
    rule = campaign.suppress
    suppressed = None if rule is None else rulebook.check(session, rule, "audience", "suppress")
    plan = waves.waves(campaign, wall or campaign.due_wall, now)
    known = _known(session, who, campaign, suppressed, plan, now)
    shared = (
        select(
            known,
            # The oldest profile of those that could be mailed at this address.
            func.min(case((known.c.first_reason.is_(None), known.c.profile_id)))
            .over(partition_by=known.c.address_hash)
            .label("chosen"),
        )
        .cte("shared")
        .prefix_with(*ONCE)
    )
    drawn = {
        f"{kind}_{scope}": holdout.is_held(
            session,
            scope,
            kind,
            share,
            hash_key,
            shared.c.profile_id,
            cast("ColumnElement[bytes]", shared.c.lasting_name),
        )
        for (scope, kind), share in holdout.shares(session, campaign).items()
    }
    is_double = and_(shared.c.first_reason.is_(None), shared.c.chosen != shared.c.profile_id)
    is_drawn = and_(shared.c.first_reason.is_(None), shared.c.chosen == shared.c.profile_id)
    held = (
        select(
            shared,
            is_double.label("is_double"),
            is_drawn.label("is_drawn"),
            *(value.label(name) for name, value in drawn.items()),
        )
        .cte("held")
        .prefix_with(*ONCE)
    )
    no_mail = or_(*(held.c[name] for name in drawn if name.startswith("send")))
    no_content = or_(*(held.c[name] for name in drawn if name.startswith("content")))
    reason = case(
        (held.c.first_reason.is_not(None), held.c.first_reason),
        (held.c.is_double, literal("duplicate_address")),
        (no_mail, literal("held_out")),
    )
    query = select(
        held.c.profile_id,
        held.c.address_hash,
        reason.label("reason"),
        case(
            (held.c.is_drawn & no_mail, literal("send")),
            (held.c.is_drawn & no_content, literal("content")),
            else_="none",
        ).label("holdout"),
        case((held.c.is_double, held.c.chosen)).label("chosen_profile_id"),
        held.c.is_drawn,
        held.c.zone,
        held.c.zone_from,
        held.c.not_before,
        *(held.c[name] for name in drawn),
    )
    if joining.remembers(session, campaign):
        query = query.where(joining.is_news(campaign, held.c.profile_id, reason))
    return query.cte("audience")


def _flag(name: str) -> ColumnElement[bool]:
    """Whether the profit guard flags a person, as signals.features reads it."""
    return cast("ColumnElement[bool]", ProfileStateRow.document["scores"][f"{FLAG}{name}"].is_not(None))


def _known(
    session: Session, who: CTE, campaign: Campaign, suppressed: Rule | None, plan: Waves | None, now: datetime
) -> CTE:
    """Each person's address, what forbids mailing them, when that may leave, and the name their groups are drawn by."""
    flags = {f"flag_{name}": _flag(name) for name in FLAGS} if campaign.guard == "audience" else {}
    ruled_out = false() if suppressed is None else rules_sql.where(suppressed, now)
    base = select(
        who.c.profile_id,
        ProfileStateRow.document["consent"].label("consent"),
        _newest(IDENTIFIERS[campaign.channel], who).label("address_hash"),
        _newest("user_id", who).label("user_hash"),
        ruled_out.label("ruled_out"),
        *(has.label(name) for name, has in flags.items()),
    ).join(ProfileStateRow, ProfileStateRow.profile_id == who.c.profile_id)
    if plan is None:
        base = base.add_columns(literal(None, Text).label("zone"), literal(None, Text).label("zone_from"))
    else:
        base = waves.zoned(base, who, plan)
    found = base.cte("found").prefix_with(*ONCE)
    moments = None if plan is None else waves.moments(plan)
    listed = select(Suppression.reason).where(Suppression.address_hash == found.c.address_hash).scalar_subquery()
    # What goes to a person's own device waits for a yes to that channel.
    needed = [*campaign.needs_consent, *([] if campaign.channel == EMAIL else [campaign.channel])]
    wanting = [func.coalesce(found.c.consent[purpose].as_boolean(), False).is_(False) for purpose in needed]
    reasons: list[tuple[Any, Any]] = [
        (found.c.address_hash.is_(None), literal("no_address")),
        (found.c.consent[campaign.channel].as_boolean().is_(False), literal("unsubscribed")),
        (listed == UNSUBSCRIBED, literal("unsubscribed")),
        (listed == BOUNCED, literal(BOUNCED)),
        (listed.is_not(None), literal("suppressed")),
    ]
    if wanting:
        reasons.append((or_(*wanting), literal("no_consent")))
    if suppressed is not None:
        reasons.append((found.c.ruled_out, literal("ruled_out")))
    reasons += [(found.c[name], literal(name)) for name in flags]
    reasons += contacts.reasons(session, campaign, now, found.c.profile_id, found.c.address_hash)
    if joining.remembers(session, campaign):
        reasons.append((joining.is_mailed(campaign, found.c.address_hash), literal("duplicate_address")))
    if moments is not None:
        reasons.append((moments.c.at.is_(None), literal(waves.HOUR_PAST)))
    number = sql_cast(sql_cast(found.c.profile_id, Text), LargeBinary)
    query = select(
        found.c.profile_id,
        found.c.address_hash,
        found.c.zone,
        found.c.zone_from,
        case(*reasons).label("first_reason"),
        func.coalesce(found.c.user_hash, found.c.address_hash, number).label("lasting_name"),
    )
    if plan is None or moments is None:
        later = waves.opening(campaign, now)
        query = query.add_columns(literal(later, DateTime(timezone=True)).label("not_before"))
    else:
        query = waves.timed(query, found, moments, plan, now)
    return query.cte("known").prefix_with(*ONCE)


def _newest(kind: str, who: CTE) -> ColumnElement[bytes]:
    """A person's identifier of a kind that was stated last, over all profiles merged into them.

    A look-up by index for each person: joined as a set, a planner that expects few people compares all with all.
    """
    member = aliased(Profile)
    return (
        select(Identifier.value_hash)
        .join(member, member.id == Identifier.profile_id)
        .where(Identifier.type == kind, ~Identifier.presumed, member.root_id == who.c.profile_id)
        .order_by(Identifier.last_seen.desc(), Identifier.value_hash)
        .limit(1)
        .correlate(who)
        .scalar_subquery()
    )
