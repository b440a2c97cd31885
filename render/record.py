"""What is written down about an open, a fetch, a click and a withdrawal, and the byte forms of it.

A process writes `Record`s to the stream `records` in sealed entries (`seal`, `unseal`; one entry holds all records of
one request, so a decision and its first fetch are accepted together). The recorder gives every record its two parts:

- `canonical(record, subject)`: the public part, deterministic JSON, in which a random subject id stands for the
  profile. It is what a hash chain covers.
- `personal(record)`: the personal part, deterministic MessagePack, to be encrypted under the subject's key; None if the
  record has none. A picture's bytes (`FetchRecord.body`) are kept apart, by their SHA-256.

All times are milliseconds since the epoch, UTC. All ids are lower-case hexadecimal of 16 bytes.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from base.ids import Delivery
from base.sealing import Sealer

MAX_RECORDS_PER_ENTRY: Final = 16
STREAM_FIELD: Final = "r"
"""The one field of a stream entry; it holds the sealed records."""
_PURPOSE: Final = b"records"


class CandidateRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One candidate of one slot: the layer and rule that removed it, or its score. Probability 0-1, value in cents.

    `weight` is what contexts and levers multiplied its value by, `chance` that of being shown where the slot drew.
    """

    offer: int
    removed_by: str | None = None
    rule: str | None = None
    probability: float | None = None
    value: float | None = None
    weight: float | None = None
    chance: float | None = None


class SlotRecord(msgspec.Struct, frozen=True):
    """What one slot was given, and every candidate it was chosen from.

    Propensity is the chance of that choice, 0-1; margin the expected cents ahead of the best other candidate; held says
    that the last open showed it too; product is the offer's own, or the one that was picked for it: of several the
    first that it names, shown or left out, while the fields tell of those that were shown; policy is what drew it, None
    where nothing was drawn.
    """

    slot: int
    offer: int
    creative: int
    propensity: float
    candidates: tuple[CandidateRecord, ...]
    margin: float | None = None
    held: bool = False
    product: str | None = None
    policy: str | None = None


class DecisionFacts(msgspec.Struct, frozen=True):
    """The personal part of a decision: the very bytes it was made from. `state` is None when it was lost or unreadable.

    `fields` are the texts given to each slot's creative, in the order of the record's slots.
    """

    state: bytes | None = None
    used: bytes | None = None
    last: bytes | None = None
    fields: tuple[dict[str, str | int], ...] = ()


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True, tag="decision"):
    """One open. `products` are the product facts read, `caps` pairs of offer and balance; `personal` has the rest.

    `rung` is model, rules or default, `reason` why it was not a better one. `reserved` are the total caps taken,
    `reserved_as` the delivery's part of their name, empty for `campaign.occurrence`, `refused` those that refused.
    `lost` says that facts were missing which must exist, `missing` names their keys; behind "unread" those that a
    cluster's lost node may still hold. `features` is the SHA-256 of the
    scored feature matrix, `propensity` the chance of all slots' choices together. `sent_ms`, `undecided`, `neutral`
    (content holdout), `live_state` and `withdrawn` are the other facts it was made from. `contact` names the contact
    for channels without deliveries; `micros` is the time from the process's first line to the decision.
    `relations` is the hash of what stored orders were known to say, if the plan asks for it. `effects` are pairs of a
    scored offer and what showing it changes of its chance, where offers were ranked by that.
    """

    id: str
    at_ms: int
    profile: int
    campaign: int
    occurrence: int
    lane: str
    open_number: int
    plan: str
    model: str | None = None
    seed: int
    state_version: int | None = None
    slots: tuple[SlotRecord, ...]
    products: dict[str, bytes] = {}
    caps: tuple[tuple[int, int], ...] = ()
    reserved: tuple[int, ...] = ()
    reserved_as: str = ""
    refused: tuple[int, ...] = ()
    rung: str = "rules"
    reason: str | None = None
    lost: bool = False
    missing: tuple[str, ...] = ()
    features: str | None = None
    sent_ms: int = 0
    undecided: bool = False
    neutral: bool = False
    live_state: str = "live"
    withdrawn: tuple[int, ...] = ()
    contact: str | None = None
    micros: int = 0
    propensity: float = 1.0
    relations: str | None = None
    effects: tuple[tuple[int, float], ...] = ()
    personal: DecisionFacts


class FetchRecord(msgspec.Struct, frozen=True, kw_only=True, tag="fetch"):
    """One GET that was answered: which decision, which slot, which bytes.

    `kind` is picture, dark, html, view, amp or decide; slot 255 is the whole mail. `evidence` are derived features,
    never an address. `body` holds the bytes only when this process had not handed them over before; `is_personal` says
    that they hold a person's fields and belong under the subject's key. `rung` is the step of the ladder the bytes came
    from.
    """

    id: str
    at_ms: int
    profile: int
    campaign: int
    occurrence: int
    decision: str
    slot: int
    kind: str
    lane: str
    fetch_class: str
    evidence: dict[str, str | int | float | bool]
    sha256: str
    size: int
    content_type: str
    is_personal: bool = False
    rung: str = "drawn"
    micros: int = 0
    body: bytes | None = None


