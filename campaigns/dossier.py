"""All that is kept of one person, as one JSON document: what they said and did, what they were sent and shown, and why.

Parts are lists of rows in the order of time, each written as it is read, so the document may be larger than memory.
What is sealed is opened; of what is damaged there, a row says which of its fields are and has null in their place. Not
in it are keyed hashes, keys and the bytes of pictures, which are named by their SHA-256 (an evidence pack has them).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import IO, Any, Final, cast

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from base import keys
from base.sealed import SealedBytes
from base.sealing import Unsealable
from base.stores import Store
from campaigns import access_log, customers, sentfacts
from campaigns.admin_log import Actor
from campaigns.audit import PERSONAL_PURPOSE
from campaigns.subjects import SubjectKey, known_subjects
from campaigns.veiling import keyless, keyless_text
from render.facts import decode_shown, decode_used
from render.lookup import understood
from render.record import read_personal
from signals import refusals, sealingkeys
from signals.consenthistory import CONSENT_WORDING
from signals.dwellings import CLAIM_ENDED_WHY, CLAIM_WHY
from signals.events import BODY, CONFLICT_BODY, REJECTED_CONTENT
from signals.mailreports import WORDS
from signals.profiles import IDENTIFIER_VALUE, TRAIT_VALUE, opened
from signals.state import decode, document

VERSION: Final = 1
DAMAGED: Final = "damaged"
"""The field of a row that lists those of its others that cannot be opened any more."""
IN_MEMORY: Final = 4 * 1024 * 1024
CHUNK: Final = 64 * 1024
ROWS_AT_ONCE: Final = 500
MAX_SHOWN: Final = 1_000
"""Keys of the hot store that are read of one person; older ones are in `opens` too."""

_WORDS: Final = {
    "[campaign]": "(SELECT c.name FROM campaign c WHERE c.id = t.campaign_id) AS campaign",
    "[source]": "(SELECT s.name FROM source s WHERE s.id = t.source_id) AS source",
}
_PLAIN: Final = {
    "profiles": "SELECT id, root_id, created_at, erased_at FROM profile t WHERE id = ANY(:members) ORDER BY id",
    "merges": "SELECT child_id, parent_id, reason, evidence, [source], at, undone_at FROM profile_link t"
    " WHERE child_id = ANY(:members) OR parent_id = ANY(:members) ORDER BY id",
    "likely_matches": "SELECT one_id, other_id, weight, facts, found_at FROM likely_match t"
    " WHERE one_id = ANY(:members) OR other_id = ANY(:members) ORDER BY one_id, other_id",
    "identifiers": "SELECT type, value, owns, presumed, [source], first_seen, last_seen FROM identifier t"
    " WHERE profile_id = ANY(:members) ORDER BY first_seen, type, value",
    "traits": "SELECT name, value, event_time AS since, [source], event_id AS signal FROM trait_lineage t"
    " WHERE profile_id = ANY(:members) ORDER BY name",
    "households": "SELECT kind, role, gone AS left, size, others, since, said_at, [source], by, why, ended_at,"
    " ended_by, ended_why FROM household_claim t WHERE profile_id = ANY(:members) ORDER BY since, id",
    "scores": "SELECT name, value, as_of FROM profile_score t WHERE profile_id = ANY(:members) ORDER BY name",
    "consents": "SELECT purpose, granted, wording, at, received_at, [source] FROM consent t"
    " WHERE profile_id = ANY(:members) ORDER BY at, id",
    "signals": "SELECT id, type, name, event_time, received_at, [source], folds AS counts, body FROM event t"
    " WHERE profile_id = ANY(:members) ORDER BY event_time, id",
    "contradictions": "SELECT t.message_id, t.received_at, [source], t.body FROM event_conflict t"
    " WHERE t.id = ANY(:contradicting) ORDER BY t.id",
    "refused": "SELECT t.at, t.reason, t.field, t.message, t.body, [source] FROM rejected_event t"
    " WHERE t.id = ANY(:refused) ORDER BY t.id",
    "mails": "SELECT id, [campaign], campaign_id, occurrence, channel, state, reason, holdout, arm, reply, message_id,"
    " created_at, sent_at, settled_at FROM delivery t WHERE profile_id = ANY(:members) ORDER BY id",
    "mail_reports": "SELECT kind, via, at, received_at, campaign_id, occurrence, message_id, words FROM mail_report t"
    " WHERE profile_id = ANY(:members) ORDER BY at, id",
    "groups": "SELECT [campaign], campaign_id, kind, held, assigned_at FROM holdout_assignment t"
    " WHERE profile_id = ANY(:members) ORDER BY assigned_at, campaign_id",
    "entries": "SELECT [campaign], campaign_id, category_id, last_day, NULL AS signal, occurrence, entered_at"
    " FROM replenish_entry t WHERE profile_id = ANY(:members)"
    " UNION ALL SELECT [campaign], campaign_id, NULL, NULL, event_id, occurrence, entered_at"
    " FROM trigger_entry t WHERE profile_id = ANY(:members) ORDER BY entered_at",
    "fetches": "SELECT at, [campaign], campaign_id, occurrence, decision_id AS open, slot, kind, lane, fetch_class,"
    " evidence, encode(sha256, 'hex') AS sha256, size, content_type, rung"
    ' FROM "fetch" t WHERE profile_id = ANY(:members) ORDER BY at, id',
    "clicks": "SELECT at, [campaign], campaign_id, occurrence, decision_id AS open, slot, fetch_class, evidence,"
    " offer_id, outcome, landing FROM click t WHERE profile_id = ANY(:members) ORDER BY at, id",
    "credited_orders": "SELECT at, [campaign], campaign_id, order_id, decision_id AS open, offer_id, cents, currency"
    " FROM outcome t WHERE profile_id = ANY(:members) ORDER BY at, id",
    "handed_out": "SELECT e.name AS audience, t.names, t.told FROM export_member t JOIN audience_export e"
    " ON e.id = t.export_id WHERE t.profile_id = ANY(:members) ORDER BY e.id",
    "looked_at": "SELECT at, action FROM access_log t WHERE profile_id = ANY(:members) ORDER BY id",
}
"""The parts of rows as they are stored, each with its query; a row becomes an object by the names of its columns."""
_SEALED: Final[Mapping[str, Mapping[str, SealedBytes]]] = {
    "identifiers": {"value": IDENTIFIER_VALUE}, "traits": {"value": TRAIT_VALUE}, "signals": {"body": BODY},
    "contradictions": {"body": CONFLICT_BODY}, "refused": {"body": REJECTED_CONTENT},
    "consents": {"wording": CONSENT_WORDING}, "households": {"why": CLAIM_WHY, "ended_why": CLAIM_ENDED_WHY},
    "mail_reports": {"words": WORDS},
}  # fmt: skip
"""Their columns that are opened."""
_STATE: Final = text("SELECT profile_id, encoded, updated_at FROM profile_state WHERE profile_id = ANY(:members)")
_OPENS: Final = """
    SELECT t.id, t.at, t.profile_id, [campaign], t.public, t.personal FROM decision t
    WHERE t.profile_id = ANY(:members) ORDER BY t.at, t.id
