"""Repairs: keys of the hot store that were lost are written anew from PostgreSQL, absent ones only.

A person's keys are restored in this order: used, shown, state. The state comes last, because an open that finds it goes
by the others; until then it answers the default. Reservations of total caps that never got a record are given back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from base import keys
from base.blobs import FolderBlobs
from base.db import Sessions, transaction
from base.errors import NotFound
from base.ids import Delivery
from base.logs import logger
from base.stores import Store
from campaigns import publish
from campaigns.models import Offer
from campaigns.opens import Decision, Fetch
from render import agree
from render.facts import Chosen, Lane, LastShown, Shown, Used, encode_shown, encode_used
from render.plan import Plan, decode
from render.record import RepairRecord
from signals.intake import Intake, stored_states
from signals.moments import unix_ms
from signals.products import restore_product
from signals.profiles import Profile

MAX_DECISIONS: Final = 20_000
PLANS_KEPT: Final = 64
OFFERS_A_STEP: Final = 1_000


class RestoredSlot(msgspec.Struct):
    """What restoring reads of a recorded slot."""

    slot: int
    offer: int
    creative: int
    product: str | None = None


class RestoredOpen(msgspec.Struct):
    """What restoring reads of a decision's canonical form."""

    slots: tuple[RestoredSlot, ...]
    reserved: tuple[int, ...] = ()
    sent_ms: int = 0


