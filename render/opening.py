"""Finding or beginning the open that a fetch belongs to: decide, reserve, agree.

Processes race for the delivery's shown key. Whoever writes first has decided; whoever comes second is handed what was
written, joins that open, and gives back the total caps it had reserved for nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec.structs import replace

from base.errors import Unavailable
from base.logs import logger
from base.sealing import Sealer
from render import record
from render.agree import Agreement, Change, Guard, Personal, reservation
from render.cache import Picture
from render.commit import Recorder
from render.current import after_fetch, holds, joins, still_true, version_of
from render.decide import decide, seed_of
from render.decision import NO_MODEL, Decision
from render.facts import (
    Chosen,
    Facts,
    Lane,
    LastShown,
    Shown,
    Used,
    decode_shown,
    decode_used,
    encode_shown,
    encode_used,
)
from render.fetch import Fetch, Open, PictureOf, RecordOf
from render.lookup import Lookup, Running, understood
from render.metrics import Metrics
from render.permission import may_record, refused
from render.plan import Live, Plan
from render.pressure import Step
from render.record import AnonymousRecord, FetchRecord, decision_id
from render.recording import Repairs, decision_record
from render.stock import waiting
from signals.state import ProfileState
from signals.state import decode as decode_state

MAX_ROUNDS: Final = 32
"""Looks at a key that others keep writing: the pictures of one mail, fetched at once, each write it once."""
STRICT_ROUNDS: Final = 4
"""Rounds in which a new open must be agreed on the very state it was decided on; after that an older one will do, so
that signals which pour in cannot keep a mail from its picture."""
ACCEPT_SECONDS: Final = 0.02
"""Kept back from noting a sight, for the records that must be accepted where that fails."""
HELD_BACK: Final = Live(state="ended")
"""What is live for whoever is to get the defaults."""
_NOTHING_READ: Final = Personal(None, None, None)
_UNREAD_BUCKET_MS: Final = 30_000


class Read:
    """The person's keys, read and understood.

    Bytes that cannot be understood count as absent: the next write replaces them, and an absent state is a lost one.
    """

    __slots__ = ("personal", "shown", "state", "used")

    def __init__(self, personal: Personal) -> None:
        self.personal = personal
        self.state: ProfileState | None = understood(decode_state, personal.state)
        self.shown: Shown = understood(decode_shown, personal.shown) or Shown()
        self.used: Used = understood(decode_used, personal.used) or Used()

    @property
    def is_lost(self) -> bool:
        """Whether what was shown may be lost with the state. Begun anew, it would be left by the repair."""
        return self.state is None and self.personal.shown is None


class Opening:
    """The parts that find or begin opens. For many threads."""

    def __init__(
        self,
        lookup: Lookup,
        agreement: Agreement,
        recorder: Recorder,
        sealer: Sealer,
        metrics: Metrics,
        round_seconds: float,
    ) -> None:
        """`round_seconds` is the longest that one exchange with the store takes: no round begins with less left."""
        self._lookup = lookup
        self._agreement = agreement
        self._recorder = recorder
        self._sealer = sealer
        self._metrics = metrics
        self._round_seconds = round_seconds
        self.repairs = Repairs()

    def settle(
        self, fetch: Fetch, running: Running, plan: Plan, read: Read, at_hand: PictureOf, record_of: RecordOf
    ) -> Open:
        """The agreed open. Where its picture is `at_hand`, the fetch is marked and recorded with the same write.

        Raises Unavailable when the store went away or the others kept writing until there was no time left.
        """
        reserved: set[tuple[str, int]] = set()
        for number in range(MAX_ROUNDS):
            if fetch.time_left < self._round_seconds:
                break
            opened = self._find(fetch, running, plan, read)
            if opened is None and read.is_lost:
                return self.unagreed(fetch, running, plan, "no state", None, lost=("state",))
            if opened is None and fetch.step >= Step.NO_DECISION:
                opened = self.last(fetch, running, plan, read)
                if opened is None:
                    return self.unagreed(fetch, running, plan, "busy", read.state)
            if opened is None:
                opened = self._begin(fetch, running, plan, read, reserved)
                if reserved and fetch.time_left < 0:
                    # Whoever was stopped for long may find that the recorder gave back what was reserved.
                    break
            opened.personal, opened.state = read.personal, read.state
            if not opened.is_recorded:
                return opened
            guard: Guard = "same" if opened.is_new and number < STRICT_ROUNDS else "alive"
            theirs = self._agree(fetch, opened, read, at_hand(opened), record_of, guard)
            if theirs is None:
                self._give_back(fetch, opened, reserved)
                return opened
            self._metrics.count("conflicts")
            read = Read(theirs)
        # What was reserved may be what another process, or this one's own lost write, has shown: only the recorder,
        # who sees the records, can tell, and gives back what has none.
        raise Unavailable("agreement")

    def last(self, fetch: Fetch, running: Running, plan: Plan, read: Read, *, is_agreed: bool = True) -> Open | None:
        """The lane's latest open, to be shown once more: while the person can be read and it still says what is true.

        It uses up nothing anew. `is_agreed` False: nothing can be marked now.
        """
        lane = read.shown.lane(fetch.lane)
        if not lane.open_number or lane.plan != running.plan_hash or not may_record(read.state, plan):
            return None
        facts = self.facts(fetch, running, read, lane)
        if not still_true(plan, lane, facts, fetch.now):
            return None
        return Open(
            running, plan, lane.plan, lane, facts.locale or plan.locale,
            is_agreed=is_agreed, is_last=True, personal=read.personal, state=read.state,
        )  # fmt: skip

    def unagreed(
        self,
        fetch: Fetch,
        running: Running,
        plan: Plan,
        reason: str,
        state: ProfileState | None,
        lost: tuple[str, ...] = (),
    ) -> Open:
        """The defaults, without asking anybody: for when the store is away, or what it held was `lost`.

        One record for all pictures of a look.
        """
        at_ms = fetch.now_ms - fetch.now_ms % _UNREAD_BUCKET_MS
        facts = Facts(state=state, sent_at_ms=fetch.token.sent_ms, lane=fetch.lane, live=HELD_BACK)
        decision = replace(decide(plan, facts, fetch.now, 0), reason=reason, lost=lost)
        identity = decision_id(fetch.delivery, f"{fetch.lane_name}:{reason}", 0, at_ms)
        lane = Lane(decision=identity, began_ms=at_ms, plan=running.plan_hash, chosen=chosen_of(decision))
        made = decision_record(fetch, running, decision, facts, lane, _NOTHING_READ, ())
        self._metrics.count("lost", len(lost))
        return Open(
            running, plan, running.plan_hash, lane, plan.locale,
            is_recorded=may_record(state, plan), is_agreed=False, is_new=True,
            records=(made, *(self.repairs.wanted(fetch, running, lost) if lost else ())), state=state,
        )  # fmt: skip

    def mark(self, fetch: Fetch, opened: Open, sight: LastShown | None, made: FetchRecord | AnonymousRecord) -> bool:
        """Note that something was served, with its record; True once the record is safe, even if the note is not."""
        personal = opened.personal
        records = (*opened.records, made)
        for _ in range(MAX_ROUNDS):
            if not opened.is_agreed or personal is None or fetch.time_left < ACCEPT_SECONDS:
                break
            # A picture that took long is seen all the same, and a click must know: it is noted in what time is left.
            until = fetch.deadline - ACCEPT_SECONDS if fetch.time_left < self._round_seconds else None
            shown = understood(decode_shown, personal.shown) or Shown()
            lane = shown.lane(fetch.lane)
            after = _marked(lane, fetch, opened, sight)
            if after is lane:
                break
            change = Change(
                encode_shown(shown.with_lane(fetch.lane, after, fetch.now_ms)),
                entry=record.seal(records, self._sealer),
            )
            try:
                theirs = self._agreement.write(fetch.names, personal, change, until)
            except Unavailable:
                break
            if theirs is None:
                return True
            if not may_record(understood(decode_state, theirs.state), opened.plan):
                break
            personal = theirs
        return self._recorder.accept(records, fetch.deadline)

    def _find(self, fetch: Fetch, running: Running, plan: Plan, read: Read) -> Open | None:
        """The lane's current open, if this fetch belongs to it."""
        lane = read.shown.lane(fetch.lane)
        if not lane.open_number or not may_record(read.state):
            return None
        facts = self.facts(fetch, running, read, lane)
        shown_by: Plan | None = plan
        if not holds(plan, running.plan_hash, lane, facts, fetch.now, fetch.now_ms):
            if refused(plan, facts) is not None or not joins(lane, fetch.token.slot, fetch.kind, fetch.now_ms):
                return None
            # The campaign may have been published anew between two pictures of one look.
            shown_by = plan if lane.plan == running.plan_hash else self._lookup.plan(lane.plan)
        if shown_by is None:
            return None
        self._metrics.count("held")
        return Open(running, shown_by, lane.plan, lane, facts.locale or shown_by.locale)

    def _begin(self, fetch: Fetch, running: Running, plan: Plan, read: Read, reserved: set[tuple[str, int]]) -> Open:
        """A new open: decided, its total caps reserved, not yet agreed."""
        last = read.shown.lane(fetch.lane)
        number = last.open_number + 1
        facts = self.facts(fetch, running, read, last)
        decision = self.decided(plan, facts, fetch.now, seed_of(fetch.delivery, number))
        uses_caps = fetch.lane == "live" and not decision.no_record
        if uses_caps:
            decision, facts = self._reserve(fetch, plan, facts, decision, number, reserved)
        if decision.reason == NO_MODEL:
            self._metrics.count("without_model")
            decision = replace(decision, reason="busy" if fetch.step else NO_MODEL)
        if fetch.token.neutral:
            decision = replace(decision, reason="content holdout")
        lane = Lane(
            open_number=number,
            began_ms=fetch.now_ms,
            state_version=version_of(facts),
            decision=decision_id(fetch.delivery, fetch.lane_name, number, fetch.now_ms),
            plan=running.plan_hash,
            model=decision.model_hash,
            chosen=chosen_of(decision),
            shown=last.sights_under(running.plan_hash),
            refused=decision.rung == "default",
            waits=waiting(plan, decision.slots),
        )
        taken = _capped(plan, decision) if uses_caps else ()
        made = decision_record(fetch, running, decision, facts, lane, read.personal, taken)
        self._metrics.count("decisions", value=decision.rung)
        lost = running.lost(decision.lost)
        self._metrics.count("lost", len(lost))
        return Open(
            running, plan, running.plan_hash, lane, facts.locale or plan.locale,
            is_recorded=not decision.no_record, is_new=True,
            records=(made, *self.repairs.wanted(fetch, running, lost)),
            uses=_uses(plan, decision) if uses_caps else (),
        )  # fmt: skip

    def _reserve(
        self, fetch: Fetch, plan: Plan, facts: Facts, decision: Decision, number: int, reserved: set[tuple[str, int]]
    ) -> tuple[Decision, Facts]:
        """Take the total caps of what was chosen; what is refused is left out once, then everything with a cap is."""
        name = _reservation(fetch, number, fetch.now_ms)
        for last_try in (False, True):
            capped = _capped(plan, decision)
            if not capped:
                return decision, facts
            answer = self._agreement.reserve(capped, name, fetch.now_ms)
            reserved.update((name, offer) for offer in answer.taken)
            if not answer.refused:
                return decision, facts
            self._metrics.count("refused_caps", len(answer.refused))
            left_out = frozenset(plan.capped_ids if last_try else answer.refused)
            facts = replace(facts, refused=facts.refused | left_out)
            decision = self.decided(plan, facts, fetch.now, decision.seed)
        return decision, facts

    def decided(self, plan: Plan, facts: Facts, now: datetime, seed: int) -> Decision:
        """By the model, or by the rules where it is missing or fails."""
        try:
            return decide(plan, facts, now, seed)
        except Exception as error:
            if facts.model is None:
                raise
            logger(__name__).error("deciding by the model failed", error=type(error).__name__, exc_info=error)
            self._metrics.count("errors", value="decide")
            return decide(plan, replace(facts, model=None), now, seed)

    def _give_back(self, fetch: Fetch, opened: Open, reserved: set[tuple[str, int]]) -> None:
        """Release what was reserved for this very open and is not in it; of earlier ones only the recorder can tell.

        Where another process began it in another minute, that is all that was reserved here under its number.
        """
        if not reserved:
            return
        number = opened.lane.open_number
        own = _reservation(fetch, number, opened.lane.began_ms)
        mine = _reservation(fetch, number, fetch.now_ms)
        shown = {chosen.offer for chosen in opened.chosen}
        for name in {own, mine}:
            kept = shown if name == own else ()
            self._agreement.release([offer for by, offer in reserved if by == name and offer not in kept], name)

    def _agree(
        self, fetch: Fetch, opened: Open, read: Read, picture: Picture | None, record_of: RecordOf, guard: Guard
    ) -> Personal | None:
        """Write the open or the mark: None when this process's write stands, else what another wrote before."""
        lane = opened.lane
        records = opened.records
        if picture is not None:
            chosen = opened.in_slot(fetch.token.slot)
            sight = opened.sight(fetch, chosen.offer) if chosen is not None else None
            lane = after_fetch(lane, fetch.token.slot, fetch.kind, sight)
            records = (*records, record_of(opened, picture, opened.rung("cached")))
        if lane is opened.lane and not opened.is_new:
            if picture is not None and self._recorder.accept(records, fetch.deadline):
                opened.picture = picture
            return None
        shown = encode_shown(read.shown.with_lane(fetch.lane, lane, fetch.now_ms))
        used = encode_used(read.used.reserved(opened.uses, fetch.now_ms)) if opened.uses else None
        entry = record.seal(records, self._sealer) if records else None
        theirs = self._agreement.write(fetch.names, read.personal, Change(shown, used, entry, guard))
        if theirs is None:
            opened.lane, opened.records, opened.picture = lane, (), picture
            opened.personal = Personal(read.personal.state, shown, used or read.personal.used)
        return theirs

    def facts(self, fetch: Fetch, running: Running, read: Read, lane: Lane) -> Facts:
        """What a decision for this fetch is made from; `lane` is the delivery's open before it."""
        locale = read.state.traits.get("locale") if read.state is not None else None
        return Facts(
            state=read.state,
            sent_at_ms=fetch.token.sent_ms,
            used=read.used,
            products=running.products,
            caps=running.caps,
            model=self._lookup.model(running, fetch.delivery) if fetch.step < Step.NO_MODEL else None,
            last=lane.last,
            lane=fetch.lane,
            undecided=fetch.verdict.fetch_class == "undecided",
            locale=locale if isinstance(locale, str) else None,
            # The mails of a content holdout are decided as if the campaign had ended.
            live=HELD_BACK if fetch.token.neutral or running.live is None else running.live,
            relations=self._lookup.relations(running),
        )


