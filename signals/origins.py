"""Where the value of each trait comes from and since when it is so; rows of `trait_lineage`, derived as states are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from base.db import Binaries
from base.errors import SettingError
from base.sealing import Unsealable
from base.vault import Vault, vault_of
from signals import sealingkeys
from signals.foldevent import FoldEvent
from signals.lineage import Held, Rules, same
from signals.moments import unix_ms
from signals.profiles import TRAIT_CONTENT, TRAIT_VALUE
from signals.state import Trait

_JSON = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a trait's value comes from: the event that stated it, of that number and time, and its source."""

    root: int
    name: str
    value: Trait | None
    time_ms: int
    source: int
    event: int

    def held(self, rules: Rules) -> Held:
        """What holds by this origin."""
        return Held(self.value, rules.authority(self.name, self.source))


NO_ORIGINS: Final[Mapping[str, Origin]] = MappingProxyType({})


def origins(
    root: int, events: Iterable[FoldEvent], rules: Rules, before: Mapping[str, Origin] = NO_ORIGINS
) -> dict[str, Origin]:
    """The origins of traits that these events change, in canonical order; `before`: what they were until then.

    That is the statement since which the value holds, by whoever states it again; but what a browser said first is a
    server's word from when a server states it (and so by trust, where that decides).
    """
    found: dict[str, Origin] = {}
    for event in events:
        for name, value in event.traits.items():
            was = found.get(name) or before.get(name)
            if (
                was is None
                or not same(was.value, value)
                or rules.authority(name, event.source) > rules.authority(name, was.source)
            ):
                found[name] = Origin(root, name, value, event.time_ms, event.source, event.arrival)
    return found


_LINEAGE = text("""
    INSERT INTO trait_lineage (profile_id, name, value, event_time, source_id, event_id)
    SELECT root, name, value, to_timestamp(ms / 1000.0), source, event
    FROM unnest(CAST(:roots AS bigint[]), CAST(:names AS text[]), CAST(:values AS bytea[]), CAST(:ms AS bigint[]),
                CAST(:sources AS int[]), CAST(:events AS bigint[])) AS new (root, name, value, ms, source, event)
    ON CONFLICT (profile_id, name) DO UPDATE SET value = excluded.value, event_time = excluded.event_time,
        source_id = excluded.source_id, event_id = excluded.event_id
""")
_HELD = text("""
    SELECT t.* FROM trait_lineage t
    JOIN unnest(CAST(:roots AS bigint[]), CAST(:names AS text[])) AS w (profile_id, name) USING (profile_id, name)
""")


def stored(session: Session, wanted: Collection[tuple[int, str]]) -> tuple[dict[int, dict[str, Origin]], set[int]]:
    """The stored origins of these traits of these roots, by root and name, and the roots of which one is damaged: they
    are found again from all their events. The roots are locked."""
    found: dict[int, dict[str, Origin]] = {}
    damaged = set()
    named = {"roots": [root for root, _ in wanted], "names": [name for _, name in wanted]}
    for row in session.execute(_HELD, named) if wanted else ():
        sealed = sealingkeys.legible(session, row.value, TRAIT_CONTENT, profile=row.profile_id)
        if sealed is None:
            damaged.add(row.profile_id)
            continue
        value, at = msgspec.json.decode(sealed), unix_ms(row.event_time)
        origin = Origin(row.profile_id, row.name, value, at, row.source_id, row.event_id)
        found.setdefault(row.profile_id, {})[row.name] = origin
    return found, damaged


_ALL_HELD = text("SELECT * FROM trait_lineage WHERE profile_id = ANY(:roots)")
_NO_LINEAGE = text("""
    DELETE FROM trait_lineage t USING unnest(CAST(:roots AS bigint[]), CAST(:names AS text[])) AS w (root, name)
    WHERE t.profile_id = w.root AND t.name = w.name
""")


def write(session: Session, found: Sequence[Origin], *, anew: Sequence[int]) -> None:
    """Store where traits come from; for the roots in `anew` these are all of them. The roots are locked."""
    if anew:
        found = _other_than_held(session, found, anew)
    if found:
        vault = vault_of(session)
        session.execute(
            _LINEAGE,
            {
                "roots": [origin.root for origin in found],
                "names": [origin.name for origin in found],
                # A null is kept as JSON's.
                "values": Binaries(vault.seal(_JSON.encode(origin.value), TRAIT_VALUE.place) for origin in found),
                "ms": [origin.time_ms for origin in found],
                "sources": [origin.source for origin in found],
                "events": [origin.event for origin in found],
            },
        )


def _other_than_held(session: Session, found: Sequence[Origin], roots: Sequence[int]) -> list[Origin]:
    """Those of all origins of these roots that are not stored as they are; what is stored of others is taken away."""
    held = {(row.profile_id, row.name): row for row in session.execute(_ALL_HELD, {"roots": list(roots)})}
    gone = held.keys() - {(origin.root, origin.name) for origin in found}
    if gone:
        session.execute(_NO_LINEAGE, {"roots": [root for root, _ in gone], "names": [name for _, name in gone]})
    vault = vault_of(session)
    return [origin for origin in found if not _tells(held.get((origin.root, origin.name)), origin, vault)]


def _tells(row: Row[Any] | None, origin: Origin, vault: Vault) -> bool:
    """Whether a stored row says just this. One that does not open says nothing, and is written anew."""
    if row is None or (row.event_id, row.source_id, unix_ms(row.event_time)) != (
        origin.event, origin.source, origin.time_ms,
    ):  # fmt: skip
        return False
    try:
        return vault.open(bytes(row.value), TRAIT_VALUE.place) == _JSON.encode(origin.value)
    except (Unsealable, SettingError):
        return False
