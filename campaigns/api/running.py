"""Campaigns as they run: publish, schedule, switches, the ledger and results."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy.orm import Session

from campaigns import (
    access_log,
    accounting,
    audience,
    campaigns,
    killswitch,
    mailreports,
    offers,
    plans,
    publish,
    recipients,
    rollout,
    settling,
    transitions,
)
from campaigns.access import allow
from campaigns.admin_log import Actor
from campaigns.api.desk import Done, Id, LongId, Page, api, served
from campaigns.deliveries import is_our_fault
from campaigns.models import Plan as PlanRow
from campaigns.parts import parts
from campaigns.views.acting import actor

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Published(msgspec.Struct, frozen=True):
    """The hash of the plan that was made."""

    plan: str


class Version(msgspec.Struct, frozen=True):
    """One published plan, and from when on it was first to be shown."""

    plan: str
    number: int
    published_at: str
    starts_at: str


class Versions(msgspec.Struct, frozen=True):
    """Every published plan, the newest first."""

    versions: list[Version]


class PublishIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From when on it counts, of a campaign whose mails have left; without it at once."""

    starts_at: Moment | None = None


class KillIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The neutral offer whose picture stands for every block; without one each block shows its own default."""

    offer: Id | None = None


class TestIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As whom, and to which address: as customers, or as who a scenario of the campaign makes up."""

    profile_ids: list[LongId] = []
    scenario: Id | None = None
    address: str


class TestOut(msgspec.Struct, frozen=True):
    """The number of the test run."""

    occurrence: int


class ModelIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model that scores slots of mode "model"; null leaves them to the rules.

    `reason` says why, where the gate does not let the model go live by itself.
    """

    model: str | None
    reason: str = ""


class AudienceOut(msgspec.Struct, frozen=True):
    """Who would be mailed now: total = sendable + all exclusions."""

    total: int
    sendable: int
    content_held: int
    excluded: dict[str, int]


class DeliveryOut(msgspec.Struct, frozen=True):
    """One row of the ledger; `reply` are the mail server's last words, without addresses.

    `unsent` says of a failed one that it failed here, before a mail server or gateway was asked to take it.
    """

    id: int
    profile: int
    occurrence: int
    state: str
    reason: str | None
    reply: str | None
    holdout: str
    sent_at: str | None
    unsent: bool


class Ledger(msgspec.Struct, frozen=True):
    """A page of the ledger and the count of every state; the states add up to the audience.

    `unsent` are those of the failed that failed here, before a mail server or gateway was asked to take them. `later`
    counts mails that bounced (hard, soft), were delayed or complained of after the mail server took them.
    """

    account: dict[str, int]
    unsent: int
    reasons: dict[str, dict[str, int]]
    later: dict[str, int]
    deliveries: list[DeliveryOut]


class LedgerPage(Page, frozen=True, forbid_unknown_fields=True):
    """Which rows: ids after `after`, of one state or all, or of all states but accepted; of one reason, without any
    where that is empty, or all where none is given.

    Of the failed also those alone that were refused or given up, or those that failed here (`unsent`).
    """

    state: Literal[
        "", "queued", "claimed", "accepted", "deferred", "failed", "skipped", "unknown", "not_sent", "refused", "unsent"
    ] = ""
    reason: str | None = None


class SendAgainIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of which reason the failed mails are sent again, those without any where that is empty; null: all.
    Which of them: all, those that were refused or given up, or those that failed here (`unsent`)."""

    state: Literal["failed", "refused", "unsent"] = "failed"
    reason: str | None = None


class SentAgain(msgspec.Struct, frozen=True):
    """How many mails are sent again."""

    mails: int


class ResolveIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person found out about a delivery whose outcome was unknown."""

    outcome: Literal["accepted", "failed", "queued"]


@api.post("/campaigns/<int:campaign_id>/publish")
@allow("manager")
@served(200, Published, "campaigns", 404, 409)
def publish_campaign(campaign_id: int, query: PublishIn) -> Published:
    """Make what is written what is sent and shown, from now on or from a moment on; opens before it keep what is."""
    with parts().transaction() as session:
        plan = publish.publish(
            session, parts().store, parts().blobs, campaign_id, parts().now(), actor(),
            starts_at=query.starts_at, is_sending=parts().settings.is_sending,
        )  # fmt: skip
    return Published(plan)


@api.get("/campaigns/<int:campaign_id>/versions")
@allow("manager")
@served(200, Versions, "campaigns", 404)
def list_versions(campaign_id: int) -> Versions:
    """Every plan that was published."""
    with parts().transaction() as session:
        campaigns.campaign(session, campaign_id)
        rows = plans.versions(session, campaign_id)
        return Versions([_version(row) for row in rows])


def _version(row: PlanRow) -> Version:
    starts_at = row.starts_at or row.published_at
    return Version(row.hash, row.number, row.published_at.isoformat(), starts_at.isoformat())


def _moved(campaign_id: int, move: Any) -> Done:
    """Do one of the switches and tell the campaign's state after it."""
    with parts().transaction() as session:
        now, by = parts().now(), actor()
        move(session, campaign_id, now, by)
        return Done(state=campaigns.campaign(session, campaign_id).state)


@api.post("/campaigns/<int:campaign_id>/unschedule")
@allow("manager")
@served(200, Done, "campaigns", 404, 409)
def unschedule_campaign(campaign_id: int) -> Done:
    """Back to a draft, as long as nothing was sent."""
    return _moved(campaign_id, transitions.unschedule)


@api.post("/campaigns/<int:campaign_id>/pause")
@allow("manager")
@served(200, Done, "campaigns", 404, 409)
def pause_campaign(campaign_id: int) -> Done:
    """Send nothing more until it is resumed."""
    return _moved(campaign_id, transitions.pause)


@api.post("/campaigns/<int:campaign_id>/resume")
@allow("manager")
@served(200, Done, "campaigns", 404, 409)
def resume_campaign(campaign_id: int) -> Done:
    """Go on."""
    return _moved(campaign_id, transitions.resume)


@api.post("/campaigns/<int:campaign_id>/cancel")
@allow("manager")
@served(200, Done, "campaigns", 404, 409)
def cancel_campaign(campaign_id: int) -> Done:
    """End it for good; what was sent opens as before."""
    return _moved(campaign_id, transitions.cancel)


@api.post("/campaigns/<int:campaign_id>/kill")
@allow("manager")
@served(200, Done, "campaigns", 404)
def kill_campaign(campaign_id: int, query: KillIn) -> Done:
    """Pin every block at once, in mails already sent too: to its default, or to the picture of a neutral offer."""

    def kill(session: Session, number: int, now: datetime, by: Actor) -> None:
        killswitch.kill(session, parts().store, parts().blobs, number, now, by, offer_id=query.offer)

    return _moved(campaign_id, kill)


@api.post("/campaigns/<int:campaign_id>/revive")
@allow("manager")
@served(200, Done, "campaigns", 404)
def revive_campaign(campaign_id: int) -> Done:
    """Undo `kill`."""

    def revive(session: Session, number: int, now: datetime, by: Actor) -> None:
        publish.revive(session, parts().store, number, now, by)

    return _moved(campaign_id, revive)


@api.post("/campaigns/<int:campaign_id>/offers/<int:offer_id>/withdraw")
@allow("manager")
@served(200, Done, "campaigns", 404)
def withdraw_offer(campaign_id: int, offer_id: int) -> Done:
    """Show one offer no more, in mails already sent too."""

    def withdraw(session: Session, number: int, now: datetime, by: Actor) -> None:
        publish.withdraw_offer(session, parts().store, number, offers.offer(session, offer_id).id, now, by)

    return _moved(campaign_id, withdraw)


@api.post("/campaigns/<int:campaign_id>/offers/<int:offer_id>/restore")
@allow("manager")
@served(200, Done, "campaigns", 404)
def restore_offer(campaign_id: int, offer_id: int) -> Done:
    """Undo `withdraw`."""

    def restore(session: Session, number: int, now: datetime, by: Actor) -> None:
        publish.restore_offer(session, parts().store, number, offer_id, now, by)

    return _moved(campaign_id, restore)