class ClickRecord(msgspec.Struct, frozen=True, kw_only=True, tag="click"):
    """One click and what it was resolved to. `decision` and `offer` are None where nothing seen could be named.

    `outcome` taken or refused is no click, but what a person said to the offer of a contact (`render.outcome`).
    """

    id: str
    at_ms: int
    profile: int
    campaign: int
    occurrence: int
    slot: int
    fetch_class: str
    evidence: dict[str, str | int | float | bool]
    decision: str | None = None
    offer: int | None = None
    landing: str | None = None
    outcome: str = "redirect"
    is_ambiguous: bool = False
    is_unseen: bool = False
    is_unresolved: bool = False


THIS_CHANNEL: Final = "this channel"
"""The purpose of a withdrawal at whose instant no plan said which channel the message came by; the recorder knows."""


class ConsentRecord(msgspec.Struct, frozen=True, kw_only=True, tag="consent"):
    """A consent given or withdrawn through a mail's own link. `via` is one-click, page."""

    id: str
    at_ms: int
    profile: int
    campaign: int
    occurrence: int
    purpose: str
    granted: bool
    via: str


class RepairRecord(msgspec.Struct, frozen=True, kw_only=True, tag="repair"):
    """A key that must exist was absent: a worker restores it from PostgreSQL.

    `what` is state, shown, used, live, plan, product or cap; `name` is the product id, plan hash or offer id where the
    profile and campaign do not say it.
    """

    id: str
    at_ms: int
    what: str
    profile: int = 0
    campaign: int = 0
    occurrence: int = 0
    name: str = ""


class AnonymousRecord(msgspec.Struct, frozen=True, kw_only=True, tag="anonymous"):
    """One fetch or click at tracking level anonymous: it names nobody and leads to nobody.

    `id` is drawn at random for this record alone. `at_ms` is the beginning of the hour. `kind` is a fetch's, or click.
    `offer` is the one that was shown or led to, None for the whole mail and where nothing was chosen. `rung` is the
    step of the ladder, for a click what it was resolved to.
    """

    id: str
    at_ms: int
    campaign: int
    occurrence: int
    slot: int
    kind: str
    fetch_class: str
    offer: int | None = None
    rung: str = "drawn"


NamedRecord = DecisionRecord | FetchRecord | ClickRecord | ConsentRecord | RepairRecord
Record = NamedRecord | AnonymousRecord

_pack: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_unpack: Final = msgspec.msgpack.Decoder(tuple[Record, ...]).decode
_canonical: Final = msgspec.json.Encoder(order="deterministic").encode
_facts: Final = msgspec.msgpack.Decoder(DecisionFacts).decode
# Neither part of the public form: who it was, what it was made from, and the picture itself (its SHA-256 is).
_PRIVATE: Final = ("profile", "personal", "body")


def decision_id(delivery: Delivery, lane: str, open_number: int, began_ms: int) -> str:
    """The same open has the same id in every process and in every replay of its record."""
    text = f"decision\0{delivery.profile}\0{delivery.name}\0{lane}\0{open_number}\0{began_ms}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def pack(records: tuple[Record, ...]) -> bytes:
    """The plain bytes of one stream entry. Raises ValueError for an empty or over-long one."""
    if not 0 < len(records) <= MAX_RECORDS_PER_ENTRY:
        raise ValueError(f"an entry holds 1 to {MAX_RECORDS_PER_ENTRY} records, not {len(records)}")
    return _pack(records)


def unpack(data: bytes) -> tuple[Record, ...]:
    """The records of one stream entry. Raises msgspec.DecodeError or ValidationError for anything else."""
    return _unpack(data)


def seal(records: tuple[Record, ...], sealer: Sealer) -> bytes:
    """The bytes that go into the stream or the spool; the key is LATEBIND_RECORD_KEY."""
    return sealer.seal(pack(records), _PURPOSE)


def unseal(data: bytes, sealer: Sealer) -> tuple[Record, ...]:
    """The records of a sealed entry. Raises Unsealable, or the errors of `unpack`."""
    return unpack(sealer.open(data, _PURPOSE))


def canonical(record: NamedRecord, subject: str) -> bytes:
    """The public part as deterministic JSON, with the subject id in the profile's place."""
    form = msgspec.to_builtins(record)
    for name in _PRIVATE:
        form.pop(name, None)
    form["subject"] = subject
    return _canonical(form)


def personal(record: NamedRecord) -> bytes | None:
    """The personal part as deterministic MessagePack, or None where the record has none."""
    return _pack(record.personal) if isinstance(record, DecisionRecord) else None


def read_personal(data: bytes) -> DecisionFacts:
    """The inverse of `personal`. Raises msgspec.DecodeError or ValidationError."""
    return _facts(data)
