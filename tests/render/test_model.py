"""The model artefact: what it refuses, what it predicts, and that one row costs no thread."""

from __future__ import annotations

import hashlib
import statistics
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
import pytest

from base.blobs import FolderBlobs
from base.clock import monotonic, pause
from base.errors import InvalidInput
from render.model import Artefact, Model
from render.shelf import MAX_WANTED, ModelShelf
from signals.candidates import CandidateContext

FEATURES = tuple(f"feature {number}" for number in range(30))


@pytest.fixture(scope="module")
def booster() -> lightgbm.Booster:
    """100 trees over 30 columns: the size that an open's budget is stated for."""
    random = np.random.default_rng(7)
    matrix = random.random((4000, len(FEATURES)), dtype=np.float32)
    bought = matrix[:, 0] + matrix[:, 1] + random.random(4000) > 1.6
    parameters = {"objective": "binary", "num_leaves": 31, "verbosity": -1, "num_threads": 1, "seed": 7}
    return lightgbm.train(parameters, lightgbm.Dataset(matrix, bought), num_boost_round=100)


@pytest.fixture(scope="module")
def artefact(booster: lightgbm.Booster) -> bytes:
    return Model.build(
        booster.model_to_string(),
        FEATURES,
        [0.0, 0.5, 1.0],
        [0.1, 0.2, 0.8],
        popularity={2: 0.25, 1: 0.5},
        complements={1: {2: 0.4}},
        window_ms=(1, 2),
        metrics={"auc": 0.7},
    )


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(3).random((count, len(FEATURES)), dtype=np.float32)


def changed(data: bytes, **changes: object) -> bytes:
    return msgspec.msgpack.encode(msgspec.structs.replace(msgspec.msgpack.decode(data, type=Artefact), **changes))


def test_it_is_named_by_the_sha256_of_its_bytes(artefact: bytes) -> None:
    assert Model.load(artefact, FEATURES).hash == hashlib.sha256(artefact).hexdigest()


def test_it_is_built_to_the_same_bytes_from_the_same_content(booster: lightgbm.Booster) -> None:
    text = booster.model_to_string()
    one = Model.build(text, FEATURES, [0.0, 1.0], [0.0, 1.0], popularity={1: 0.1, 2: 0.2})
    other = Model.build(text, FEATURES, [0, 1], [0, 1], popularity={2: 0.2, 1: 0.1})
    assert one == other


def test_it_shows_a_candidate_as_training_saw_it(booster: lightgbm.Booster) -> None:
    data = Model.build(
        booster.model_to_string(),
        FEATURES,
        [0.0, 1.0],
        [0.0, 1.0],
        trend={1: 0.5},
        starts={1: 0.01},
        leanings={1: {2: -0.25, 3: 1.0}},
    )
    seen = Model.load(data, FEATURES).context(1, "upsell", None)
    assert (seen.trend, seen.starts, seen.leads) == (0.5, 0.01, {2: -0.25, 3: 1.0})
    unknown = Model.load(data, FEATURES).context(2, "upsell", None)
    assert (unknown.trend, unknown.starts, unknown.leads) == (None, None, {})


def test_it_answers_the_calibrated_probability(artefact: bytes, booster: lightgbm.Booster) -> None:
    matrix = rows(50)
    raw = booster.predict(matrix)
    expected = [0.1 + 0.2 * p if p <= 0.5 else 0.2 + 1.2 * (p - 0.5) for p in raw]
    assert Model.load(artefact, FEATURES).predict(matrix) == pytest.approx(expected, abs=1e-12)


@pytest.mark.feature("DE-18")
def test_it_calibrates_each_offer_by_its_own_table_its_categorys_or_the_common_one(
    artefact: bytes, booster: lightgbm.Booster
) -> None:
    own = {"by_category": {4: (0.0, 0.5, 0.9), 5: (0.2, 0.3, 0.4)}, "by_offer": {70: (0.1, 0.1, 0.6)}}
    model = Model.load(changed(artefact, **own), FEATURES)
    candidates = [(60, 4), (61, 5), (70, 4), (71, 9), (70, 0)] * 10
    tables = model.tables(candidates)
    assert tables is not None
    matrix = rows(len(candidates))
    raw = booster.predict(matrix)
    columns = {60: own["by_category"][4], 61: own["by_category"][5], 70: own["by_offer"][70], 71: (0.1, 0.2, 0.8)}
    expected = [
        np.interp(score, [0.0, 0.5, 1.0], columns[offer]) for score, (offer, _) in zip(raw, candidates, strict=True)
    ]
    assert model.predict(matrix, tables) == pytest.approx(expected, abs=1e-12)
    # Without any, and for whoever does not ask by offer, there is one table for all; old artefacts are such.
    assert Model.load(artefact, FEATURES).tables(candidates) is None
    assert model.predict(matrix).tolist() == Model.load(artefact, FEATURES).predict(matrix).tolist()
    old = {name: value for name, value in msgspec.msgpack.decode(artefact).items() if not name.startswith("by_")}
    assert Model.load(msgspec.msgpack.encode(old), FEATURES).predict(matrix).tolist() == model.predict(matrix).tolist()


