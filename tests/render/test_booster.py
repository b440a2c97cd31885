"""LightGBM's library is loaded and asked without LightGBM's Python."""

from __future__ import annotations

import subprocess
import sys

import lightgbm
import numpy as np
import pytest

from render.booster import Trees

COLUMNS = 6
PROGRAM = """
import sys
from render.booster import Trees
try:
    Trees("no trees")
except ValueError as error:
    print(error)
print(sorted({"lightgbm", "scipy", "narwhals", "pandas", "sklearn", "pyarrow"} & sys.modules.keys()))
"""


def test_it_loads_nothing_of_its_python_and_still_tells_what_is_no_model() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    refusal, loaded = done.stdout.splitlines()
    assert refusal.startswith("is not a LightGBM model: ")
    assert len(refusal) > len("is not a LightGBM model: ")
    assert loaded == "[]"


@pytest.mark.parametrize("rows", [1, 20, 200])
def test_it_scores_bit_for_bit_as_lightgbm_itself_does(rows: int) -> None:
    random = np.random.default_rng(11)
    booster = trained(random, objective="binary")
    matrix = random.normal(size=(rows, COLUMNS)).astype(np.float32)
    matrix[random.random(matrix.shape) < 0.2] = np.nan
    matrix[random.random(matrix.shape) < 0.2] = 0.0
    wrapped = np.asarray(booster.predict(matrix, num_threads=1))
    assert Trees(booster.model_to_string()).predict(matrix).tobytes() == wrapped.tobytes()


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, COLUMNS + 1), dtype=np.float32),
        np.zeros((3, COLUMNS), dtype=np.float64),
        np.zeros((COLUMNS, 3), dtype=np.float32).T,
        np.zeros(COLUMNS, dtype=np.float32),
    ],
    ids=["another width", "doubles", "columns first", "a single row without rows"],
)
def test_it_refuses_a_matrix_that_would_be_read_wrongly(matrix: np.ndarray) -> None:
    trees = Trees(trained(np.random.default_rng(11), objective="binary").model_to_string())
    with pytest.raises(ValueError, match=f"float32 matrix of {COLUMNS} columns"):
        trees.predict(matrix)


def test_it_refuses_a_model_with_several_scores_a_row() -> None:
    with pytest.raises(ValueError, match="several scores"):
        Trees(trained(np.random.default_rng(11), objective="multiclass", num_class=3).model_to_string())


def trained(random: np.random.Generator, **parameters: object) -> lightgbm.Booster:
    """A small booster, two classes or three."""
    matrix = random.normal(size=(600, COLUMNS)).astype(np.float32)
    labels = (matrix[:, 0] > 0).astype(int) + (matrix[:, 1] > 0.5) * (parameters["objective"] == "multiclass")
    parameters |= {"num_leaves": 15, "verbosity": -1, "num_threads": 1, "seed": 7}
    return lightgbm.train(parameters, lightgbm.Dataset(matrix, labels), num_boost_round=20)
