"""The raw events of a campaign's mails for other tools."""

from __future__ import annotations

from typing import Annotated

import msgspec

from campaigns import access_log, campaigns, messageevents
from campaigns.access import allow
from campaigns.api.desk import api, served
from campaigns.messageevents import KINDS, MAX_PAGE, MessageEvent
from campaigns.parts import parts
from campaigns.views.acting import actor


class EventsPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events: of these kinds (with commas between; all unless told), after the `next` of the page before."""

    kinds: Annotated[str, msgspec.Meta(max_length=100)] = ",".join(KINDS)
    after: Annotated[str, msgspec.Meta(max_length=200)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE


class MessageEvents(msgspec.Struct, frozen=True):
    """A page of events, kind after kind; `next` is where the next page begins, null at the end."""

    events: list[MessageEvent]
    next: str | None


@api.get("/campaigns/<int:campaign_id>/events")
@allow("manager")
@served(200, MessageEvents, "campaigns", 404)
def list_message_events(campaign_id: int, query: EventsPage) -> MessageEvents:
    """All that happened to the campaign's mails, as the tables hold it: ledger, fetches, clicks, consent, orders."""
    kinds = [kind.strip() for kind in query.kinds.split(",") if kind.strip()]
    with parts().transaction() as session:
        campaigns.campaign(session, campaign_id)
        found, after = messageevents.page(session, campaign_id, kinds=kinds, after=query.after, limit=query.limit)
        seen = {"campaign": campaign_id, "rows": len(found)}
        access_log.record(session, actor(), "events export", parts().now(), detail=seen)
        return MessageEvents(found, after)