def _marked(lane: Lane, fetch: Fetch, opened: Open, sight: LastShown | None) -> Lane:
    """The lane after the fetch; a sight of an open that another has followed is still what was last shown."""
    if lane.decision == opened.decision:
        return after_fetch(lane, fetch.token.slot, fetch.kind, sight)
    if sight is None:
        return lane
    by_another = replace(sight, plan=opened.plan_hash) if opened.plan_hash != lane.plan else sight
    return lane.after_sight(fetch.token.slot, by_another)


def _reservation(fetch: Fetch, number: int, began_ms: int) -> str:
    return reservation(fetch.delivery_name, fetch.token.profile, number, began_ms)


def chosen_of(decision: Decision) -> tuple[Chosen, ...]:
    """What a lane keeps of a decision."""
    return tuple(slot.chosen() for slot in decision.slots)


def _uses(plan: Plan, decision: Decision) -> tuple[tuple[int, str | None], ...]:
    """What counts against the person: every offer shown but the defaults."""
    defaults = plan.default_ids
    return tuple((offer, plan.offer_by_id[offer].group) for offer in decision.offers if offer not in defaults)


def _capped(plan: Plan, decision: Decision) -> tuple[int, ...]:
    return tuple(offer for offer in decision.offers if plan.offer_by_id[offer].cap_total is not None)
