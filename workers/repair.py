"""Repairs: keys of the hot store that were lost are written anew from PostgreSQL, absent ones only.

A person's keys are restored in this order: used, shown, state. The state comes last, because an open that finds it goes
by the others; until then it answers the default. Reservations of total caps that never got a record are given back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from redis import RedisError, ResponseError
from redis.exceptions import OutOfMemoryError
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from base import keys
from base.blobs import FolderBlobs
from base.db import Numbers, Sessions, transaction
from base.errors import NotFound, Unavailable
from base.ids import Delivery
from base.logs import logger
from base.sealing import Unsealable
from base.storecluster import is_of_another_kind
from base.stores import Store, is_clustered
from campaigns import publish
from campaigns.audit import PERSONAL_PURPOSE
from campaigns.expired import expired_reservations
from campaigns.models import Offer
from campaigns.models import Plan as PublishedPlan
from campaigns.opens import Click, Decision, Fetch
from campaigns.subjects import known_subject
from render import agree
from render.current import LOST_VERSION, after_fetch
from render.facts import Answer, Chosen, Lane, LastShown, Shown, Used, encode_shown
from render.plan import Plan, decode
from render.record import CandidateRecord, RepairRecord, read_personal
from render.stock import waiting
from signals.intake import Intake, stored_states
from signals.moments import unix_ms
from signals.products import restore_product
from signals.profiles import Profile
from signals.publishing import ANYBODY, HOT_STORE
from workers.backlog import NOBODY, Absent
from workers.counts import Counts

MAX_DECISIONS: Final = 20_000
PLANS_KEPT: Final = 64
OFFERS_A_STEP: Final = 1_000
OPEN_DIGITS: Final = 9
"""Digits of the number of an open, and of a minute, at most."""
_SHOWN: Final = text("""
    SELECT DISTINCT profile_id FROM decision
    WHERE profile_id = ANY(:profiles) AND lane = 'live' AND open_number > 0
""")


class RestoredSlot(msgspec.Struct):
    """What restoring reads of a recorded slot."""

    slot: int
    offer: int
    creative: int
    product: str | None = None
    candidates: tuple[CandidateRecord, ...] = ()


class RestoredOpen(msgspec.Struct):
    """What restoring reads of a decision's canonical form."""

    plan: str
    slots: tuple[RestoredSlot, ...]
    reserved: tuple[int, ...] = ()
    reserved_as: str = ""


