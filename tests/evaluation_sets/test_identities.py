"""The identity protocol on a small made-up set: figures from columns, and what is missing is named."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import InvalidInput
from tests.evaluation_sets.conftest import written
from workers import likeness
from workers.clusters import Pairs, bits
from workers.evaluation_sets.identities import FEBRL, agreement, closed, febrl_link, judged
from workers.facts import Facts, facts
from workers.likeness import alike

PEOPLE = 300


def made_up(folder: Path, name: str = "febrl3") -> Path:
    """Two records each of three hundred people, the second with a slip in one or two of its fields."""
    draw = random.Random(3)
    columns: dict[str, list[Any]] = {column: [] for column in ("rec_id", *FEBRL)}
    for number in range(PEOPLE):
        row: dict[str, str | None] = {
            "given_name": word(draw), "surname": word(draw), "street_number": str(draw.randint(1, 200)),
            "address_1": f"{word(draw)} street", "address_2": word(draw), "suburb": word(draw),
            "postcode": str(draw.randint(2000, 2060)),
            "date_of_birth": f"{draw.randint(1920, 2000)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}",
        }  # fmt: skip
        for kind in ("org", "dup-0"):
            columns["rec_id"].append(f"rec-{number}-{kind}")
            for column, value in row.items():
                columns[column].append(value)
            row |= {column: slipped(draw, row[column]) for column in draw.sample(sorted(row), 2)}
    return written(folder, name, **columns)


def word(draw: random.Random) -> str:
    return "".join(draw.choice("bdfgklmnprst") + draw.choice("aeiou") for _ in range(draw.randint(2, 4)))


def slipped(draw: random.Random, text: str | None) -> str | None:
    if not text:
        return None
    place = draw.randrange(len(text))
    return draw.choice([None, text[:place] + draw.choice(text) + text[place + 1 :]])


def test_it_judges_the_sets_that_a_folder_holds(tmp_path: Path) -> None:
    made_up(tmp_path)
    findings = {one.measure: one for one in judged(tmp_path)}
    assert findings["precision, by the cluster rule at 0.9"].bar == "≥ 0.999"
    assert findings["F1, by the cluster rule at 0.9"].value > 0.95
    assert findings["share of true pairs that were compared and kept"].value > 0.95
    assert findings["pairs kept"].value >= 0.95 * PEOPLE


def test_it_reads_the_side_and_the_person_of_a_record_from_its_id(tmp_path: Path) -> None:
    records = febrl_link(made_up(tmp_path, "febrl4"))
    assert records.truth[:4].tolist() == [0, 0, 1, 1]
    assert records.single is not None
    assert records.single[:2] == [("original",), ("duplicate",)]
    written(tmp_path, "febrl3", rec_id=["seven"], **{column: ["x"] for column in FEBRL})
    with pytest.raises(InvalidInput, match="rec_id"):
        judged(tmp_path)


def test_it_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="holds none of febrl3, febrl4, persons50k"):
        judged(tmp_path)
    written(tmp_path, "persons50k", cluster=["a"], first_name=["Ann"])
    with pytest.raises(InvalidInput, match="lacks the columns surname"):
        judged(tmp_path)
    with pytest.raises(InvalidInput, match="must be 200 at least"):
        alike([Facts()])
    with pytest.raises(InvalidInput, match="too few have them"):
        alike([Facts(city="bonn")] * likeness.LEAST)
    monkeypatch.setattr(likeness, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"pip install 'latebind\[identity\]'"):
        alike([Facts()] * likeness.LEAST)


def test_it_compares_partitions_by_pairs_and_by_records() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    assert agreement(truth, truth) == agreement(truth + 7, truth)
    assert (agreement(truth, truth).f1, agreement(truth, truth).b_cubed) == (1, 1)
    halved = agreement(np.array([0, 0, 1, 1, 2, 3]), truth)
    # Two pairs found, one of them right; four there were.
    assert (halved.precision, halved.recall) == (1 / 2, 1 / 4)
    assert halved.b_precision == pytest.approx((1 + 1 + 1 / 2 + 1 / 2 + 1 + 1) / 6)
    assert halved.b_recall == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 / 2 + 1 / 2 + 1) / 6)
    alone = agreement(np.arange(6), truth)
    assert (alone.precision, alone.recall, alone.f1) == (1, 0, 0)


def test_it_closes_pairs_above_a_weight() -> None:
    pairs = Pairs(np.array([0, 1, 3]), np.array([1, 2, 4]), np.array([[9.0], [9.0], [1.0]]), ("name",), 0.0)
    found = closed(5, pairs, bits(0.9))
    assert (found[0] == found[1] == found[2], found[3] == found[4]) == (True, False)


def test_it_brings_what_was_typed_to_one_spelling() -> None:
    one = facts({
        "given": "Dr. Tom", "family": "Müller", "name": "Sir Thomas of Clifford", "born": "16300801",
        "post": "TQ13 8DF", "street": "12 Main Street", "city": None, "work": True,
    })  # fmt: skip
    assert (one.words, one.born, one.post) == (("clifford", "muller", "thomas"), "1630-08-01", "tq13 8df")
    assert (one.street, one.number, one.city, one.work) == ("main street", "12", "", "")
    named = facts({"name": "Ann Mary Lee", "born": "unknown"})
    assert (named.given, named.family, named.born) == ("ann", "lee", "")