@api.put("/campaigns/<int:campaign_id>/model")
@allow("manager")
@served(200, Done, "campaigns", 404, 409)
def set_campaign_model(campaign_id: int, json: ModelIn) -> Done:
    """Let a model decide all of a campaign, or none."""

    def name(session: Session, number: int, now: datetime, by: Actor) -> None:
        if json.model is None:
            rollout.to_rules(session, parts().store, number, now, by, json.reason)
        else:
            rollout.to_live(session, parts().store, parts().blobs, number, json.model, now, by, json.reason)

    return _moved(campaign_id, name)


@api.post("/campaigns/<int:campaign_id>/tests")
@allow("manager")
@served(201, TestOut, "campaigns", 404, 409)
def send_test(campaign_id: int, json: TestIn) -> tuple[TestOut, int]:
    """Send the published mail to an address as each of these people would get it, live in every block.

    Its fetches are tagged: they use no cap, teach no model and count nowhere.
    """
    now, by = parts().now(), actor()
    with parts().transaction() as session:
        whom = list(json.profile_ids)
        if json.scenario is not None:
            intake, blobs = parts().intake, parts().blobs
            whom.append(recipients.of_scenario(session, intake, blobs, campaign_id, json.scenario, now))
        number = transitions.send_test(session, campaign_id, whom, json.address, now, by)
    return TestOut(number), 201


@api.get("/campaigns/<int:campaign_id>/audience")
@allow("manager")
@served(200, AudienceOut, "campaigns", 404)
def count_audience(campaign_id: int) -> AudienceOut:
    """Count the audience as it would be fixed now."""
    with parts().transaction() as session:
        counted = audience.count(session, campaign_id, parts().now(), parts().settings.hash_key)
        return AudienceOut(counted.total, counted.sendable, counted.content_held, counted.excluded)


@api.get("/campaigns/<int:campaign_id>/deliveries")
@allow("manager")
@served(200, Ledger, "campaigns", 404)
def list_deliveries(campaign_id: int, query: LedgerPage) -> Ledger:
    """Who was sent it, who was not and why.

    `reason`: those of one; empty, those without any; not given, all. `state`: those of one; empty, all; `not_sent`, all
    but the accepted; `refused`, the failed that were refused or given up; `unsent`, the failed that failed here.
    """
    with parts().transaction() as session:
        campaigns.campaign(session, campaign_id)
        rows = accounting.listing(
            session, campaign_id, state=query.state, reason=query.reason, after=query.after, limit=query.limit
        )
        seen = {"campaign": campaign_id, "rows": len(rows)}
        access_log.record(session, actor(), "ledger", parts().now(), detail=seen)
        return Ledger(
            accounting.account(session, campaign_id),
            accounting.unsent(session, campaign_id),
            accounting.reasons(session, campaign_id),
            mailreports.counts(session, campaign_id),
            [
                DeliveryOut(
                    row.id, row.profile_id, row.occurrence, row.state, row.reason, row.reply, row.holdout,
                    row.sent_at.isoformat() if row.sent_at else None,
                    row.state == "failed" and is_our_fault(row.reason),
                )
                for row in rows
            ],
        )  # fmt: skip


@api.post("/campaigns/<int:campaign_id>/send-again")
@allow("manager")
@served(200, SentAgain, "campaigns", 404, 409)
def send_campaign_again(campaign_id: int, json: SendAgainIn) -> SentAgain:
    """Send it to those whose mail failed, 50,000 at a time, and to nobody whose mail was or may have been taken."""
    with parts().transaction() as session:
        sent = settling.send_again(session, campaign_id, parts().now(), actor(), state=json.state, reason=json.reason)
        return SentAgain(sent)


@api.post("/deliveries/<long:delivery_id>/resolve")
@allow("manager")
@served(200, Done, "campaigns", 404, 409)
def resolve_delivery(delivery_id: int, json: ResolveIn) -> Done:
    """Settle a delivery whose outcome is unknown."""
    with parts().transaction() as session:
        settling.resolve(session, delivery_id, json.outcome, parts().now(), actor())
    return Done(state=json.outcome)
