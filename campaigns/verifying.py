"""Holding what is kept against the chain: which rows were changed, taken away or put in, by name.

Read in one snapshot, an entry at a time; of each row eight bytes are held. Faults are sentences that name the row.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import msgspec
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaigns import chain
from campaigns.chain import EXPIRED, FIRST, LOGS, RECORDS, ChainEntry
from signals.moments import unix_ms

MAX_FAULTS: Final = 1_000
"""Faults that are told; more are counted."""
MAX_CHANGED: Final = 100_000
SAME: Final[Mapping[str, Mapping[str, str]]] = {
    "decision": {
        "campaign_id": "campaign", "occurrence": "occurrence", "contact": "contact", "lane": "lane",
        "open_number": "open_number", "plan_hash": "plan", "model_hash": "model", "state_version": "state_version",
        "rung": "rung", "lost": "lost",
    },
    "fetch": {
        "campaign_id": "campaign", "occurrence": "occurrence", "slot": "slot", "kind": "kind", "lane": "lane",
        "size": "size", "content_type": "content_type", "personal": "is_personal", "rung": "rung",
    },
    "click": {
        "campaign_id": "campaign", "occurrence": "occurrence", "slot": "slot", "offer_id": "offer",
        "unseen": "is_unseen", "unresolved": "is_unresolved", "outcome": "outcome", "landing": "landing",
        "decision_id": "decision",
    },
}  # fmt: skip
"""Columns that say what the record says, by the record's name for it. What hindsight tells anew is not among them."""


