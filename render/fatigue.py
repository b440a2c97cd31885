"""Whether an offer rests: it was shown, ignored, taken or refused so often of late that it is left out for a while."""

from __future__ import annotations

from render.arbitration import Fatigue
from render.facts import DAY_MS, Used
from render.plan import Offer


def resting(offer: Offer, used: Used, now_ms: int) -> Fatigue | None:
    """The first of the offer's entries by which it rests at `now_ms`; None if it does by none.

    An offer rests from the event that fills the measure until, not including, `off_days` later. Events exactly
    `within_days` apart are not counted together. What happens while it rests, and before, counts no more. Only the
    latest MAX_PERIOD_SHOWS events of a kind are known.
    """
    for rest in offer.fatigue:
        if now_ms < _rests_until(rest, _events(rest, offer, used)):
            return rest
    return None


def _events(rest: Fatigue, offer: Offer, used: Used) -> list[tuple[int, bool]]:
    """Moments in order, and whether each counts; one that does not ends the row of those before it."""
    if rest.of == "group":
        use, answers = used.group(offer.group or ""), used.group_answers_to(offer.group or "")
    else:
        use, answers = used.offer(offer.id), used.answers_to(offer.id)
    if rest.after == "taken":
        return [(at, True) for at in answers.taken]
    if rest.after == "refused":
        return [(at, True) for at in answers.refused]
    shown = [(at, True) for at in use.recent]
    if rest.after == "shown":
        return shown
    # Within one millisecond the showing comes first: what was taken had been seen.
    return sorted(shown + [(at, False) for at in answers.taken], key=lambda event: (event[0], not event[1]))


def _rests_until(rest: Fatigue, events: list[tuple[int, bool]]) -> int:
    within, off = rest.within_days * DAY_MS, rest.off_days * DAY_MS
    counted: list[int] = []
    until = 0
    for at, counts in events:
        if not counts:
            counted.clear()
            continue
        if at < until:
            continue
        counted = [*(earlier for earlier in counted if at - earlier < within), at]
        if len(counted) >= rest.times:
            until = at + off
            counted = []
    return until