class Repairs:
    """Restores what repair records name, and gives back stale reservations."""

    def __init__(
        self, sessions: Sessions, store: Store, blobs: FolderBlobs, intake: Intake, wrapping_key: bytes
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._blobs = blobs
        self._intake = intake
        self._wrapping_key = wrapping_key
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self.counts = Counts(sessions, store, self._recorded)

    def repair(self, records: Sequence[RepairRecord]) -> int:
        """Restore what the records name, each thing once; returns how many were. Raises RedisError.

        One that fails is left, with a log line: render asks again, and the records of others must not wait for it.
        """
        wanted = {(record.what, record.profile or record.name or str(record.campaign)) for record in records}
        done = 0
        for what, name in sorted(wanted, key=str):
            try:
                self._restore(what, name)
                done += 1
            except Exception as error:
                # What is stored is broken in ways that nobody can list.
                if isinstance(error, RedisError) and not is_of_another_kind(error):
                    if not (is_clustered(self._store) or isinstance(error, OutOfMemoryError)):
                        raise
                    # The node is away, or the store is full; of the others' records none must wait for it.
                    continue
                logger(__name__).error("a key was not restored", what=what, name=name, error=type(error).__name__)
        return done

    def _restore(self, what: str, name: int | str) -> None:
        if what == "state":
            self.restore_person(int(name))
        elif what == "live":
            with transaction(self._sessions) as session:
                publish.refresh(session, self._store, self._blobs)
        elif what == "plan":
            with transaction(self._sessions) as session:
                publish.restore_plan(session, self._store, self._blobs, str(name))
        elif what == "product":
            restore_product(self._intake, str(name))
        elif what == "cap":
            self.restore_cap(int(name))

    def restore_person(self, profile: int) -> None:
        """Write the person's used, shown and state keys where they are absent, under every member's id.

        Of an erased person only the tombstone comes back. Raises Unavailable while not all of what counts against them
        is there: without it nothing may be shown by the state.
        """
        if not self.counts.restore(profile):
            raise Unavailable(HOT_STORE)
        with transaction(self._sessions) as session:
            root = session.scalar(select(Profile.root_id).where(Profile.id == profile))
            members = list(
                session.scalars(select(Profile.id).where(Profile.root_id == root, Profile.erased_at.is_(None)))
            )
            decisions = self._decisions(session, members)
            states = stored_states(session, [profile])
            for member in members:
                by_mail = [row for row in decisions if row.profile_id == member and row.contact is None]
                for delivery, rows in _by_delivery(by_mail).items():
                    shown = encode_shown(self._shown(session, rows))
                    self._store.set(keys.shown(member, delivery.name), shown, nx=True, ex=agree.SHOWN_DAYS * 86_400)
        self._intake.publisher.write_states(states, ANYBODY)
        # What was committed since found no state to take the place of, and an erasure nothing to take away.
        with transaction(self._sessions) as session:
            states = stored_states(session, [profile])
            erased = select(Profile.id).where(Profile.id.in_(members), Profile.erased_at.is_not(None))
            gone = list(session.scalars(erased))
        if gone:
            self._intake.publisher.forget(gone)
        self._intake.publisher.write_states(states)
        # The store may have lost it in between: a state must not be there without what was used up.
        if not self.counts.restore(profile):
            raise Unavailable(HOT_STORE)

    def restore_cap(self, offer: int) -> None:
        """Write an offer's cap where there is none: its total less the showings on record, also expired ones."""
        with transaction(self._sessions) as session:
            row = session.get(Offer, offer)
            if row is None or row.cap_opened is None:
                return
            # All opens of a campaign may have to be read, and half a count would be worth nothing.
            session.execute(text("SET LOCAL statement_timeout = 0"))
            taken = session.scalar(
                select(func.count())
                .select_from(Decision)
                .where(Decision.lane == "live", Decision.campaign_id.in_(self._campaigns(session, offer)))
                .where(text("(convert_from(public, 'UTF8')::jsonb -> 'reserved') @> to_jsonb(CAST(:offer AS int))"))
                .params(offer=offer)
            )
            taken = (taken or 0) + expired_reservations(session, offer)
            agree.open_cap(self._store, offer, row.cap_opened, min(row.cap_opened, taken))

    def _campaigns(self, session: Session, offer: int) -> set[int]:
        """The campaigns that ever published the offer; one whose plan cannot be read may have."""
        published = session.execute(select(PublishedPlan.hash, PublishedPlan.campaign_id)).all()
        plans = ((row.campaign_id, self._plan(row.hash)) for row in published)
        return {campaign for campaign, plan in plans if plan is None or offer in plan.offer_by_id}

    def free_reservations(self, before: datetime, absent: Absent = NOBODY) -> int:
        """Give back total caps that were reserved before this moment by opens that left no record.

        Those of people who are `absent`, caps whose node of a cluster is away and what is no cap are left for a later
        call.
        """
        freed = 0
        with transaction(self._sessions) as session:
            offers = session.scalars(select(Offer.id).where(Offer.cap_opened.is_not(None)).limit(OFFERS_A_STEP)).all()
            for offer in offers:
                try:
                    freed += self._free(session, offer, before, absent)
                except ResponseError as error:
                    logger(__name__).warning(
                        "reservations were not given back", key=keys.cap(offer), error=type(error).__name__
                    )
                except RedisError:
                    if not is_clustered(self._store):
                        raise
        if freed:
            logger(__name__).warning("reservations without a record were given back", count=freed)
        return freed

    def _free(self, session: Session, offer: int, before: datetime, absent: Absent) -> int:
        freed = 0
        for name in list(agree.stale_reservations(self._store, offer, unix_ms(before) + 60_000)):
            if agree.reserved_by(name) in absent:
                continue
            if _has_record(session, offer, name):
                agree.settle(self._store, offer, name)
            elif agree.release(self._store, offer, name):
                freed += 1
        return freed

    def _decisions(self, session: Session, members: Sequence[int]) -> list[Any]:
        """The live decisions of these profiles, contacts' too, oldest first."""
        query = select(
            Decision.id, Decision.at, Decision.profile_id, Decision.campaign_id, Decision.occurrence,
            Decision.open_number, Decision.plan_hash, Decision.model_hash, Decision.state_version, Decision.public,
            Decision.personal, Decision.contact, Decision.rung,
        )  # fmt: skip
        # Opens that nobody agreed on (the store was away) have no number: they showed defaults and used nothing.
        query = query.where(Decision.profile_id.in_(members), Decision.lane == "live", Decision.open_number > 0)
        newest = session.execute(query.order_by(Decision.at.desc()).limit(MAX_DECISIONS)).all()
        return list(reversed(newest))

    def _recorded(self, session: Session, profiles: Collection[int]) -> dict[int, Used]:
        """What each of these profiles was shown and said, by what is on record."""
        shown = set(session.scalars(_SHOWN, {"profiles": Numbers(profiles)})) if profiles else set()
        return {profile: self._used(session, profile) if profile in shown else Used() for profile in profiles}

    def _used(self, session: Session, member: int) -> Used:
        used = Used()
        groups: dict[int, str | None] = {}
        for row in self._decisions(session, [member]):
            plan = self._plan(row.plan_hash)
            if plan is None:
                continue
            shown = msgspec.json.decode(row.public, type=RestoredOpen)
            counted = [slot.offer for slot in shown.slots if slot.offer not in plan.default_ids]
            groups |= {offer: plan.offer_by_id[offer].group for offer in counted}
            used = used.reserved([(offer, groups[offer]) for offer in counted], unix_ms(row.at))
        clicks = select(Click.offer_id, Click.at, Click.outcome)
        clicks = clicks.where(Click.profile_id == member, Click.fetch_class == "person")
        newest = clicks.where(Click.offer_id.in_(groups)).order_by(Click.at.desc()).limit(MAX_DECISIONS)
        for click in reversed(session.execute(newest).all()):
            answer: Answer = "refused" if click.outcome == "refused" else "taken"
            used = used.answered(click.offer_id, groups[click.offer_id], answer, unix_ms(click.at))
        return used

    def _shown(self, session: Session, rows: Sequence[Any]) -> Shown:
        """One delivery's live lane: its newest open with its texts, and what was seen over all of them."""
        opens = {row.id: msgspec.json.decode(row.public, type=RestoredOpen) for row in rows}
        last = max(rows, key=lambda row: row.open_number)
        plan = self._plan(last.plan_hash)
        lane = Lane(
            open_number=last.open_number,
            began_ms=unix_ms(last.at),
            state_version=last.state_version or LOST_VERSION,
            decision=last.id,
            plan=last.plan_hash,
            model=last.model_hash,
            chosen=self._chosen(session, last, opens[last.id]),
            refused=last.rung == "default",
            waits=waiting(plan, opens[last.id].slots) if plan is not None else (),
        )
        written = lane.began_ms
        served: dict[tuple[int, str], None] = {}
        fetches = select(Fetch.decision_id, Fetch.slot, Fetch.kind, Fetch.at, Fetch.fetch_class, Fetch.rung)
        for fetch in session.execute(fetches.where(Fetch.decision_id.in_(list(opens))).order_by(Fetch.at, Fetch.id)):
            written = max(written, unix_ms(fetch.at))
            if fetch.decision_id == last.id:
                served[fetch.slot, fetch.kind] = None
            offer = self._seen(opens[fetch.decision_id], fetch)
            # What hindsight took for a machine's was not what the person was last shown.
            if offer is not None and fetch.fetch_class not in ("prefetch", "scanner"):
                decided_by = opens[fetch.decision_id].plan
                by_another = decided_by if decided_by != lane.plan else ""
                picked = self._picked(opens[fetch.decision_id], fetch.slot, offer)
                at_ms = unix_ms(fetch.at)
                sight = LastShown(offer, fetch.decision_id, at_ms, fetch.fetch_class, by_another, picked)
                lane = after_fetch(lane, fetch.slot, fetch.kind, sight)
        lane = replace(lane, served=tuple(served))
        return Shown(live=lane, written_ms=written)

    def _chosen(self, session: Session, row: Any, opened: RestoredOpen) -> tuple[Chosen, ...]:
        """What the open showed, with the texts it showed it with; nothing when they cannot be opened."""
        subject = known_subject(session, row.profile_id, self._wrapping_key)
        if subject is None or row.personal is None:
            return ()
        try:
            fields = read_personal(subject.sealer.open(row.personal, PERSONAL_PURPOSE)).fields
        except (Unsealable, msgspec.MsgspecError) as error:
            logger(__name__).warning("a decision cannot be read", decision=row.id, reason=str(error)[:200])
            return ()
        return tuple(
            Chosen(slot.slot, slot.offer, slot.creative, texts, slot.product)
            for slot, texts in zip(opened.slots, fields, strict=True)
        )

    def _seen(self, opened: RestoredOpen, fetch: Any) -> int | None:
        """The offer that a fetch showed: its decision's, or the slot's default where only that could be drawn."""
        if fetch.rung == "static":
            return None
        if fetch.rung == "default":
            plan = self._plan(opened.plan)
            slot = plan.slot_by_index.get(fetch.slot) if plan is not None else None
            return slot.default if slot is not None else None
        return next((slot.offer for slot in opened.slots if slot.slot == fetch.slot), None)

    def _picked(self, opened: RestoredOpen, slot: int, offer: int) -> str:
        """The product that was picked for an offer that picks its own; empty for any other."""
        plan = self._plan(opened.plan)
        planned = plan.offer_by_id.get(offer) if plan is not None else None
        if planned is None or planned.pick is None:
            return ""
        return next((one.product or "" for one in opened.slots if (one.slot, one.offer) == (slot, offer)), "")

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


def _has_record(session: Session, offer: int, name: str) -> bool:
    """Whether an open that was recorded took this cap under this name (`agree.reservation`).

    Names of earlier releases end with the open number.
    """
    profile, *parts = name.split(".")
    delivery, numbers = ".".join(parts[:2]), parts[2:]
    if not agree.reserved_by(name) or len(numbers) not in (1, 2) or not all(number.isdigit() for number in numbers):
        return False
    if max(map(len, numbers)) > OPEN_DIGITS:
        return False
    opens = session.execute(
        select(Decision.public, Decision.campaign_id, Decision.occurrence, Decision.at).where(
            Decision.profile_id == int(profile), Decision.open_number == int(numbers[0]), Decision.lane == "live"
        )
    )
    for row in opens:
        if numbers[1:] and unix_ms(row.at) // agree.MINUTE_MS != int(numbers[1]):
            continue
        opened = msgspec.json.decode(row.public, type=RestoredOpen)
        if (opened.reserved_as or f"{row.campaign_id}.{row.occurrence}") == delivery and offer in opened.reserved:
            return True
    return False
