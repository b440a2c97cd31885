"""Publishing states that somebody committed and could not publish (signals/outbox.py)."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from redis import RedisError

from base.db import transaction
from base.errors import Unavailable
from base.logs import logger
from signals import outbox
from signals.intake import Intake, stored_states
from signals.publishing import HOT_STORE
from signals.rebuild import what_is_held

RESTORED_AT_ONCE: Final = 100
"""People whose state is brought back in one call, with what was shown to them."""
MOST_FAILED: Final = 3
"""People of one call for whom a store was away; the others are then left for the next."""
_log = logger(__name__)


def publish_due(intake: Intake, restore: Callable[[int], None]) -> int:
    """Publish states that somebody committed and could not publish; how many were waited for.

    Of whom the hot store has none, though something was shown to them, `restore` brings it back with that, given one
    of their profiles. Raises Unavailable, having published those of the nodes that are there.
    """
    with transaction(intake.sessions) as session:
        notes = outbox.waiting(session)
        states = stored_states(session, set(notes.values())) if notes else []
    if notes:
        lost, absent = intake.publisher.offer_states(states)
        failed = _bring_back(intake, absent, restore)
        kept = lost | failed
        intake.settle(partial(outbox.done, notes=[note for note, profile in notes.items() if profile not in kept]))
        if lost:
            raise Unavailable(HOT_STORE)
    return len(notes)


def _bring_back(intake: Intake, absent: Collection[int], restore: Callable[[int], None]) -> set[int]:
    """Those of these profiles whose state is to be brought back at another call. What can never be is left, with a log
    line: an open asks for it again."""
    waiting = list(absent)
    random.shuffle(waiting)  # Who cannot be brought back is not the first at each call, before all others.
    failed: set[int] = set()
    for place, profile in enumerate(waiting[:RESTORED_AT_ONCE]):
        if len(failed) == MOST_FAILED:
            return failed.union(waiting[place:])
        try:
            held = intake.publisher.held([profile]).get(profile, b"")
            if what_is_held(held) is None:  # It may be there since, with another profile of the same person.
                restore(profile)
        except (RedisError, Unavailable):
            failed.add(profile)
        except Exception as error:  # noqa: BLE001 - what is broken in one person's records must not keep the others
            _log.error("a state was not brought back", profile=profile, error=type(error).__name__)
    return failed.union(waiting[RESTORED_AT_ONCE:])