"""
_SENT: Final = """
    SELECT t.at, t.profile_id, [campaign], t.campaign_id, t.occurrence, t.sealed FROM sent_facts t
    WHERE t.profile_id = ANY(:members) ORDER BY t.at, t.delivery_id
"""
_encode: Final = msgspec.json.Encoder(order="sorted").encode
_KEYED: Final = re.compile(rb"write[_-]?key|\\u00", re.IGNORECASE)
"""In what of JSON a write key may be; a name may be spelt with escapes."""


def export(session: Session, store: Store, wrapping_key: bytes, profile: int, now: datetime, by: Actor) -> IO[bytes]:
    """Everything that is kept of the person this profile belongs to; a file at its beginning, for the caller to close.

    Leaves a line in the access log. Raises NotFound, redis.RedisError while the hot store is away.
    """
    root = customers.root_of(session, profile).id
    access_log.record(session, by, "export", now, profile_id=root)
    members = customers.members(session, root)
    made = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - the caller closes it
    head = {"version": VERSION, "profile": root, "members": members, "made_at": now.isoformat()}
    made.write(_encode(head)[:-1])
    for name, rows in _parts(session, store, wrapping_key, members):
        made.write(b',\n"' + name.encode() + b'": [')
        for number, row in enumerate(rows):
            made.write((b",\n" if number else b"\n") + row)
        made.write(b"]")
    made.write(b"}\n")
    made.seek(0)
    return made


def chunks(made: IO[bytes]) -> Iterator[bytes]:
    """The document piece by piece; closes it."""
    with made:
        while piece := made.read(CHUNK):
            yield piece


def _parts(
    session: Session, store: Store, wrapping_key: bytes, members: Sequence[int]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    subjects = known_subjects(session, members, wrapping_key)
    yield "state", _states(session, members)
    for name, query in _PLAIN.items():
        yield name, _rows(session, query, members, _SEALED.get(name, {}))
    yield "mails_left_with", _sent(session, members, subjects)
    yield "opens", _opens(session, members, subjects)
    yield "hot_store", _hot(store, members)


def _rows(session: Session, query: str, members: Sequence[int], sealed: Mapping[str, SealedBytes]) -> Iterator[bytes]:
    opened = "".join(f", x.{name}" for name in sealed)
    whole = f"SELECT CAST(to_json(x) AS text){opened} FROM ({query}) x"  # noqa: S608 - of constants alone
    for row in _read(session, whole, members):
        if not sealed:
            yield row[0].encode()
            continue
        told = msgspec.json.decode(row[0])
        damaged = []
        for (name, kind), value in zip(sealed.items(), row[1:], strict=True):
            try:
                told[name] = None if value is None else _content(session, value, kind)
            except Unsealable:
                told[name] = None
                damaged.append(name)
        yield msgspec.json.encode(told | {DAMAGED: damaged} if damaged else told)


def _content(session: Session, sealed: bytes, kind: SealedBytes) -> Any:
    """What was sealed, without write keys; bytes are JSON as it was sent. Raises Unsealable where it is damaged."""
    content = kind.read(sealingkeys.content(session, sealed, kind.place))
    if isinstance(content, bytes):
        return keyless(msgspec.json.decode(content)) if _KEYED.search(content) else msgspec.Raw(content)
    return keyless_text(content) if kind is REJECTED_CONTENT else content


def _read(session: Session, query: str, members: Sequence[int]) -> Any:
    for word, meaning in _WORDS.items():
        query = query.replace(word, meaning)
    given = {"members": list(members)}
    if ":refused" in query:
        given["refused"] = refusals.naming(session, members)
    if ":contradicting" in query:
        given["contradicting"] = refusals.contradicting(session, members)
    return session.execute(text(query), given, execution_options={"yield_per": ROWS_AT_ONCE})


def _states(session: Session, members: Sequence[int]) -> Iterator[bytes]:
    for row in session.execute(_STATE, {"members": list(members)}):
        if row.encoded is None:
            continue
        held = opened(session, row.profile_id, row.encoded)
        told = {"as_of": row.updated_at.isoformat(), "state": None if held is None else document(held.state)}
        yield _encode(told | {DAMAGED: ["state"]} if held is None else told)


def _sent(session: Session, members: Sequence[int], subjects: Mapping[int, SubjectKey]) -> Iterator[bytes]:
    for row in _read(session, _SENT, members):
        told = {
            "at": row.at.isoformat(), "campaign": row.campaign, "campaign_id": row.campaign_id,
            "occurrence": row.occurrence, "state": None, "used": None,
        }  # fmt: skip
        try:
            facts = _opened(subjects.get(row.profile_id), row.sealed, sentfacts.PURPOSE)
        except Unsealable:
            told[DAMAGED] = ["state", "used"]
        else:
            if facts is not None:
                person = sentfacts.person(facts)
                told |= {"state": _document(person.state), "used": _used(person.used)}
        yield _encode(told)


def _opens(session: Session, members: Sequence[int], subjects: Mapping[int, SubjectKey]) -> Iterator[bytes]:
    for row in _read(session, _OPENS, members):
        told: dict[str, Any] = {
            "id": row.id, "at": row.at.isoformat(), "campaign": row.campaign, "record": msgspec.Raw(row.public),
            "facts": None,
        }  # fmt: skip
        try:
            subject = subjects.get(row.profile_id)
            facts = _opened(subject, row.personal, PERSONAL_PURPOSE) if row.personal else None
        except Unsealable:
            told[DAMAGED] = ["facts"]
        else:
            if facts is not None:
                known = read_personal(facts)
                told["facts"] = {
                    "state": _document(known.state), "used": _used(known.used), "fields": list(known.fields),
                }  # fmt: skip
        yield _encode(told)


def _opened(subject: SubjectKey | None, sealed: bytes, purpose: bytes) -> bytes | None:
    """What was sealed; None where its key is gone. Raises Unsealable where that, or what was sealed, is damaged."""
    return subject.sealer.open(sealed, purpose) if subject is not None else None


def _hot(store: Store, members: Sequence[int]) -> Iterator[bytes]:
    """What opens keep of the person where they read it: what is on show now, and what counts against them; null where
    that is damaged, which opens take for nothing."""
    for member in members:
        (used,) = cast("list[bytes | None]", store.mget([keys.used(member)]))
        if used is not None:
            yield _encode({"key": keys.used(member), "holds": _used(used)})
        names = store.scan_iter(keys.shown(member, "*"), count=1_000)
        for name in sorted(name for name, _ in zip(names, range(MAX_SHOWN), strict=False)):
            (data,) = cast("list[bytes | None]", store.mget([name]))
            if data is not None:
                shown = msgspec.to_builtins(understood(decode_shown, data), str_keys=True)
                yield _encode({"key": name.decode(), "holds": shown})


def _document(state: bytes | None) -> dict[str, Any] | None:
    return None if state is None else document(decode(state))


def _used(used: bytes | None) -> Any:
    return msgspec.to_builtins(understood(decode_used, used), str_keys=True)