@dataclass
class Report:
    """What was found. `rows` are those that were held against the chain, `expired` those that are gone as they should.

    `faults` are at most MAX_FAULTS sentences, `more` counts the rest. `waiting` leaves are not tied to the chain yet.
    """

    entries: int = 0
    rows: int = 0
    expired: int = 0
    waiting: int = 0
    faults: list[str] = field(default_factory=list)
    more: int = 0

    def fault(self, words: str) -> None:
        """Tell one fault."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(words)
        else:
            self.more += 1


class Numbers:
    """Many names, eight bytes each."""

    def __init__(self) -> None:
        self._kept = array("Q")
        self._is_sorted = True

    def add(self, name: str) -> None:
        """Keep a name."""
        self._kept.append(_number(name))
        self._is_sorted = False

    def __contains__(self, name: str) -> bool:
        if not self._is_sorted:
            self._kept, self._is_sorted = array("Q", sorted(self._kept)), True
        number = _number(name)
        at = bisect_left(self._kept, number)
        return at < len(self._kept) and self._kept[at] == number


def verify(session: Session, roots: Mapping[date, str]) -> Report:
    """Hold everything that is kept against the chain, and the chain against roots that were kept elsewhere.

    The transaction should see one snapshot (REPEATABLE READ), else what is kept meanwhile looks put in.
    """
    report = Report(waiting=chain.waiting(session))
    _follow(session, report)
    known = {root.day: root.hash for root in chain.roots(session)}
    for day, root in roots.items():
        if known.get(day) != root.lower():
            report.fault(f"The root of {day} is {known.get(day, 'not there')}, not {root}: the chain was made anew.")
    for kind in (*RECORDS, *LOGS):
        _Kind(session, report, kind).hold()
    return report


def _follow(session: Session, report: Report) -> None:
    """The chain itself: no entry changed, none missing."""
    number, previous = 0, FIRST.hex()
    for link in chain.links(session, 0):
        report.entries += 1
        if link.number != number + 1:
            report.fault(f"Entries {number + 1} to {link.number - 1} of the chain are missing.")
        elif link.previous != previous:
            report.fault(f"Entry {link.number} of the chain is not tied to the one before it.")
        if chain.hash_of(link) != link.hash:
            report.fault(f"Entry {link.number} of the chain was changed.")
        number, previous = link.number, link.hash


class _Kind:
    """The rows of one table against their leaves."""

    def __init__(self, session: Session, report: Report, kind: str) -> None:
        self._session = session
        self._report = report
        self._kind = kind
        self._changed: dict[str, str] = {}

    def hold(self) -> None:
        """Every leaf against its row, then every row against the leaves."""
        gone = self._expired()
        seen = Numbers()
        for leaves in self._entries(self._kind):
            rows = {str(row.id): row for row in self._rows([row_id for row_id, _ in leaves])}
            for row_id, leaf in leaves:
                seen.add(row_id)
                row = rows.get(row_id)
                if row is not None:
                    self._held(row, row_id, leaf)
                elif row_id in gone:
                    self._report.expired += 1
                else:
                    self._report.fault(f"{self._kind} {row_id} is missing, and did not expire.")
        for words in self._changed.values():
            self._report.fault(words)
        for row_id in self._waiting():
            seen.add(row_id)
        for row_id in self._ids():
            if row_id not in seen:
                self._report.fault(f"{self._kind} {row_id} was put in by hand: it is not in the chain.")

    def _held(self, row: Any, row_id: str, leaf: bytes) -> None:
        self._report.rows += 1
        if row.leaf != leaf:
            # A fetch whose picture broke off is replaced once; its later leaf is the one that counts.
            if len(self._changed) < MAX_CHANGED:
                self._changed[row_id] = f"{self._kind} {row_id} of {row.at.isoformat()} was changed after it was kept."
            return
        self._changed.pop(row_id, None)
        if self._kind in SAME:
            for column in differing(self._kind, row):
                self._report.fault(
                    f"{self._kind} {row_id} of {row.at.isoformat()}: its column {column} was changed,"
                    " it says other than the record."
                )

    def _entries(self, kind: str) -> Iterator[list[tuple[str, bytes]]]:
        query = select(ChainEntry.number, ChainEntry.leaves).where(ChainEntry.kind == kind).order_by(ChainEntry.number)
        for row in self._session.execute(query, execution_options={"yield_per": 20}):
            try:
                yield chain.decode_leaves(row.leaves)
            except msgspec.MsgspecError:
                self._report.fault(f"Entry {row.number} of the chain cannot be read.")

    def _expired(self) -> Numbers:
        gone = Numbers()
        for leaves in self._entries(EXPIRED + self._kind):
            for row_id, _ in leaves:
                gone.add(row_id)
        for row_id in self._session.scalars(_WAITING, {"kind": EXPIRED + self._kind}):
            gone.add(row_id)
        return gone

    def _rows(self, ids: Sequence[str]) -> Sequence[Any]:
        if self._kind in RECORDS:
            sealed = "coalesce(t.personal, '')" if self._kind == "decision" else "''"
            query = f"""SELECT t.*, sha256(t.public || sha256({sealed})) AS leaf FROM "{self._kind}" t
                WHERE t.id = ANY(:ids)"""  # noqa: S608 - names of ours
            return self._session.execute(text(query), {"ids": list(ids)}).all()
        columns = next(told for log, told in LOGS.items() if log == self._kind)
        query = f"""SELECT id, at, sha256(convert_to(jsonb_build_array({columns})::text, 'UTF8')) AS leaf
            FROM {self._kind} WHERE id = ANY(:ids)"""  # noqa: S608 - names of ours
        return self._session.execute(text(query), {"ids": [int(one) for one in ids if one.isdigit()]}).all()

    def _waiting(self) -> Iterator[str]:
        yield from self._session.scalars(_WAITING, {"kind": self._kind})

    def _ids(self) -> Iterator[str]:
        query = text(f'SELECT CAST(id AS text) FROM "{self._kind}"')  # noqa: S608 - names of ours
        yield from self._session.scalars(query, execution_options={"yield_per": 5_000})


def differing(kind: str, row: Any) -> list[str]:
    """The columns of a record's row that say other than the record itself."""
    record = msgspec.json.decode(row.public)
    wrong = [column for column, name in SAME[kind].items() if getattr(row, column) != record.get(name)]
    if row.public_sha256 != hashlib.sha256(row.public).digest():
        wrong.append("public_sha256")
    if row.id != record["id"]:
        wrong.append("id")
    if unix_ms(row.at) != record["at_ms"]:
        wrong.append("at")
    if row.subject_id is not None and row.subject_id.hex != record["subject"]:
        wrong.append("subject_id")
    if kind == "decision":
        if row.slots != {str(slot["slot"]): slot["offer"] for slot in record["slots"]}:
            wrong.append("slots")
        if row.seed != str(record["seed"]):
            wrong.append("seed")
    if kind == "fetch":
        if (row.sha256.hex() if row.sha256 else "") != record["sha256"]:
            wrong.append("sha256")
        if (row.decision_id or "") != record["decision"]:
            wrong.append("decision_id")
    return wrong


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


_WAITING: Final = text("SELECT row_id FROM unchained WHERE kind = :kind ORDER BY seq")