class Repairs:
    """Restores what repair records name, and gives back stale reservations."""

    def __init__(self, sessions: Sessions, store: Store, blobs: FolderBlobs, intake: Intake) -> None:
        self._sessions = sessions
        self._store = store
        self._blobs = blobs
        self._intake = intake
        self._plans: OrderedDict[str, Plan] = OrderedDict()

    def repair(self, records: Sequence[RepairRecord]) -> int:
        """Restore what the records name, each thing once; returns how many. Raises Unavailable or RedisError."""
        wanted = {(record.what, record.profile or record.name or str(record.campaign)) for record in records}
        for what, name in sorted(wanted, key=str):
            if what == "state":
                self.restore_person(int(name))
            elif what in ("live", "plan"):
                with transaction(self._sessions) as session:
                    publish.refresh(session, self._store, self._blobs)
            elif what == "product":
                restore_product(self._intake, str(name))
            elif what == "cap":
                self.restore_cap(int(name))
        return len(wanted)

    def restore_person(self, profile: int) -> None:
        """Write the person's used, shown and state keys where they are absent, under every member's id."""
        with transaction(self._sessions) as session:
            root = session.scalar(select(Profile.root_id).where(Profile.id == profile))
            members = list(session.scalars(select(Profile.id).where(Profile.root_id == root)))
            decisions = self._decisions(session, members)
            states = stored_states(session, members)
            for member in members:
                own = [row for row in decisions if row.profile_id == member]
                if own:
                    self._store.set(keys.used(member), encode_used(self._used(own)), nx=True)
                for delivery, rows in _by_delivery(own).items():
                    shown = encode_shown(self._shown(session, rows))
                    self._store.set(keys.shown(member, delivery.name), shown, nx=True, ex=agree.SHOWN_DAYS * 86_400)
        self._intake.publisher.write_states(states)

    def restore_cap(self, offer: int) -> None:
        """Write an offer's balance where it is absent: its total less the showings on record."""
        with transaction(self._sessions) as session:
            row = session.get(Offer, offer)
            if row is None or row.cap_opened is None:
                return
            taken = session.scalar(
                select(func.count())
                .select_from(Decision)
                .where(text("(convert_from(public, 'UTF8')::jsonb -> 'reserved') @> to_jsonb(CAST(:offer AS int))"))
                .params(offer=offer)
            )
            agree.open_cap(self._store, offer, max(0, row.cap_opened - (taken or 0)))

    def free_reservations(self, before: datetime) -> int:
        """Give back total caps that were reserved before this moment by opens that left no record."""
        freed = 0
        with transaction(self._sessions) as session:
            offers = session.scalars(select(Offer.id).where(Offer.cap_opened.is_not(None)).limit(OFFERS_A_STEP)).all()
            for offer in offers:
                for name in list(agree.stale_reservations(self._store, offer, unix_ms(before) + 60_000)):
                    if _has_record(session, name):
                        agree.settle(self._store, offer, name)
                    elif agree.release(self._store, offer, name):
                        freed += 1
        if freed:
            logger(__name__).warning("reservations without a record were given back", count=freed)
        return freed

    def _decisions(self, session: Session, members: Sequence[int]) -> list[Any]:
        """The live decisions of these profiles, oldest first."""
        query = select(
            Decision.id, Decision.at, Decision.profile_id, Decision.campaign_id, Decision.occurrence,
            Decision.open_number, Decision.plan_hash, Decision.model_hash, Decision.state_version, Decision.public,
        )  # fmt: skip
        query = query.where(Decision.profile_id.in_(members), Decision.lane == "live", Decision.contact.is_(None))
        newest = session.execute(query.order_by(Decision.at.desc()).limit(MAX_DECISIONS)).all()
        return list(reversed(newest))

    def _used(self, decisions: Sequence[Any]) -> Used:
        used = Used()
        for row in decisions:
            plan = self._plan(row.plan_hash)
            if plan is None:
                continue
            shown = msgspec.json.decode(row.public, type=RestoredOpen)
            counted = [slot.offer for slot in shown.slots if slot.offer not in plan.default_ids]
            used = used.reserved([(offer, plan.offer_by_id[offer].group) for offer in counted], unix_ms(row.at))
        return used

    def _shown(self, session: Session, rows: Sequence[Any]) -> Shown:
        """One delivery's live lane: its newest open, and what was seen over all of them."""
        last = rows[-1]
        opened = msgspec.json.decode(last.public, type=RestoredOpen)
        offers = {
            row.id: {s.slot: s.offer for s in msgspec.json.decode(row.public, type=RestoredOpen).slots} for row in rows
        }
        lane = Lane(
            open_number=last.open_number,
            began_ms=unix_ms(last.at),
            state_version=last.state_version or 0,
            decision=last.id,
            plan=last.plan_hash,
            model=last.model_hash,
            chosen=tuple(Chosen(slot.slot, slot.offer, slot.creative, {}, slot.product) for slot in opened.slots),
        )
        written = lane.began_ms
        fetches = select(Fetch.decision_id, Fetch.slot, Fetch.kind, Fetch.at, Fetch.fetch_class)
        for fetch in session.execute(fetches.where(Fetch.decision_id.in_(list(offers))).order_by(Fetch.at)):
            written = max(written, unix_ms(fetch.at))
            offer = offers[fetch.decision_id].get(fetch.slot)
            if offer is not None:
                lane = lane.after_sight(
                    fetch.slot, LastShown(offer, fetch.decision_id, unix_ms(fetch.at), fetch.fetch_class)
                )
        # Nothing counts as served in the restored open: its texts were not restored, so the next fetch begins anew.
        lane = msgspec.structs.replace(lane, state_version=-1)
        return Shown(live=lane, written_ms=written, sent_ms=opened.sent_ms)

    def _plan(self, digest: str) -> Plan | None:
        if digest not in self._plans:
            try:
                self._plans[digest] = decode(self._blobs.get(digest))
            except NotFound:
                return None
            if len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        return self._plans[digest]


def _by_delivery(rows: Sequence[Any]) -> dict[Delivery, list[Any]]:
    found: dict[Delivery, list[Any]] = {}
    for row in rows:
        found.setdefault(Delivery(row.profile_id, row.campaign_id, row.occurrence), []).append(row)
    return found


def _has_record(session: Session, name: str) -> bool:
    """Whether the open that made this reservation was recorded. Names are profile.campaign.occurrence.open number."""
    parts = name.split(".")
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        return False
    profile, campaign, occurrence, number = map(int, parts)
    found = session.scalar(
        select(Decision.id)
        .where(
            Decision.profile_id == profile,
            Decision.campaign_id == campaign,
            Decision.occurrence == occurrence,
            Decision.open_number == number,
            or_(Decision.lane == "live", Decision.lane == "machine"),
        )
        .limit(1)
    )
    return found is not None