def test_it_sees_candidates_with_the_tables_it_was_trained_with(artefact: bytes) -> None:
    model = Model.load(artefact, FEATURES)
    assert model.context(2, "cross-sell", 999) == CandidateContext(2, 1, 999, 0.25, {1: 0.4})
    assert model.context(9, "replacement", None) == CandidateContext(9, 0, None, 0.0, {})


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (FEATURES[:-1], "has ['feature 29']"),
        ((*FEATURES[:-1], "another"), "lacks ['another']"),
        (FEATURES[::-1], "their order differs"),
    ],
)
def test_it_refuses_a_model_of_other_features_and_names_them(
    artefact: bytes, features: Sequence[str], said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        Model.load(artefact, features)
    assert caught.value.field == "model.features"
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"format": 2}, "model.format"),
        ({"kinds": ("neutral", "replacement")}, "model.kinds"),
        ({"thresholds": (0.0, 1.0)}, "model.thresholds"),
        ({"thresholds": (0.0, 0.5, 0.4)}, "model.thresholds"),
        ({"values": (0.0, 0.5, 1.5)}, "model.values"),
        ({"values": (0.0, float("nan"), 1.0)}, "model.values"),
        ({"booster": "tree\nversion=v4\n"}, "model.booster"),
        ({"by_category": {1: (0.0, 1.0)}}, "model.by_category"),
        ({"by_offer": {1: (0.0, 0.5, 0.4)}}, "model.by_offer"),
    ],
)
def test_it_refuses_a_broken_artefact_and_names_the_field(
    artefact: bytes, changes: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        Model.load(changed(artefact, **changes), FEATURES)
    assert caught.value.field == field


@pytest.mark.parametrize("data", [b"", b"tree", b"\x00" * 100, b"\x80"])
def test_it_refuses_bytes_that_are_no_artefact(data: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        Model.load(data, FEATURES)
    assert caught.value.field == "model"


def test_it_refuses_to_build_from_a_booster_of_another_width(booster: lightgbm.Booster) -> None:
    with pytest.raises(InvalidInput, match="30 columns"):
        Model.build(booster.model_to_string(), FEATURES[:5], [0.0, 1.0], [0.0, 1.0])


def test_it_loads_a_model_beside_any_number_of_others_that_are_lost(artefact: bytes, tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    digest = blobs.put(artefact)
    shelf = ModelShelf(blobs, FEATURES)
    shelf.start()
    try:
        for number in range(MAX_WANTED):
            assert shelf.get(f"{number:064x}") is None
        ends = monotonic() + 30
        while shelf.get(digest) is None and monotonic() < ends:
            pause(0.01)
        assert shelf.get(digest) is not None
    finally:
        shelf.stop()


def test_it_predicts_the_same_from_many_threads(artefact: bytes) -> None:
    model, matrix = Model.load(artefact, FEATURES), rows(20)
    alone = model.predict(matrix).tolist()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: model.predict(matrix).tolist(), range(200)))
    assert all(answer == alone for answer in answers)


@pytest.mark.feature("DE-28")
def test_it_scores_a_row_without_thread_overhead(artefact: bytes) -> None:
    model = Model.load(artefact, FEATURES)
    one, twenty = rows(1), rows(20)
    before = threading.active_count()

    def median_ms(matrix: np.ndarray) -> float:
        times = []
        for _ in range(400):
            start = monotonic()
            model.predict(matrix)
            times.append(monotonic() - start)
        return 1000 * statistics.median(times)

    single, many = median_ms(one), median_ms(twenty)
    # Measured here: 0.04 and 0.11 ms. The ceilings leave room for a busy machine, none for a pool of threads.
    assert single < 0.5
    assert many < 1.5
    assert threading.active_count() == before
