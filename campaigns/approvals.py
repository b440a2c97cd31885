"""Whether a campaign needs a second person's word before its mails leave, and whether it has it, for what it is now.

An approval is of one exact version: all that is written of the campaign and its message, its audience rule with the
segments in it, the plan and the mail that it becomes, the segments that its offers ask for, and when it goes out. It
stands while all of that is as it was; whatever is changed makes it void.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.errors import Conflict
from campaigns import admin_log, campaigns, compiling, messages, plans, rulebook, segments
from campaigns.admin_log import Actor
from campaigns.models.approval import Approval, ApprovalRule
from campaigns.models.campaign import Campaign
from render.plan import LAYERS

LEFT: Final = ("sending", "paused", "finished", "cancelled")
"""States of campaigns whose mails may have left: what is published is shown in them."""
EVERY_BRAND: Final = ""
_encode = msgspec.json.Encoder(order="deterministic").encode


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether campaigns of a brand need approval; brand "" stands for all without a rule of their own.

    `required` null takes a brand's own rule away.
    """

    brand: Annotated[str, Meta(max_length=120)] = EVERY_BRAND
    required: bool | None


class Version(Struct, frozen=True):
    """What is approved: `hash` is SHA-256 of `content`, which says in plain JSON all that it covers."""

    hash: str
    content: dict[str, Any]


def rules(session: Session) -> list[ApprovalRule]:
    """The rules, that for every brand first."""
    return list(session.scalars(select(ApprovalRule).order_by(ApprovalRule.brand)))


def set_rule(session: Session, rule: Rule, now: datetime, by: Actor) -> None:
    """Say whether approval is required. It counts from now on, for what is scheduled or under way too."""
    row = session.get(ApprovalRule, rule.brand)
    before = None if row is None else admin_log.snapshot(row)
    if rule.required is None:
        if row is not None:
            session.delete(row)
        session.flush()
        admin_log.record(session, by, "lift", "approval rule", rule.brand or "every brand", now, before=before)
        return
    if row is None:
        row = ApprovalRule(brand=rule.brand, required=rule.required, changed_at=now)
        session.add(row)
    row.required, row.changed_at = rule.required, now
    session.flush()
    after = admin_log.snapshot(row)
    admin_log.record(
        session, by, "change", "approval rule", rule.brand or "every brand", now, before=before, after=after
    )


def is_required(session: Session, *brands: str) -> bool:
    """Whether a campaign of any of these brands needs a second person. Without any rule none does."""
    found = {row.brand: row.required for row in rules(session)}
    return any(found.get(brand, found.get(EVERY_BRAND, False)) for brand in brands)


def brands(session: Session, row: Campaign, published: str | None = None) -> set[str]:
    """The brands by which a campaign is ruled: that which is written, that which was approved, and that of its plan.

    Otherwise whoever may write a campaign could move it to a brand that asks nobody, and have what was approved go.
    """
    found = approved(session, row.id)
    told = {row.brand, published, found.content["campaign"]["brand"] if found is not None else None}
    return {brand for brand in told if brand is not None}


def version(
    session: Session, row: Campaign, plan_hash: str, mail_hash: str, due_at: datetime | None, starts_at: datetime | None
) -> Version:
    """The version that a campaign is now, if it becomes this plan and mail and goes out then (None: at once)."""
    by_offers = [getattr(offer, layer) for offer in compiling.offers_of(session, row) for layer in LAYERS]
    content = {
        "campaign": msgspec.to_builtins(campaigns.content(row)),
        "message": msgspec.to_builtins(messages.content(messages.message(session, row.message_id or 0))),
        "audience": rulebook.expanded(session, row.audience),
        "suppress": rulebook.expanded(session, row.suppress) if row.suppress is not None else None,
        "segments": {
            str(number): rulebook.expanded(session, {"segment": number})
            for number in sorted(segments.within(session, by_offers))
        },
        "plan": plan_hash,
        "mail": mail_hash,
        "due_at": due_at.isoformat() if due_at else None,
        "starts_at": starts_at.isoformat() if starts_at else None,
    }
    return Version(hashlib.sha256(_encode(content)).hexdigest(), content)


def history(session: Session, campaign_id: int) -> list[Approval]:
    """Every version that was asked for, the newest first."""
    return list(
        session.scalars(select(Approval).where(Approval.campaign_id == campaign_id).order_by(Approval.id.desc()))
    )


def newest(session: Session, most: int) -> list[Approval]:
    """What waits, of all campaigns, the oldest first; then what was settled last."""
    waits = list(session.scalars(select(Approval).where(Approval.state == "asked").order_by(Approval.id).limit(most)))
    said = select(Approval).where(Approval.state != "asked").order_by(Approval.id.desc())
    return [*waits, *session.scalars(said.limit(most - len(waits)))]


def asked(session: Session, campaign_id: int) -> Approval | None:
    """The version that waits for somebody's word."""
    return session.scalar(select(Approval).where(Approval.campaign_id == campaign_id, Approval.state == "asked"))


def approved(session: Session, campaign_id: int) -> Approval | None:
    """The version that was approved last, whether or not the campaign is still that version."""
    return session.scalar(select(Approval).where(Approval.campaign_id == campaign_id, Approval.state == "approved"))


def stands(session: Session, row: Campaign, found: Approval) -> bool:
    """Whether what is published, and all that is written, is still that version."""
    if row.plan_hash is None:
        return False
    plan = plans.plan(session, row.next_plan_hash or row.plan_hash)
    return version(session, row, plan.hash, plan.mail_hash, found.due_at, found.starts_at).hash == found.version


def check_send(
    session: Session, row: Campaign, due_at: datetime | None = None, *, published: str | None = None
) -> None:
    """Raises Conflict when the campaign may not go out as it is, or not at that time, for want of an approval.

    What was approved to go out at once goes out at the instant of the approval, and at no other. `published` is the
    brand of its plan where that may differ from what is written.
    """
    if not is_required(session, *brands(session, row, published)):
        return
    found = approved(session, row.id)
    if found is None:
        raise Conflict("It needs a second person’s approval before it goes out.")
    if not stands(session, row, found):
        raise Conflict("It was changed since it was approved, so the approval is void: it has to be approved anew.")
    if due_at is not None and due_at != (found.due_at or found.settled_at):
        raise Conflict("It was approved for another time: it has to be approved for this one.")


def check_change(
    session: Session,
    row: Campaign,
    plan_hash: str,
    mail_hash: str,
    starts_at: datetime | None,
    *,
    published: str | None,
) -> None:
    """Raises Conflict when a campaign whose mails have left may not become this plan for want of an approval.

    `published` is the brand of the plan that it has.
    """
    if row.state not in LEFT or plan_hash == row.plan_hash:
        return
    if not is_required(session, *brands(session, row, published)):
        return
    found = approved(session, row.id)
    wanted = version(session, row, plan_hash, mail_hash, found.due_at if found else None, starts_at)
    if found is None or found.version != wanted.hash:
        raise Conflict("A change of mails that have left needs a second person’s approval.")
