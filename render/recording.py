"""The records of what just happened at an open, made from the values it was made with."""

from __future__ import annotations

import secrets
import threading
from typing import Final, cast

from base.clock import monotonic
from render.agree import Personal
from render.cache import Picture
from render.decision import Decision
from render.facts import Facts, Lane, encode_last
from render.fetch import Fetch, Open
from render.lookup import Running
from render.record import (
    AnonymousRecord,
    CandidateRecord,
    DecisionFacts,
    DecisionRecord,
    FetchRecord,
    RepairRecord,
    SlotRecord,
)

REPAIR_SECONDS: Final = 10.0
"""How often one process asks for the same repair."""
MAX_ASKED: Final = 10_000
HOUR_MS: Final = 3_600_000


def decision_record(
    fetch: Fetch,
    running: Running,
    decision: Decision,
    facts: Facts,
    lane: Lane,
    personal: Personal,
    reserved: tuple[int, ...],
) -> DecisionRecord:
    """The record of a new open; `personal` are the bytes its facts were read from."""
    live = running.live
    return DecisionRecord(
        id=lane.decision,
        at_ms=lane.began_ms,
        profile=fetch.token.profile,
        campaign=fetch.token.campaign,
        occurrence=fetch.token.occurrence,
        lane=fetch.lane,
        open_number=lane.open_number,
        plan=running.plan_hash,
        model=decision.model_hash,
        seed=decision.seed,
        state_version=facts.state.version if facts.state is not None else None,
        slots=tuple(
            SlotRecord(
                slot.slot, slot.offer, slot.creative, slot.propensity,
                # The same array form; copying twenty of them at every open would only cost.
                cast("tuple[CandidateRecord, ...]", slot.candidates),
                slot.margin, slot.held, slot.product, slot.policy,
            )
            for slot in decision.slots
        ),
        products=dict(running.product_bytes),
        caps=tuple(sorted(facts.caps.items())),
        reserved=reserved,
        reserved_as=fetch.delivery_name if fetch.contact is not None else "",
        refused=tuple(sorted(facts.refused)),
        rung=decision.rung,
        reason=decision.reason,
        lost=bool(decision.lost),
        missing=tuple(f"unread {name}" if name in running.unread else name for name in decision.lost),
        features=decision.features,
        sent_ms=facts.sent_at_ms,
        undecided=facts.undecided,
        neutral=fetch.token.neutral,
        live_state=live.state if live is not None else "live",
        withdrawn=live.withdrawn if live is not None else (),
        contact=fetch.contact,
        relations=facts.relations.hash if facts.relations is not None else None,
        micros=int((monotonic() - fetch.started) * 1e6),
        propensity=decision.propensity,
        effects=decision.effects,
        personal=DecisionFacts(
            state=personal.state,
            used=personal.used,
            last=encode_last(facts.last) if facts.last is not None else None,
            fields=tuple(slot.fields for slot in decision.slots),
        ),
    )  # fmt: skip


def fetch_record(fetch: Fetch, opened: Open | None, picture: Picture, rung: str) -> FetchRecord:
    """The record of one answered GET. `opened` None: there was no plan to decide with."""
    return FetchRecord(
        id=fetch.id,
        at_ms=fetch.now_ms,
        profile=fetch.token.profile,
        campaign=fetch.token.campaign,
        occurrence=fetch.token.occurrence,
        decision=opened.decision if opened is not None else "",
        slot=fetch.token.slot,
        kind=fetch.kind,
        lane=fetch.lane,
        fetch_class=fetch.verdict.fetch_class,
        evidence=fetch.verdict.evidence,
        sha256=picture.sha256,
        size=len(picture.body),
        content_type=picture.content_type,
        is_personal=picture.is_personal,
        rung=rung,
        micros=int((monotonic() - fetch.started) * 1e6),
        body=None if picture.is_handed(fetch.now_ms) else picture.body,
    )


def anonymous_record(fetch: Fetch, offer: int | None, rung: str) -> AnonymousRecord:
    """The record of one answered GET that names nobody; `offer` is what was shown or led to."""
    return AnonymousRecord(
        id=fetch.id,
        at_ms=fetch.now_ms - fetch.now_ms % HOUR_MS,
        campaign=fetch.token.campaign,
        occurrence=fetch.token.occurrence,
        slot=fetch.token.slot,
        kind=fetch.kind,
        fetch_class=fetch.verdict.fetch_class,
        offer=offer,
        rung=rung,
    )


def answer_record(
    fetch: Fetch, opened: Open, picture: Picture, rung: str, offer: int | None
) -> FetchRecord | AnonymousRecord:
    """The record of what answered a fetch, as the campaign's tracking level has it; `offer` is the one it shows."""
    if opened.is_anonymous:
        return anonymous_record(fetch, offer, rung)
    return fetch_record(fetch, opened, picture, rung)


class Repairs:
    """Asks for keys that were lost, each now and then. For many threads."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def wanted(self, fetch: Fetch, running: Running | None, lost: tuple[str, ...]) -> tuple[RepairRecord, ...]:
        """The entries for what this fetch found missing and nobody here asked for lately. `lost` as in a Decision."""
        names = [] if running is None else list(running.missing)
        names += [(what, name) for what, _, name in (key.partition(":") for key in lost)]
        return tuple(
            RepairRecord(
                id=secrets.token_hex(16),
                at_ms=fetch.now_ms,
                what=what,
                profile=fetch.token.profile if what == "state" else 0,
                campaign=fetch.token.campaign,
                occurrence=fetch.token.occurrence,
                name=name,
            )
            for what, name in dict.fromkeys(names)
            if self._is_due(what, name or str(fetch.token.profile if what == "state" else fetch.token.campaign))
        )

    def _is_due(self, what: str, name: str) -> bool:
        now = monotonic()
        with self._lock:
            if now < self._asked.get((what, name), 0.0):
                return False
            if len(self._asked) >= MAX_ASKED:
                self._asked.clear()
            self._asked[what, name] = now + REPAIR_SECONDS
            return True
