"""Messages and campaigns as they are written."""

from __future__ import annotations

from functools import partial

import msgspec

from campaigns import campaigns, editions, messages, readiness
from campaigns.access import allow
from campaigns.api.desk import Done, api, edited, served
from campaigns.campaigns import CampaignIn
from campaigns.mail import MessageIn
from campaigns.models import Campaign as CampaignRow
from campaigns.models import Message as MessageRow
from campaigns.parts import parts
from campaigns.views.acting import actor


class Message(MessageIn, frozen=True, kw_only=True):
    """A message as it is kept."""

    id: int


class Messages(msgspec.Struct, frozen=True):
    """All messages."""

    messages: list[Message]


class Campaign(CampaignIn, frozen=True, kw_only=True):
    """A campaign as it is kept: its state, its plan, and what is missing before it can be sent.

    `trouble` says why its mails do not leave: what the relay says of us, or why its audience cannot be fixed. `locked`
    says who locked it; `next_plan` is what is shown from `next_plan_at` on.
    """

    id: int
    state: str
    due_at: str | None = None
    plan: str | None = None
    killed: bool = False
    trouble: str | None = None
    missing: list[str] = []
    locked: str | None = None
    next_plan: str | None = None
    next_plan_at: str | None = None


class Campaigns(msgspec.Struct, frozen=True):
    """All campaigns, the last changed first."""

    campaigns: list[Campaign]


def _message_out(row: MessageRow) -> Message:
    content = messages.content(row)
    return Message(id=row.id, **{name: getattr(content, name) for name in MessageIn.__struct_fields__})


def campaign_out(row: CampaignRow, missing: list[str] | None = None) -> Campaign:
    """A stored campaign as the API tells it."""
    content = campaigns.content(row)
    return Campaign(
        id=row.id,
        state=row.state,
        due_at=row.due_at.isoformat() if row.due_at else None,
        plan=row.plan_hash,
        killed=row.killed,
        trouble=row.trouble,
        missing=missing or [],
        locked=row.locked_by,
        next_plan=row.next_plan_hash,
        next_plan_at=row.next_plan_at.isoformat() if row.next_plan_at else None,
        **{name: getattr(content, name) for name in CampaignIn.__struct_fields__},
    )


def _edition(row: CampaignRow) -> str:
    return editions.of(campaigns.content(row))


@api.get("/messages")
@allow("manager")
@served(200, Messages, "messages")
def list_messages() -> Messages:
    """All messages that are not archived."""
    with parts().transaction() as session:
        return Messages([_message_out(row) for row in messages.messages(session)])


@api.post("/messages")
@allow("manager")
@served(201, Message, "messages", 409)
def create_message(json: MessageIn) -> tuple[Message, int]:
    """Write a message; it must compile into a mail."""
    with parts().transaction() as session:
        return _message_out(messages.create_message(session, json, parts().now(), actor())), 201


@api.get("/messages/<int:message_id>")
@allow("manager")
@served(200, Message, "messages", 404)
def get_message(message_id: int) -> Message:
    """One message."""
    with parts().transaction() as session:
        return _message_out(messages.message(session, message_id))


@api.put("/messages/<int:message_id>")
@allow("manager")
@served(200, Message, "messages", 404, 409)
def update_message(message_id: int, json: MessageIn) -> Message:
    """Replace a message; mails go out as published until the campaign is published again."""
    with parts().transaction() as session:
        return _message_out(messages.update_message(session, message_id, json, parts().now(), actor()))


@api.delete("/messages/<int:message_id>")
@allow("manager")
@served(200, Done, "messages", 404, 409)
def archive_message(message_id: int) -> Done:
    """Take a message out of the lists."""
    with parts().transaction() as session:
        messages.archive_message(session, message_id, parts().now(), actor())
    return Done()


@api.get("/campaigns")
@allow("manager")
@served(200, Campaigns, "campaigns")
def list_campaigns() -> Campaigns:
    """All campaigns, the last changed first."""
    with parts().transaction() as session:
        return Campaigns([campaign_out(row) for row in campaigns.campaigns(session)])


@api.post("/campaigns")
@allow("manager")
@served(201, Campaign, "campaigns", 409, editions=True)
def create_campaign(json: CampaignIn) -> tuple[Campaign, int]:
    """Write a campaign; it starts as a draft."""
    with parts().transaction() as session:
        row = campaigns.create_campaign(session, json, parts().now(), actor())
        return edited(campaign_out(row), _edition(row)), 201


@api.get("/campaigns/<int:campaign_id>")
@allow("manager")
@served(200, Campaign, "campaigns", 404, editions=True)
def get_campaign(campaign_id: int) -> Campaign:
    """One campaign, with what is missing before it can be sent."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        missing = readiness.missing(
            session, parts().store, parts().blobs, row, parts().now(), is_sending=parts().settings.is_sending
        )
        return edited(campaign_out(row, missing), _edition(row))


@api.put("/campaigns/<int:campaign_id>")
@allow("manager")
@served(200, Campaign, "campaigns", 404, 409, editions=True)
def update_campaign(campaign_id: int, json: CampaignIn) -> Campaign:
    """Replace what is written; what is published goes on until it is published again."""
    with parts().transaction() as session:
        row = campaigns.campaign(session, campaign_id)
        editions.require(session, row, partial(_edition, row))
        row = campaigns.update_campaign(session, campaign_id, json, parts().now(), actor())
        return edited(campaign_out(row), _edition(row))
