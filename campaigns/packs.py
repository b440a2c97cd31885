"""Checking an evidence pack: with nothing but the file, and the roots that somebody kept.

What is checked: every file against the manifest; each record against its leaf in the chain, and the chain from there to
the root of a day; each picture against the fetch that was answered with it; the plan against the hash in the record;
and what the pack says in words against what the record and the plan give when they are read again.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from base.errors import InvalidInput
from campaigns import chain
from campaigns.audit import PublicDecision
from campaigns.chain import Link
from campaigns.opens import FALLBACKS
from campaigns.tying import Tying
from campaigns.wording import CLASS_WORDS
from render import plan as plans
from render.explanation import explain
from render.plan import Plan

VERSION: Final = 1
EVIDENCE: Final = "evidence.json"
CONTEXT: Final = "context.json"
CHAIN: Final = "chain.json"
MANIFEST: Final = "manifest.json"
READ_ME: Final = "read-me.txt"
EXTENSIONS: Final = {"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp"}
PAGE: Final = "html"
UNREADABLE: Final = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError,
    msgspec.MsgspecError, struct.error, zipfile.BadZipFile, zlib.error, InvalidInput,
)  # fmt: skip
"""What reading a file that somebody made to fail may raise; RecursionError is a RuntimeError."""
MAX_FILES: Final = 5_000
MAX_BYTES: Final = 256 * 1024 * 1024
"""All files of a pack, unpacked."""


class PlaceShown(msgspec.Struct, frozen=True):
    """What one place of the mail showed, and why, in words."""

    slot: int
    name: str
    offer: int
    offer_name: str
    why: list[str]
    others: list[str]


class Seen(msgspec.Struct, frozen=True):
    """One fetch that was answered, by what (as it was told at the fetch), with which bytes."""

    id: str
    at: str
    slot: int
    kind: str
    what: str
    sha256: str


class Claim(msgspec.Struct, frozen=True):
    """One click, and the offer it went to."""

    id: str
    at: str
    slot: int
    offer: int | None
    outcome: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the pack says, all of it held against records and plan but `not_kept`: hashes of bytes kept no longer."""

    version: int
    campaign: str
    open: str
    at: str
    subject: str
    plan: str
    places: list[PlaceShown]
    fetches: list[Seen]
    clicks: list[Claim]
    not_kept: list[str]


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What the shop adds and nothing here proves: when the pack was made, the texts that each place was given, and the
    signals that arrived after the open."""

    made_at: str
    texts: list[dict[str, Any]]
    arrived_later: list[str]


class Place(msgspec.Struct, frozen=True):
    """Where a record stands: the number of its entry, null where the chain does not hold it as it is."""

    kind: str
    id: str
    sealed_sha256: str
    entry: int | None


class Entry(msgspec.Struct, frozen=True):
    """An entry's leaves: numbers of rows and hexadecimal hashes."""

    number: int
    leaves: list[tuple[str, str]]


class Proof(msgspec.Struct, frozen=True):
    """The records' places, the entries they stand in, and the links from the first of these to the root of a day."""

    records: list[Place]
    entries: list[Entry]
    links: list[Link]


class Manifest(msgspec.Struct, frozen=True):
    """The SHA-256 of every file but the manifest."""

    version: int
    files: dict[str, str]


@dataclass
class Verdict:
    """What was found: lines to be read, and faults. Without faults the pack is whole.

    `is_rooted` says that it leads to a root that somebody kept. Both may hold anything that a pack says.
    """

    told: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    is_rooted: bool = False


def record_file(kind: str, row_id: str) -> str:
    """Where a record stands in a pack."""
    return f"records/{kind}-{row_id}.json"


def plan_file(digest: str) -> str:
    """Where a plan stands in a pack."""
    return f"plans/{digest}"


def picture_file(sha256: str, extension: str) -> str:
    """Where bytes that were served stand in a pack."""
    return f"pictures/{sha256}.{extension}"


def claims_of(public: bytes, plan: Plan) -> list[PlaceShown]:
    """What a decision's record says in words, by its plan."""
    told = explain(msgspec.json.decode(public, type=PublicDecision), plan)
    return [
        PlaceShown(
            one.slot, one.name, one.offer, one.offer_name, list(one.why), [other.sentence for other in one.others]
        )
        for one in told
    ]


def verify(path: Path, roots: Mapping[date, str]) -> Verdict:
    """Check a pack. Never raises for its content: what cannot be read is a fault."""
    found = Verdict()
    try:
        files = _files(path)
        manifest = msgspec.json.decode(files.get(MANIFEST, b""), type=Manifest)
        _same_files(files, manifest, found)
        evidence = msgspec.json.decode(files.get(EVIDENCE, b""), type=Evidence)
        proof = msgspec.json.decode(files.get(CHAIN, b""), type=Proof)
        _only(files, evidence, found)
        _claims(files, evidence, found)
        _pictures(files, evidence, found)
        _chain(files, proof, roots, found)
    except UNREADABLE as error:
        found.faults.append(f"This is no whole evidence pack: {type(error).__name__} {str(error)[:200]}")
    return found


