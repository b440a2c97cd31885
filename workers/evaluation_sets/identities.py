"""Who is who among records with errors: FEBRL 3 and 4, and 50,000 records of historical persons.

Judged after closure, as a graph of customers uses it: two records in one cluster count as a pair, whoever put them
there. splink estimates from the records alone; the thresholds are those of `workers/clusters.py`, which were settled
with results of these very sets in view (docs/evaluation.md). Profiles are merged by the stricter of its two rules. The
strong key of FEBRL (`soc_sec_id`) is not looked at.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from base.clock import monotonic
from base.errors import InvalidInput
from workers.clusters import CERTAIN, RULE, Pairs, Whole, bits, gathered
from workers.evaluation_sets import tables
from workers.evaluation_sets.findings import Finding, least, reported
from workers.facts import Facts, facts
from workers.likeness import alike

FEBRL: Final = {
    "given_name": "given", "surname": "family", "street_number": "number", "address_1": "street",
    "address_2": "address", "suburb": "city", "postcode": "post", "date_of_birth": "born",
}  # fmt: skip
PERSONS: Final = {
    "first_name": "given", "surname": "family", "full_name": "name", "dob": "born", "postcode_fake": "post",
    "birth_place": "birthplace", "occupation": "work",
}  # fmt: skip
"""Columns of the sets and what they state (`workers/facts.py`)."""
CLOSED_AT: Final = bits(0.9)
_FEBRL_ID: Final = re.compile(r"rec-(\d+)-(org|dup)")


@dataclass(frozen=True)
class Records:
    """The records of a set, the number of each one's true person, and what only one record of a person can have."""

    facts: list[Facts]
    truth: Whole
    single: list[Collection[str]] | None = None


