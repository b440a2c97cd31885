"""Holding what is kept against the chain: which rows were changed, taken away or put in, by name.

Read in one snapshot, an entry at a time; of each row sixteen bytes are held. Faults are sentences that name the row.

A row stands in the chain once, tied within minutes of when it happened. A fetch may stand there twice, where its
picture broke off and the record of that replaced the first. Logs never expire, and records not before their time.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec
import numpy as np
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaigns import chain
from campaigns.chain import EXPIRED, FIRST, LOGS, RECORDS, ChainEntry
from campaigns.opens import FALLBACKS
from campaigns.retention import Policy
from campaigns.tying import LATE, Tying
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


class Moments:
    """Many names, each with a moment of every time it was noted: sixteen bytes each."""

    def __init__(self) -> None:
        self._names = array("Q")
        self._moments = array("d")
        self._is_sorted = True

    def add(self, name: str, at: datetime) -> None:
        """Note a name and its moment."""
        self._names.append(_number(name))
        self._moments.append(at.timestamp())
        self._is_sorted = False

    def __contains__(self, name: str) -> bool:
        return len(self.of(name)) > 0

    def of(self, name: str) -> list[float]:
        """The moments of a name in seconds since 1970, in the order in which they were noted."""
        if not self._is_sorted:
            names = np.array(self._names, dtype=np.uint64)
            order = np.argsort(names, kind="stable")
            self._moments = array("d", np.array(self._moments)[order].tobytes())
            self._names, self._is_sorted = array("Q", names[order].tobytes()), True
        number = _number(name)
        return list(self._moments[bisect_left(self._names, number) : bisect_right(self._names, number)])


def verify(session: Session, roots: Mapping[date, str], policy: Policy, now: datetime) -> Report:
    """Hold everything that is kept against the chain, and the chain against roots that were kept elsewhere.

    `policy` says when rows expire. The transaction should see one snapshot (REPEATABLE READ), else what is kept
    meanwhile looks put in.
    """
    report = Report(waiting=chain.waiting(session))
    tying = _follow(session, report)
    if tying.begun is None and report.waiting:
        tying.begun = now
        report.fault("Nothing is tied to the chain: no recorder has run since it came, or it was taken away.")
    for day, root in roots.items():
        if not chain.has(session, day, root):
            report.fault(f"The root {root} that you kept of {day} is not in the chain: it was made anew.")
    for kind in (*RECORDS, *LOGS):
        _Kind(session, report, kind, tying, policy, now).hold()
    return report


def _follow(session: Session, report: Report) -> Tying:
    """The chain itself: no entry changed, none missing, none of another kind, none dated before the one before it."""
    number, previous, tying, last = 0, FIRST.hex(), Tying(), ""
    known = {*RECORDS, *LOGS, *(EXPIRED + kind for kind in RECORDS)}
    for link in chain.links(session, 0):
        report.entries += 1
        if link.number != number + 1:
            report.fault(f"Entries {number + 1} to {link.number - 1} of the chain are missing.")
        elif link.previous != previous:
            report.fault(f"Entry {link.number} of the chain is not tied to the one before it.")
        if chain.hash_of(link) != link.hash:
            report.fault(f"Entry {link.number} of the chain was changed.")
        if link.kind not in known:
            report.fault(f"Entry {link.number} of the chain is of a kind that there is none of: {link.kind}.")
        at = datetime.fromisoformat(link.at)
        if tying.begun is None:
            tying.begun = at
        elif at < datetime.fromisoformat(last):
            report.fault(f"Entry {link.number} of the chain is dated before the one before it.")
        tying.note(at)
        number, previous, last = link.number, link.hash, link.at
    return tying


class _Kind:
    """The rows of one table against their leaves."""

    def __init__(
        self, session: Session, report: Report, kind: str, tying: Tying, policy: Policy, now: datetime
    ) -> None:
        self._session = session
        self._report = report
        self._kind = kind
        self._tying = tying
        self._now = now
        self._youngest = policy.youngest(kind) if kind in RECORDS else timedelta.max
        self._tied = Moments()
        self._gone = Moments()
        self._changed: dict[str, str] = {}
        self._twice: set[str] = set()

    def hold(self) -> None:
        """Every leaf against its row, then every row against the leaves."""
        for at, leaves in self._entries(self._kind):
            for row_id, _ in leaves:
                self._tied.add(row_id, at)
        for at, leaves in self._entries(EXPIRED + self._kind):
            for row_id, _ in leaves:
                self._gone.add(row_id, at)
        for at, leaves in self._entries(self._kind):
            rows = {str(row.id): row for row in self._rows([row_id for row_id, _ in leaves])}
            for row_id, leaf in leaves:
                row = rows.get(row_id)
                if row is None:
                    self._missing(row_id, at)
                else:
                    self._held(row, row_id, leaf, at)
                self._once(row, row_id)
        for words in self._changed.values():
            self._report.fault(words)
        for row_id in self._ids():
            if row_id not in self._tied:
                self._report.fault(f"{self._kind} {row_id} was put in by hand: it is not in the chain.")

    def _once(self, row: Any, row_id: str) -> None:
        """A second leaf is of a fetch that broke off, and is the last."""
        times = len(self._tied.of(row_id))
        if times == 1 or row_id in self._twice:
            return
        self._twice.add(row_id)
        if self._kind != "fetch" or times > 2 or (row is not None and row.rung not in FALLBACKS):
            self._report.fault(f"{self._kind} {row_id} was written over: it stands in the chain {times} times.")

    def _missing(self, row_id: str, tied: datetime) -> None:
        gone = self._gone.of(row_id)
        if not gone:
            self._report.fault(f"{self._kind} {row_id} is missing, and did not expire.")
        elif self._kind in LOGS:
            self._report.fault(f"{self._kind} {row_id} is missing: entries of a log do not expire.")
        elif gone[0] - tied.timestamp() < (self._youngest - LATE).total_seconds() and not self._tying.is_first(tied):
            days = (gone[0] - tied.timestamp()) / 86_400
            self._report.fault(
                f"{self._kind} {row_id} is missing: it is said to have expired after {days:.1f} days,"
                f" and none does before {self._youngest.days}."
            )
        else:
            self._report.expired += 1

    def _held(self, row: Any, row_id: str, leaf: bytes, tied: datetime) -> None:
        self._report.rows += 1
        if row_id in self._gone:
            self._report.fault(f"{self._kind} {row_id} is there, and is said to have expired.")
        late = self._tying.fault(row.at, tied)
        if late is not None:
            self._report.fault(f"{self._kind} {row_id} {late}.")
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

    def _entries(self, kind: str) -> Iterator[tuple[datetime, list[tuple[str, bytes]]]]:
        """The leaves that were tied, with when, then those that wait, which would be tied now."""
        columns = (ChainEntry.number, ChainEntry.at, ChainEntry.leaves)
        query = select(*columns).where(ChainEntry.kind == kind).order_by(ChainEntry.number)
        for row in self._session.execute(query, execution_options={"yield_per": 20}):
            try:
                leaves = chain.decode_leaves(row.leaves)
            except msgspec.MsgspecError:
                self._report.fault(f"Entry {row.number} of the chain cannot be read.")
            else:
                yield row.at, leaves
        waiting = self._session.execute(_WAITING, {"kind": kind}, execution_options={"yield_per": chain.AT_ONCE})
        for piece in waiting.partitions():
            yield self._now, [(row.row_id, bytes(row.leaf)) for row in piece]

    def _rows(self, ids: Sequence[str]) -> Sequence[Any]:
        if self._kind in RECORDS:
            sealed = "coalesce(t.personal, '')" if self._kind == "decision" else "''"
            query = f"""SELECT t.*, sha256(t.public || sha256({sealed})) AS leaf, s.profile_id AS subjects_profile
                FROM "{self._kind}" t LEFT JOIN subject s ON s.subject_id = t.subject_id WHERE t.id = ANY(:ids)"""  # noqa: S608 - names of ours
            return self._session.execute(text(query), {"ids": list(ids)}).all()
        columns = next(told for log, told in LOGS.items() if log == self._kind)
        query = f"""SELECT id, at, sha256(convert_to(jsonb_build_array({columns})::text, 'UTF8')) AS leaf
            FROM {self._kind} WHERE id = ANY(:ids)"""  # noqa: S608 - names of ours
        return self._session.execute(text(query), {"ids": [int(one) for one in ids if one.isdigit()]}).all()

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
    if row.subjects_profile is not None and row.profile_id != row.subjects_profile:
        wrong.append("profile_id")
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


_WAITING: Final = text("SELECT row_id, leaf FROM unchained WHERE kind = :kind ORDER BY seq")
