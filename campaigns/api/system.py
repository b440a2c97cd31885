"""How the system stands: what is live, what waits, what was refused, who changed and who looked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import defer

from base.tokens import TokenKeys
from campaigns import access_log, admin_log, chain, contacts, domaincheck, holdout, people, retention
from campaigns.access import allow
from campaigns.alarms import standings
from campaigns.api.desk import Done, Page, api, served
from campaigns.campaigns import Share
from campaigns.models import Campaign
from campaigns.models.accounts import AccessEntry, AdminEntry
from campaigns.overview import overview, waiting
from campaigns.parts import parts
from campaigns.views.acting import actor
from campaigns.watch import measures
from signals.events import RejectedEvent


class CampaignLine(msgspec.Struct, frozen=True):
    """A campaign in a list."""

    id: int
    name: str
    state: str
    due_at: str | None


class ContactLimitOut(msgspec.Struct, frozen=True):
    """The limit of mails to one person; null where there is none."""

    limit: contacts.Limit | None


class Unsettled(msgspec.Struct, frozen=True):
    """A campaign with mails of unknown outcome, and how many."""

    campaign: int
    name: str
    mails: int


class SegmentAside(msgspec.Struct, frozen=True):
    """A segment that opens ask for and that is left aside, why, and since when."""

    segment: int
    name: str
    why: str
    since: str


class OverviewOut(msgspec.Struct, frozen=True):
    """What the home page says; counts are of the last hour or day, as the name says, without tests.

    `troubled` are campaigns whose mails do not leave, `aside` segments whose rule fails, so that opens go by who was in
    them before; `blocked` says why nothing is sent at all from this database. `unsent_day` are those of `failed_day`
    that failed here, before a server was asked to take them.
    """

    blocked: str | None
    next: list[CampaignLine]
    live: list[CampaignLine]
    drafts: list[CampaignLine]
    troubled: list[CampaignLine]
    aside: list[SegmentAside]
    unsettled: list[Unsettled]
    mails_day: int
    failed_day: int
    unsent_day: int
    opens_hour: int
    fallback_hour: int
    signals_hour: int
    rejected_day: int


class Waiting(msgspec.Struct, frozen=True):
    """What waits in one place; null where the store does not answer."""

    what: str
    count: int | None


class SystemOut(msgspec.Struct, frozen=True):
    """What waits."""

    waiting: list[Waiting]


class AlarmOut(msgspec.Struct, frozen=True):
    """An alarm: its name, what it looks at, value and limit in words; `firing` null where it cannot be told."""

    name: str
    title: str
    value: str
    limit: str
    firing: bool | None
    advice: str


class AlarmsOut(msgspec.Struct, frozen=True):
    """Every alarm as it stands, those that fire first."""

    alarms: list[AlarmOut]


class Refused(msgspec.Struct, frozen=True):
    """A signal that was refused."""

    id: int
    at: str
    source_id: int
    field: str
    message: str


class RefusedList(msgspec.Struct, frozen=True):
    """Refused signals by number."""

    refused: list[Refused]


class LogLine(msgspec.Struct, frozen=True):
    """One entry of the admin log or the access log; `name` is what its person or key is called."""

    id: int
    at: str
    actor: str
    user_id: int | None
    name: str
    action: str
    object: str
    detail: dict[str, Any]


class Log(msgspec.Struct, frozen=True):
    """Entries, the newest first."""

    entries: list[LogLine]


class AddressCheck(msgspec.Struct, frozen=True):
    """What one check found, in a sentence."""

    check: str
    well: bool
    words: str


class RenderAddressOut(msgspec.Struct, frozen=True):
    """A render address, the brands whose mails have it (an empty name stands for all others), and its checks."""

    url: str
    brands: list[str]
    checks: list[AddressCheck]


class AddressList(msgspec.Struct, frozen=True):
    """The render addresses."""

    addresses: list[RenderAddressOut]


class KeptRule(msgspec.Struct, frozen=True):
    """One class of records: for how many days it is kept, and the moment before which it has expired."""

    what: str
    days: int
    since: str


class KeptTable(msgspec.Struct, frozen=True):
    """A table as it stands, its bytes with all indexes; rows of large ones are estimates."""

    what: str
    rows: int
    bytes: int
    oldest_month: str | None


class KeptOut(msgspec.Struct, frozen=True):
    """What is kept of opens and clicks."""

    rules: list[KeptRule]
    tables: list[KeptTable]
    bytes_per_open: float | None


class HoldoutIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of all people that gets no mail (send) or neutral content (content) in every campaign."""

    send: Share | None = None
    content: Share | None = None


