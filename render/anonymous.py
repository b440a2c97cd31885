"""Tracking level anonymous: each person gets what fits, and what is kept names nobody and leads to nobody.

Every fetch and every click is decided anew by what is known of the person now. Nothing is written to their keys, and
the one record of it (`render.record.AnonymousRecord`) has neither person nor delivery, open, evidence or bytes.
"""

from __future__ import annotations

import secrets

from msgspec.structs import replace

from base.logs import logger
from render.agree import Personal
from render.decide import seed_of
from render.decision import NO_MODEL
from render.facts import NO_LANE, Lane
from render.fetch import Fetch, Open
from render.lookup import Running
from render.opening import HELD_BACK, Read, chosen_of
from render.parts import Parts
from render.plan import Plan
from render.pressure import Step


def anonymous_open(parts: Parts, fetch: Fetch, running: Running, plan: Plan, personal: Personal | None) -> Open:
    """The open of one fetch, noted nowhere; of defaults where deciding fails.

    Blocks agree as long as the state does, because the seed is that of the delivery's first open. Whoever could not be
    read (`personal` None), or whose state is lost, gets the defaults without a record: they may have refused it.
    """
    try:
        return _decided(parts, fetch, running, plan, personal)
    except Exception as error:  # noqa: BLE001 - below a decision that fails is the default
        logger(__name__).error("deciding failed", error=type(error).__name__, exc_info=error)
        parts.metrics.count("errors", value="decide")
        return _decided(parts, fetch, running, plan, None)


def _decided(parts: Parts, fetch: Fetch, running: Running, plan: Plan, personal: Personal | None) -> Open:
    # What was shown before and how often is not counted at this level; where it is from another level, it is not read.
    read = Read(Personal(personal.state if personal is not None else None, None, None))
    facts = parts.opening.facts(fetch, running, read, NO_LANE)
    is_busy = fetch.step >= Step.NO_DECISION
    if is_busy:
        facts = replace(facts, live=HELD_BACK)
    decision = parts.opening.decided(plan, facts, fetch.now, seed_of(fetch.delivery, 1))
    parts.metrics.count("decisions", value=decision.rung)
    if decision.reason == NO_MODEL:
        parts.metrics.count("without_model")
    # The repair of a state would name the person.
    missing = running.lost(decision.lost)
    lost = tuple(name for name in missing if name != "state")
    parts.metrics.count("lost", len(missing))
    lane = Lane(
        began_ms=fetch.now_ms,
        decision=secrets.token_hex(16),
        plan=running.plan_hash,
        model=decision.model_hash,
        chosen=chosen_of(decision),
        refused=decision.rung == "default",
    )
    return Open(
        running, plan, running.plan_hash, lane, facts.locale or plan.locale,
        is_recorded=read.state is not None and not decision.no_record, is_agreed=not is_busy, is_new=True,
        records=parts.opening.repairs.wanted(fetch, running, lost), state=read.state,
    )  # fmt: skip
