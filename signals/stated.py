"""What is stated of who somebody is: name, birth date, address, e-mail, phone, by the newest calls of shops' systems.

Read from the calls themselves, for states keep neither streets nor addresses. By this customers are compared who may be
one, by runs (`workers/likely.py`) and by people (`campaigns/sidebyside.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from signals import sealingkeys
from signals.events import BODY

CALLS: Final = 20
"""Newest `identify` calls of a customer that are read."""

_TRAITS: Final[Mapping[str, tuple[str, ...]]] = {
    "given": ("firstName", "first_name"), "family": ("lastName", "last_name"), "name": ("name",),
    "born": ("birthday", "birthDate", "birth_date", "dateOfBirth", "date_of_birth"), "email": ("email",),
    "phone": ("phone",),
}  # fmt: skip
_PLACE: Final[Mapping[str, tuple[str, ...]]] = {
    "street": ("street", "street_address", "line1"), "city": ("city",),
    "post": ("postalCode", "postal_code", "zip", "postcode"),
}  # fmt: skip
"""Which traits of a call, and of its address, state what (`columns`)."""


def stated(session: Session, roots: Collection[int]) -> dict[int, dict[str, Any]]:
    """What is stated of each of these roots, by the columns of `columns`; nobody of whom nothing is, nor of whom a call
    is damaged: an older one may say what was put right since."""
    told: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    damaged = set()
    for row in session.execute(_CALLS, {"roots": list(roots), "most": CALLS}):
        body = sealingkeys.legible(session, row.body, BODY, profile=row.root)
        if body is None:
            damaged.add(row.root)
            continue
        traits = msgspec.json.decode(body).get("traits")
        if isinstance(traits, dict):
            told[row.root].append(traits)
    return {root: columns(calls) for root, calls in told.items() if root not in damaged}


def columns(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The newest statement of each fact; of an address only the newest whole one, never parts of two."""
    found: dict[str, Any] = {}
    for traits in calls:
        address = traits.get("address")
        place = address if isinstance(address, dict) else traits
        groups = ((traits, {name: _TRAITS[name]}) for name in _TRAITS)
        for source, names in (*groups, (place, _PLACE)):
            told = {
                name: value for name, spellings in names.items()
                for value in [next((source[one] for one in spellings if source.get(one)), None)] if value is not None
            }  # fmt: skip
            if told and not told.keys() & found.keys():
                found |= told
    return found


_CALLS: Final = text("""
    SELECT r.root, c.body FROM unnest(CAST(:roots AS bigint[])) AS r (root) CROSS JOIN LATERAL (
        SELECT e.body, e.event_time, e.id FROM profile m JOIN event e ON e.profile_id = m.id
        JOIN source s ON s.id = e.source_id AND s.kind = 'server'
        WHERE m.root_id = r.root AND e.type = 'identify' ORDER BY e.event_time DESC, e.id DESC LIMIT :most
    ) c ORDER BY r.root, c.event_time DESC, c.id DESC
""")