def _line(row: Campaign) -> CampaignLine:
    return CampaignLine(row.id, row.name, row.state, row.due_at.isoformat() if row.due_at else None)


@api.get("/overview")
@allow("manager")
@served(200, OverviewOut, "system")
def get_overview() -> OverviewOut:
    """What is live, what goes out next and what needs a person."""
    with parts().transaction() as session:
        found = overview(session, parts().now())
        return OverviewOut(
            blocked=found.blocked,
            next=[_line(row) for row in found.next],
            live=[_line(row) for row in found.live],
            drafts=[_line(row) for row in found.drafts],
            troubled=[_line(row) for row in found.troubled],
            aside=[SegmentAside(one.id, one.name, one.why, one.since.isoformat()) for one in found.aside],
            unsettled=[Unsettled(*one) for one in found.unsettled],
            mails_day=found.mails_day,
            failed_day=found.failed_day,
            unsent_day=found.unsent_day,
            opens_hour=found.opens_hour,
            fallback_hour=found.fallback_hour,
            signals_hour=found.signals_hour,
            rejected_day=found.rejected_day,
        )


@api.get("/system")
@allow("admin")
@served(200, SystemOut, "system")
def get_system() -> SystemOut:
    """What waits in the streams and queues."""
    return SystemOut([Waiting(what, count) for what, count in waiting(parts().store, parts().queues)])


@api.get("/system/addresses")
@allow("admin")
@served(200, AddressList, "system")
def check_addresses() -> AddressList:
    """Check each render address as it is seen from outside; takes seconds where one does not answer."""
    settings = parts().settings
    tokens, now = TokenKeys.from_settings(settings), parts().now()
    return AddressList([
        RenderAddressOut(one.url, list(one.brands), [
            AddressCheck(found.check, found.well, found.words) for found in domaincheck.examine(one.url, tokens, now)
        ])
        for one in domaincheck.addresses(settings)
    ])  # fmt: skip


@api.get("/system/alarms")
@allow("admin")
@served(200, AlarmsOut, "system")
def list_alarms() -> AlarmsOut:
    """Every alarm as it stands; the limits are those of the rules for Prometheus."""
    with parts().transaction() as session:
        seen = measures(session, parts().blobs, parts().store, parts().queues, parts().now())
    return AlarmsOut(
        [
            AlarmOut(one.alarm.name, one.alarm.title, one.value, one.limit, one.is_firing, one.alarm.advice)
            for one in standings(seen)
        ]
    )


class RootOut(msgspec.Struct, frozen=True):
    """The root that a day (UTC) ended with, and how many rows were tied to the chain in it."""

    day: str
    root: str
    rows: int


class ChainOut(msgspec.Struct, frozen=True):
    """The roots of the last 31 days, the newest first; today's is not final. `waiting` rows are not tied yet."""

    roots: list[RootOut]
    waiting: int


@api.get("/system/chain")
@allow("admin")
@served(200, ChainOut, "system")
def get_chain() -> ChainOut:
    """The roots of the chain of hashes: keep them elsewhere, and `latebind verify --root` compares."""
    with parts().transaction() as session:
        found = chain.roots(session, chain.SHOWN_DAYS)
        return ChainOut([RootOut(root.day.isoformat(), root.hash, root.rows) for root in found], chain.waiting(session))


