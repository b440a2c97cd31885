"""Whether anything may be decided on for a person at all, and whether their opens may be written down."""

from __future__ import annotations

from render.facts import Facts
from render.plan import Plan
from signals.contents import REFUSABLE
from signals.state import ProfileState


def refused(plan: Plan, facts: Facts) -> str | None:
    """Why nothing but the default may be shown at all; None if a decision may be made."""
    if facts.live.state != "live":
        return facts.live.state
    if plan.tracking == "none":
        return "not followed"
    if facts.neutral:
        return "content holdout"
    state = facts.state
    if state is None:
        return "no state"
    if state.erased:
        return "erased"
    for purpose in (*REFUSABLE, plan.channel):
        if state.consent.get(purpose) is False:
            return f"no consent: {purpose}"
    for purpose in plan.needs_consent:
        if state.consent.get(purpose) is not True:
            return f"no consent: {purpose}"
    return None


def may_record(state: ProfileState | None, plan: Plan | None = None) -> bool:
    """Whether an open of this person may be written down.

    Not after erasure, nor once tracking or the channel (mail, without a plan) were refused, nor before tracking was
    granted where a plan wants it.
    """
    granted = state is not None and state.consent.get("tracking") is True
    if plan is not None and "tracking" in plan.needs_consent and not granted:
        return False
    if state is None:
        return True
    channel = plan.channel if plan is not None else "email"
    return not state.erased and all(state.consent.get(purpose) is not False for purpose in ("tracking", channel))
