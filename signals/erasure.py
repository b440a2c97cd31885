"""Erasure: what we know of a person is deleted, and a tombstone says for ever that nothing may be shown to them.

This is the part of it that belongs to signals: events, identifiers, traits, consent, state, and what render keeps per
profile in Valkey. Records of opens are made unreadable by dropping the subject's key, where those are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from base.db import Binaries
from signals import belonging, claiming, folding, journal, mailreports, refusals
from signals.events import BODY
from signals.identity import Claim, claimed, value_hash
from signals.intake import Intake, regroup
from signals.refusals import AT_ONCE
from signals.sealingkeys import content, leaving_out
from signals.state import tombstone

_DELETE: Final = tuple(
    text(statement)
    for statement in (
        "DELETE FROM event_conflict c USING event e"
        " WHERE e.profile_id = ANY(:members) AND c.source_id = e.source_id AND c.message_id = e.message_id",
        # What was refused or contradicted others belongs to nobody we know, but it may name them as it was sent.
        "DELETE FROM event_conflict WHERE id = ANY(:contradicting)",
        "DELETE FROM rejected_event WHERE id = ANY(:refused)",
        "DELETE FROM event WHERE profile_id = ANY(:members)",
        "DELETE FROM refused_tie r USING identifier i"
        " WHERE i.profile_id = ANY(:members) AND i.owns AND r.type = i.type AND r.value_hash = i.value_hash",
        # A value that was one too many of its kind is nobody's identifier; the person's calls state it.
        "DELETE FROM refused_tie r"
        " USING unnest(CAST(:types AS text[]), CAST(:hashes AS bytea[])) AS told (type, value_hash)"
        " WHERE r.type = told.type AND r.value_hash = told.value_hash AND NOT EXISTS (SELECT FROM identifier i"
        " WHERE i.type = r.type AND i.value_hash = r.value_hash AND NOT i.profile_id = ANY(:members))",
        # That an address gets no mail stays; what was said of it may name the person, unless others have it too.
        "UPDATE suppression_change c SET evidence = NULL FROM identifier i"
        " WHERE i.profile_id = ANY(:members) AND c.address_hash = i.value_hash AND c.evidence IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM identifier o"
        " WHERE o.type = i.type AND o.value_hash = i.value_hash AND NOT o.profile_id = ANY(:members))",
        # An address that others share goes to who had it next.
        "WITH gone AS (DELETE FROM identifier WHERE profile_id = ANY(:members) RETURNING type, value_hash, owns),"
        " heir AS ("
        " SELECT DISTINCT ON (i.type, i.value_hash) i.type, i.value_hash, i.profile_id FROM identifier i"
        " JOIN gone g ON g.type = i.type AND g.value_hash = i.value_hash AND g.owns"
        " WHERE NOT i.owns AND NOT i.profile_id = ANY(:members)"
        " ORDER BY i.type, i.value_hash, i.first_seen, i.profile_id)"
        " UPDATE identifier i SET owns = true FROM heir h"
        " WHERE i.type = h.type AND i.value_hash = h.value_hash AND i.profile_id = h.profile_id",
        "UPDATE profile_link SET kept = NULL, claim_hash = NULL, message_id = NULL WHERE child_id = ANY(:members)"
        " OR child_end = ANY(:members) OR parent_end = ANY(:members)",
        "DELETE FROM likely_match WHERE one_id = ANY(:members) OR other_id = ANY(:members)",
        "DELETE FROM profile_state WHERE profile_id = ANY(:members)",
        "DELETE FROM state_due WHERE profile_id = ANY(:members)",
        "DELETE FROM count_due WHERE profile_id = ANY(:members)",
        "DELETE FROM trait_lineage WHERE profile_id = ANY(:members)",
        "DELETE FROM profile_score WHERE profile_id = ANY(:members)",
        "DELETE FROM consent WHERE profile_id = ANY(:members)",
        "DELETE FROM household_claim WHERE profile_id = ANY(:members)",
    )
)
_MARK: Final = text(
    "UPDATE profile SET erased_at = :now, erased_version = :version, erasing = true WHERE id = ANY(:members)"
)
_CALLS: Final = text("SELECT id, body FROM event WHERE profile_id = ANY(:members)")
_UNFINISHED: Final = text("""
    SELECT root_id FROM (SELECT DISTINCT root_id FROM profile WHERE erasing AND erased_at < :before) AS begun
    ORDER BY random() LIMIT 100
""")
_FINISH: Final = text("UPDATE profile SET erasing = false WHERE id = ANY(:members)")


Keep = Callable[[Session, int], None]
"""What is to be kept of a person without naming them is asked for by root, once, before anything is deleted."""


def erase(intake: Intake, profile: int, now: datetime, keep: Keep = lambda session, root: None) -> bool:
    """Erase the person this profile belongs to, with every profile merged into them. False when there is none.

    Doing it again finishes what a store that was away interrupted; until `finish` it is `unfinished`. Raises
    Unavailable.
    """
    erased = intake.settle(partial(_erase, profile, now, keep, intake.hash_key))
    if erased is None:
        return False
    version, members = erased
    root = folding.Root(members[0], members, erased_version=version, edition=version)
    intake.publisher.write_states(folding.published([folding.standing(root, tombstone(version), version)]))
    intake.publisher.forget(members)
    regroup(intake, members, now)
    return True


def unfinished(session: Session, before: datetime) -> list[int]:
    """Roots that were erased before this moment, of which something may be left outside the signals' tables.

    At most 100, drawn, so that those that cannot be finished keep none of the others waiting for good.
    """
    return list(session.scalars(_UNFINISHED, {"before": before}))


def finish(session: Session, members: Sequence[int]) -> None:
    """Note that nothing is left of these profiles anywhere."""
    session.execute(_FINISH, {"members": list(members)})


def _erase(profile: int, now: datetime, keep: Keep, hash_key: bytes, session: Session) -> tuple[int, list[int]] | None:
    row = session.execute(
        text("SELECT root_id, erased_version FROM profile WHERE id = :id"), {"id": profile}
    ).one_or_none()
    if row is None:
        return None
    if row.erased_version is None:
        belonging.lock(session, [row.root_id])
    members = folding.load(session, [row.root_id])[row.root_id].members
    if row.erased_version is not None:
        return row.erased_version, members
    keep(session, row.root_id)
    # A number of its own, newer than every signal: no state on its way to Valkey can come after the tombstone.
    version = journal.numbers(session, 1)[0]
    claiming.queue(session, [row.root_id])
    stated = _stated(session, members)
    given = {
        "members": members,
        "types": [kind for kind, _ in stated],
        "hashes": Binaries(value_hash(hash_key, kind, value) for kind, value in stated),
        "refused": refusals.naming(session, members),
        "contradicting": refusals.contradicting(session, members),
    }
    mailreports.forget(session, members)
    for statement in _DELETE:
        session.execute(statement, given)
    session.execute(_MARK, {"now": now, "version": version, "members": members})
    return version, members


def _stated(session: Session, members: Sequence[int]) -> set[Claim]:
    """The identifiers that the calls of these profiles state, also those that became nobody's; a damaged call none."""
    found: set[Claim] = set()
    for row in session.execute(_CALLS, {"members": list(members)}, execution_options={"yield_per": AT_ONCE}):
        with leaving_out(signal=row.id):
            found.update(claimed(msgspec.json.decode(content(session, row.body, BODY.place))))
    return found
