"""The evidence pack of one open: what was shown and why, the bytes that were served, and proof that none of it changed.

A ZIP of JSON, pictures and hashes that `latebind verify PACK` checks without a database: see `campaigns/packs.py`.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import Expired, NotFound
from campaigns import audit, chain
from campaigns.audit import Opening
from campaigns.chain import ChainEntry
from campaigns.opens import Click, Decision, Fetch
from campaigns.packs import (
    CHAIN,
    CONTEXT,
    EVIDENCE,
    EXTENSIONS,
    MANIFEST,
    PAGE,
    READ_ME,
    VERSION,
    Claim,
    Context,
    Entry,
    Evidence,
    Manifest,
    Place,
    Proof,
    Seen,
    claims_of,
    picture_file,
    plan_file,
    record_file,
)
from campaigns.wording import CLASS_WORDS

SKEW: Final = timedelta(hours=1)
"""How far the clock of a render process may be ahead of the recorder's."""
_HOLDING: Final = text("""
    SELECT number FROM chain_entry WHERE kind = :kind AND at >= :since AND position(CAST(:leaf AS bytea) IN leaves) > 0
    ORDER BY at, number LIMIT 10
""")
WORDS: Final = """What a mail showed, and the proof of it.

evidence.json   what was shown when, and why; all of it follows from the files below
context.json    what the shop adds, which nothing here proves
pictures/       the bytes that were served, each named by its SHA-256
records/        the records of the open, as they were written when it happened
plans/          the published campaign that the records name, by its SHA-256
chain.json      where the records stand in the chain of hashes, up to the root of a day
manifest.json   the SHA-256 of every file

To check all of it, without a network or a database:  latebind verify {name}
It prints the root of a day. If that is the root the shop kept or published for that day (give it with --root), the
records are those that were written then, and no later hand has changed them. That there were no other records of
the open is not proven.
"""


@dataclass(frozen=True)
class Pack:
    """The file's name and content."""

    name: str
    content: bytes


def pack(
    session: Session, blobs: FolderBlobs, wrapping_key: bytes, decision: str, members: Sequence[int], now: datetime
) -> Pack:
    """The evidence of one open of these profiles. What is in the chain's waiting room is tied to it first.

    Raises NotFound, also for an open of somebody else, and Expired.
    """
    seen = audit.opening(session, blobs, wrapping_key, decision, members)
    while chain.tie(session, now) == chain.AT_ONCE:
        pass
    fetches = session.scalars(select(Fetch).where(Fetch.decision_id == decision).order_by(Fetch.at, Fetch.slot)).all()
    clicks = session.scalars(select(Click).where(Click.decision_id == decision).order_by(Click.at)).all()
    files: dict[str, bytes] = {plan_file(seen.row.plan_hash): blobs.get(seen.row.plan_hash)}
    records: list[tuple[str, Any]] = [
        ("decision", seen.row), *(("fetch", row) for row in fetches), *(("click", row) for row in clicks),
    ]  # fmt: skip
    for kind, row in records:
        files[record_file(kind, row.id)] = row.public
    missing = []
    for sha256 in dict.fromkeys(row.sha256.hex() for row in fetches if row.sha256):
        try:
            copy = audit.picture(session, blobs, wrapping_key, decision, sha256, members)
        except (NotFound, Expired):
            missing.append(sha256)
            continue
        files[picture_file(sha256, EXTENSIONS.get(copy.content_type, PAGE))] = copy.body
    name = f"evidence-{decision[:12]}.zip"
    files[EVIDENCE] = _json(_evidence(seen, fetches, clicks, missing))
    files[CONTEXT] = _json(_context(seen, now))
    files[CHAIN] = _json(_proof(session, records))
    files[READ_ME] = WORDS.format(name=name).encode()
    files[MANIFEST] = _json(Manifest(VERSION, {path: hashlib.sha256(body).hexdigest() for path, body in files.items()}))
    return Pack(name, _zipped(files, now))