def _files(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        listed = archive.infolist()
        if len(listed) > MAX_FILES or sum(one.file_size for one in listed) > MAX_BYTES:
            raise ValueError("it is larger than packs are")
        if any(one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for one in listed):
            raise ValueError("it is packed as packs are not")
        files: dict[str, bytes] = {}
        for one in listed:
            with archive.open(one) as file:
                # No more than is announced, whatever the compressed bytes come to.
                files[one.filename] = file.read(one.file_size + 1)
        if len(files) != len(listed):
            raise ValueError("it holds two files of one name")
        return files


def _same_files(files: dict[str, bytes], manifest: Manifest, found: Verdict) -> None:
    if manifest.version != VERSION:
        found.faults.append(f"{MANIFEST} is of version {manifest.version}, this reads version {VERSION}.")
    for name in sorted(manifest.files.keys() | files.keys() - {MANIFEST}):
        if name not in files:
            found.faults.append(f"{name} is missing.")
        elif name not in manifest.files:
            found.faults.append(f"{name} does not belong to the pack.")
        elif hashlib.sha256(files[name]).hexdigest() != manifest.files[name]:
            found.faults.append(f"{name} was changed.")


def _only(files: dict[str, bytes], evidence: Evidence, found: Verdict) -> None:
    """Exactly the records that the evidence lists, each once, the plan, and pictures that these fetches were served."""
    listed = [("decision", evidence.open), *(("fetch", one.id) for one in evidence.fetches),
              *(("click", one.id) for one in evidence.clicks)]  # fmt: skip
    records = [record_file(kind, name) for kind, name in listed]
    if len(set(records)) != len(records):
        found.faults.append(f"{EVIDENCE} lists a record twice.")
    served = {one.sha256 for one in evidence.fetches if one.sha256}
    pictures = {picture_file(sha256, end) for sha256 in served for end in (*EXTENSIONS.values(), PAGE)}
    known = {MANIFEST, EVIDENCE, CONTEXT, CHAIN, READ_ME, plan_file(evidence.plan), *records}
    found.faults += [f"{name} does not belong to the pack." for name in sorted(files.keys() - known - pictures)]
    found.faults += [f"{name} is missing." for name in sorted(known - files.keys())]


def _claims(files: dict[str, bytes], evidence: Evidence, found: Verdict) -> None:
    """What the pack says against the records and the plan."""
    public = files[record_file("decision", evidence.open)]
    record = msgspec.json.decode(public)
    plan = files[plan_file(record["plan"])]
    if hashlib.sha256(plan).hexdigest() != record["plan"]:
        found.faults.append("The plan is not the one that the record names.")
    decoded = plans.decode(plan)
    said = (evidence.version, evidence.open, _ms(evidence.at), evidence.subject, evidence.plan, evidence.campaign)
    if said != (VERSION, record["id"], record["at_ms"], record["subject"], record["plan"], decoded.name):
        found.faults.append(f"{EVIDENCE} says other than the record about which open this is.")
    if evidence.places != claims_of(public, decoded):
        found.faults.append(f"{EVIDENCE} says other than the record about what was shown, or why.")
    for kind, listed in (("fetch", evidence.fetches), ("click", evidence.clicks)):
        for one in listed:
            own = msgspec.json.decode(files[record_file(kind, one.id)])
            same = (own["id"], own["at_ms"], own["slot"]) == (one.id, _ms(one.at), one.slot)
            if isinstance(one, Seen):
                what = CLASS_WORDS[own["fetch_class"]]
                same = same and (own["kind"], own["sha256"], what) == (one.kind, one.sha256, one.what)
            else:
                same = same and (own["offer"], own["outcome"]) == (one.offer, one.outcome)
            if not same or own["decision"] != evidence.open:
                found.faults.append(f"{EVIDENCE} says other than the record about {kind} {one.id}.")
    found.told.append(f"campaign {evidence.campaign}, opened {evidence.at}")
    found.told += [f"place {place.name}: {place.offer_name}" for place in evidence.places]


def _pictures(files: dict[str, bytes], evidence: Evidence, found: Verdict) -> None:
    served: dict[str, str] = {}
    for name in sorted(files):
        if name.startswith("pictures/"):
            sha256 = name.removeprefix("pictures/").partition(".")[0]
            if sha256 in served or hashlib.sha256(files[name]).hexdigest() != sha256:
                found.faults.append(f"{name} is not the picture that was served.")
            served[sha256] = name
    asked = {one.sha256 for one in evidence.fetches if one.sha256}
    for sha256 in sorted(asked - served.keys() - set(evidence.not_kept)):
        found.faults.append(f"The picture {sha256} is missing.")
    for sha256 in sorted(set(evidence.not_kept) - (asked - served.keys())):
        found.faults.append(
            f"{EVIDENCE} says of {sha256} that it is kept no longer: nobody was served it, or it is here."
        )
    found.told.append(f"{len(served)} pictures and pages as they were served")
    found.told += [f"not proven: what the picture {sha256} showed; it is not here" for sha256 in evidence.not_kept]
    found.told.append("not proven: that there were no other fetches or clicks than these")


def _chain(files: dict[str, bytes], proof: Proof, roots: Mapping[date, str], found: Verdict) -> None:
    records = {name for name in files if name.startswith("records/")}
    if {record_file(one.kind, one.id) for one in proof.records} != records:
        found.faults.append(f"{CHAIN} is not about the records of the pack.")
    by_number = {link.number: link for link in proof.links}
    entries = {entry.number: entry for entry in proof.entries}
    tying = _tying(proof.links, found)
    for one in proof.records:
        name = record_file(one.kind, one.id)
        entry, link = entries.get(one.entry or 0), by_number.get(one.entry or 0)
        if entry is None or link is None:
            found.faults.append(f"{name} is not in the chain as it is.")
            continue
        leaf = chain.leaf_of(files[name], bytes.fromhex(one.sealed_sha256)).hex()
        content = chain.encode_leaves([(row_id, bytes.fromhex(own)) for row_id, own in entry.leaves])
        if (one.id, leaf) not in entry.leaves or link.kind != one.kind:
            found.faults.append(f"{name} was changed after it was kept.")
        elif hashlib.sha256(content).hexdigest() != link.leaves:
            found.faults.append(f"Entry {entry.number} of the chain was changed.")
        record = msgspec.json.decode(files[name])
        late = tying.fault(datetime.fromtimestamp(record["at_ms"] / 1_000, UTC), datetime.fromisoformat(link.at))
        if late is not None:
            found.faults.append(f"{name} {late}.")
        times = sum(row_id == one.id for row_id, _ in entry.leaves)
        if times > 1 and (one.kind != "fetch" or times > 2 or record["rung"] not in FALLBACKS):
            found.faults.append(f"{name} was written over: it stands in the chain {times} times.")
    for before, link in zip([None, *proof.links], proof.links, strict=False):
        if chain.hash_of(link) != link.hash:
            found.faults.append(f"Entry {link.number} of the chain was changed.")
        if before is not None and (link.number, link.previous) != (before.number + 1, before.hash):
            found.faults.append(f"Entry {link.number} of the chain is not tied to the one before it.")
    _roots(proof, roots, found)


def _tying(links: Sequence[Link], found: Verdict) -> Tying:
    tying, last = Tying(), None
    for link in links:
        at = datetime.fromisoformat(link.at)
        if link.number == 1:
            tying.begun = at
        if last is not None and at < last:
            found.faults.append(f"Entry {link.number} of the chain is dated before the one before it.")
        tying.note(at)
        last = at
    return tying


def _roots(proof: Proof, roots: Mapping[date, str], found: Verdict) -> None:
    """The root of each day that the links reach, and whether those that were kept are among them."""
    newest = max((one.entry or 0 for one in proof.records), default=0)
    ends = {_day(link): link for link in proof.links if link.number >= newest}
    last = _day(proof.links[-1]) if proof.links else None
    found.told += [f"root of {day}: {end.hash}" for day, end in ends.items() if day != last]
    if last is not None and len(ends) == 1:
        found.told.append(f"the chain at the making of the pack, {last} was not over: {ends[last].hash}")
    for day, root in roots.items():
        of_day = [link for link in proof.links if _day(link) == day]
        at = next((link for link in of_day if link.hash == root), None)
        if at is not None and at.number >= newest:
            found.is_rooted = True
            found.told.append(f"the root of {day} that you kept is in the chain of the pack")
        elif at is not None:
            found.faults.append(
                f"The root of {day} that you kept is older than the records: it proves nothing of them."
            )
        elif not of_day:
            found.faults.append(f"The pack does not reach {day}: the root that you kept of it proves nothing here.")
        elif day == last:
            found.faults.append(f"The pack was made before {day} was over and lacks the root you kept: make it again.")
        else:
            found.faults.append(f"The root of {day} that you kept is another: the chain was made anew.")


def _day(link: Link) -> date:
    return datetime.fromisoformat(link.at).date()


def _ms(moment: str) -> int:
    at = datetime.fromisoformat(moment)
    return round(at.timestamp() * 1000)