@dataclass(frozen=True)
class Agreement:
    """How well clusters agree with the truth: pairs of records in one cluster, and B-cubed over records."""

    precision: float
    recall: float
    b_precision: float
    b_recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall of pairs."""
        return _mean(self.precision, self.recall)

    @property
    def b_cubed(self) -> float:
        """The harmonic mean of B-cubed precision and recall."""
        return _mean(self.b_precision, self.b_recall)


def agreement(found: Whole, truth: Whole) -> Agreement:
    """Compare two partitions of the same records, each given as a number a record. No pair found is no error."""
    _, ours, our_sizes = np.unique(found, return_inverse=True, return_counts=True)
    _, theirs, their_sizes = np.unique(truth, return_inverse=True, return_counts=True)
    both, sizes = np.unique(np.stack([ours, theirs]), axis=1, return_counts=True)
    right = float(_pairs(sizes))
    # Of a cluster's share of a person's records, each finds so many of the cluster, and of the person, to be right.
    squares = sizes.astype(np.float64) ** 2
    return Agreement(
        precision=right / _pairs(our_sizes) if _pairs(our_sizes) else 1.0,
        recall=right / _pairs(their_sizes) if _pairs(their_sizes) else 1.0,
        b_precision=float((squares / our_sizes[both[0]]).sum() / len(truth)),
        b_recall=float((squares / their_sizes[both[1]]).sum() / len(truth)),
    )


def closed(count: int, pairs: Pairs, least_weight: float) -> Whole:
    """Every pair of at least this weight taken, with whatever hangs together by them: what a cluster rule replaces."""
    root = list(range(count))

    def top(place: int) -> int:
        while root[place] != place:
            root[place] = place = root[root[place]]
        return place

    chosen = pairs.totals >= least_weight
    for one, other in zip(pairs.one[chosen].tolist(), pairs.other[chosen].tolist(), strict=True):
        root[top(one)] = top(other)
    return np.array([top(place) for place in range(count)])


def judged(data: Path) -> list[Finding]:
    """The sets that the folder holds, FEBRL first. Raises InvalidInput where it holds none, or a column is missing."""
    findings: list[Finding] = []
    found = False
    for stems, read, bars in _SETS:
        if not data.is_dir():
            raise InvalidInput("data", f"must be a folder: {data}")
        if any((data / f"{stem}{ending}").is_file() for stem in stems for ending in tables.ENDINGS):
            found = True
            findings += _judged(stems[0], read(tables.found(data, *stems)), bars)
            gc.collect()
    if not found:
        names = ", ".join(stems[0] for stems, _, _ in _SETS)
        raise InvalidInput("data", f"holds none of {names} (.parquet or .csv): {data}")
    return findings


def febrl(path: Path) -> Records:
    """A FEBRL set. Whose a record is, and on which side of a link, stands in its `rec_id`."""
    table = tables.read(path, ("rec_id", *FEBRL))
    named = [_FEBRL_ID.match(str(one)) for one in table["rec_id"].to_pylist()]
    if None in named:
        raise InvalidInput("data", f"has a rec_id that is not rec-<number>-org or rec-<number>-dup-<number>: {path}")
    ids = [one.groups() for one in named if one is not None]
    return Records(_facts(table, FEBRL), np.array([int(number) for number, _ in ids]))


def febrl_link(path: Path) -> Records:
    """A FEBRL set of two sides, of which each has a person once: the originals and their duplicates."""
    records = febrl(path)
    sides = tables.read(path, ("rec_id",))["rec_id"].to_pylist()
    return Records(records.facts, records.truth, [("original" if "-org" in one else "duplicate",) for one in sides])


def persons(path: Path) -> Records:
    """Historical persons; `cluster` is whose a record is."""
    table = tables.read(path, ("cluster", *PERSONS))
    _, truth = np.unique(np.array(table["cluster"].to_pylist(), dtype=str), return_inverse=True)
    return Records(_facts(table, PERSONS), truth)


def _facts(table: Any, columns: dict[str, str]) -> list[Facts]:
    rows = zip(*(table[column].to_pylist() for column in columns), strict=True)
    return [facts(dict(zip(columns.values(), row, strict=True))) for row in rows]


Bars = dict[str, float]
_SETS: Final[Sequence[tuple[tuple[str, ...], Callable[[Path], Records], Bars]]] = (
    (("febrl3", "febrl3_dev"), febrl, {"precision": 0.999, "F1": 0.99}),
    (("febrl4", "febrl4_dev"), febrl_link, {"precision": 0.999, "recall": 0.99}),
    (("persons50k", "persons50k_dev"), persons, {"precision": 0.97, "F1": 0.80, "B-cubed F1": 0.82}),
)
"""File names, reader and bars of each set."""


def _judged(name: str, records: Records, bars: Bars) -> list[Finding]:
    began = monotonic()
    likeness = alike(records.facts)
    weighed = monotonic()
    count = len(records.truth)
    ours = agreement(gathered(count, likeness.pairs, RULE, single=records.single), records.truth)
    ruled = monotonic()
    certain = agreement(gathered(count, likeness.pairs, CERTAIN, single=records.single), records.truth)
    plain = agreement(closed(count, likeness.pairs, CLOSED_AT), records.truth)
    question = f"{name}: {count:,} records, {len(np.unique(records.truth)):,} persons"
    return [
        *_figures(question, "by the cluster rule at 0.9", ours, bars),
        *_figures(question, "by the rule for profiles, at 0.99", certain, {}),
        *_figures(question, "every pair above 0.9 taken", plain, {}),
        reported(question, "share of true pairs that were compared and kept", _reach(likeness.pairs, records.truth)),
        reported(question, "pairs kept", float(len(likeness.pairs.one))),
        reported(question, "seconds of splink", weighed - began),
        reported(question, "seconds of the cluster rule", ruled - weighed),
    ]


def _figures(question: str, how: str, found: Agreement, bars: Bars) -> Iterable[Finding]:
    figures = {"precision": found.precision, "recall": found.recall, "F1": found.f1, "B-cubed F1": found.b_cubed}
    for name, value in figures.items():
        measure = f"{name}, {how}"
        yield least(question, measure, value, bars[name]) if name in bars else reported(question, measure, value)


def _reach(pairs: Pairs, truth: Whole) -> float:
    _, sizes = np.unique(truth, return_counts=True)
    return float((truth[pairs.one] == truth[pairs.other]).sum() / max(_pairs(sizes), 1))


def _pairs(sizes: Whole) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _mean(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0