def _evidence(seen: Opening, fetches: Sequence[Fetch], clicks: Sequence[Click], missing: list[str]) -> Evidence:
    return Evidence(
        version=VERSION,
        campaign=seen.plan.name,
        open=seen.row.id,
        at=chain.utc(seen.row.at),
        subject=seen.row.subject_id.hex if seen.row.subject_id else "",
        plan=seen.row.plan_hash,
        places=claims_of(seen.row.public, seen.plan),
        fetches=[
            Seen(row.id, chain.utc(row.at), row.slot, row.kind, _seen_by(row),
                 row.sha256.hex() if row.sha256 else "")
            for row in fetches
        ],
        clicks=[Claim(row.id, chain.utc(row.at), row.slot, row.offer_id, row.outcome) for row in clicks],
        not_kept=missing,
    )  # fmt: skip


def _context(seen: Opening, now: datetime) -> Context:
    return Context(
        made_at=chain.utc(now),
        texts=[dict(one) for one in seen.facts.fields] if seen.facts is not None else [],
        arrived_later=[f"{one.words} of {chain.utc(one.happened)}, told {chain.utc(one.arrived)}" for one in seen.late],
    )


def _seen_by(row: Fetch) -> str:
    """By what a fetch was, as it was told then: that is what its record says."""
    return CLASS_WORDS[msgspec.json.decode(row.public)["fetch_class"]]


def _proof(session: Session, records: Sequence[tuple[str, Any]]) -> Proof:
    """Where each record stands in the chain, and the links from before the first to the root of the last one's day."""
    empty = hashlib.sha256(b"").digest()
    places: list[Place] = []
    entries: dict[int, Entry] = {}
    for kind, row in records:
        sealed = hashlib.sha256(row.personal).digest() if isinstance(row, Decision) and row.personal else empty
        leaf = chain.leaf_of(row.public, sealed)
        found = _entry(session, kind, row, leaf)
        places.append(Place(kind, row.id, sealed.hex(), found.number if found is not None else None))
        if found is not None:
            entries[found.number] = Entry(found.number, [(name, one.hex()) for name, one in _leaves(found)])
    if not entries:
        return Proof(places, [], [])
    last = session.get_one(ChainEntry, max(entries))
    day_ends = datetime.combine(last.at.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
    # From before anything happened, so that a late entry is told from a time in which there was none; and one more than
    # the day, which says that it was over.
    happened = min(row.at for _, row in records)
    since = session.scalar(select(func.max(ChainEntry.number)).where(ChainEntry.at < happened)) or 1
    upto = session.scalar(select(func.max(ChainEntry.number)).where(ChainEntry.at < day_ends)) or last.number
    first = min(since, *entries)
    return Proof(places, list(entries.values()), list(chain.links(session, first - 1, upto + 1)))


def _entry(session: Session, kind: str, row: Any, leaf: bytes) -> ChainEntry | None:
    """The entry that holds a row's leaf; None for what was changed. Looked for from the time of the row on."""
    given = {"kind": kind, "since": row.at - SKEW, "leaf": leaf}
    for number in session.scalars(_HOLDING, given):
        found = session.get_one(ChainEntry, number)
        if (row.id, leaf) in _leaves(found):
            return found
    return None


def _leaves(entry: ChainEntry) -> list[tuple[str, bytes]]:
    return [(name, bytes(leaf)) for name, leaf in chain.decode_leaves(entry.leaves)]


def _json(content: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content, order="sorted"), indent=1)


def _zipped(files: dict[str, bytes], now: datetime) -> bytes:
    made = io.BytesIO()
    stamp = now.astimezone(UTC).timetuple()[:6]
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, body in _ordered(files):
            archive.writestr(zipfile.ZipInfo(path, stamp), body, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _ordered(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """What people read first comes first."""
    first = [READ_ME, EVIDENCE]
    yield from ((path, files[path]) for path in first)
    yield from sorted(item for item in files.items() if item[0] not in first)