@api.get("/system/kept")
@allow("admin")
@served(200, KeptOut, "system")
def get_kept() -> KeptOut:
    """What is kept of opens and clicks: for how long, and how much there is."""
    with parts().transaction() as session:
        found = retention.stock(session)
    known = retention.rules(retention.Policy.of(parts().settings), parts().now())
    return KeptOut(
        [KeptRule(rule.what, rule.days, rule.since.isoformat()) for rule in known],
        [KeptTable(table.what, table.rows, table.bytes, table.month) for table in found.tables],
        found.bytes_per_open,
    )


@api.get("/system/refused")
@allow("admin")
@served(200, RefusedList, "system")
def list_refused(query: Page) -> RefusedList:
    """Signals that were refused, by number."""
    with parts().transaction() as session:
        rows = session.scalars(
            select(RejectedEvent)
            .options(defer(RejectedEvent.body))
            .where(RejectedEvent.id > query.after)
            .order_by(RejectedEvent.id)
            .limit(query.limit)
        )
        return RefusedList([Refused(row.id, row.at.isoformat(), row.source_id, row.field, row.message) for row in rows])


@api.get("/system/changes")
@allow("admin")
@served(200, Log, "system")
def list_changes(query: Page) -> Log:
    """Who changed what; `after` is the number to go back from."""
    with parts().transaction() as session:
        rows = admin_log.entries(session, before_id=query.after or None, limit=query.limit)
        names = people.names(session)
        return Log([_change(row, names) for row in rows])


@api.get("/system/looks")
@allow("admin")
@served(200, Log, "system")
def list_looks() -> Log:
    """Who looked at whom, the newest first."""
    with parts().transaction() as session:
        names = people.names(session)
        return Log([_look(row, names) for row in access_log.entries(session, limit=500)])


@api.put("/system/holdouts")
@allow("admin")
@served(200, Done, "system")
def set_holdouts(json: HoldoutIn) -> Done:
    """Hold out a share of all people over all campaigns, from their next assignment on."""
    with parts().transaction() as session:
        for kind, share in (("send", json.send), ("content", json.content)):
            if share is not None:
                holdout.set_global(session, kind, share, parts().now(), actor())
    return Done()


@api.get("/system/contact-limit")
@allow("admin", "manager")
@served(200, ContactLimitOut, "system")
def show_contact_limit() -> ContactLimitOut:
    """How many mails a person may get, over all campaigns."""
    with parts().transaction() as session:
        return ContactLimitOut(contacts.limit(session))


@api.put("/system/contact-limit")
@allow("admin")
@served(200, ContactLimitOut, "system")
def set_contact_limit(json: contacts.Limit) -> ContactLimitOut:
    """Let a person get at most so many mails within so many days, over all campaigns that are not mandatory."""
    with parts().transaction() as session:
        contacts.set_limit(session, json, parts().now(), actor())
    return ContactLimitOut(json)


@api.delete("/system/contact-limit")
@allow("admin")
@served(200, ContactLimitOut, "system")
def lift_contact_limit() -> ContactLimitOut:
    """Have no limit."""
    with parts().transaction() as session:
        contacts.set_limit(session, None, parts().now(), actor())
    return ContactLimitOut(None)


def _name(row: AdminEntry | AccessEntry, names: Mapping[int | str, str]) -> str:
    return names.get(row.user_id or row.actor, row.actor)


def _change(row: AdminEntry, names: Mapping[int | str, str]) -> LogLine:
    return LogLine(
        row.id, row.at.isoformat(), row.actor, row.user_id, _name(row, names), row.action,
        f"{row.object_type} {row.object_id}", {"before": row.before, "after": row.after},
    )  # fmt: skip


def _look(row: AccessEntry, names: Mapping[int | str, str]) -> LogLine:
    whom = f"customer {row.profile_id}" if row.profile_id is not None else ""
    return LogLine(row.id, row.at.isoformat(), row.actor, row.user_id, _name(row, names), row.action, whom, row.detail)
