"""Trees fitted beyond one machine, on a Dask cluster whose scheduler the setting LATEBIND_DASK_URL names.

The rows go to the cluster as they are: features and outcomes, no names and no ids. Trees of a cluster are equivalent to
those of one machine and not the same bytes: histograms are added up in another order, and each worker draws its rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from base.errors import InvalidInput
from base.logs import logger
from base.settings import PREFIX
from workers.boosters import lightgbm

LONGEST_SECONDS: Final = 900.0
"""A fit; well below what a whole training may take, so that a cluster that hangs is named."""
_NAMES: Final[Mapping[str, str]] = {
    "min_data_in_leaf": "min_child_samples", "min_sum_hessian_in_leaf": "min_child_weight",
    "feature_fraction": "colsample_bytree", "bagging_fraction": "subsample", "bagging_freq": "subsample_freq",
    "lambda_l2": "reg_lambda",
}  # fmt: skip
"""What parameters are called in the interface that LightGBM has for Dask, where that has names of its own."""
_LEFT_OUT: Final = ("seed", "num_threads")
"""The seed is given by itself, and each worker has the threads that the cluster gave it."""


def fitted(
    scheduler: str,
    features: np.ndarray[Any, Any],
    outcomes: np.ndarray[Any, Any],
    *,
    names: Sequence[str],
    trees: int,
    seeds: Sequence[int],
    parameters: Mapping[str, Any],
    weights: np.ndarray[Any, Any] | None = None,
    margins: np.ndarray[Any, Any] | None = None,
) -> list[Any]:
    """A booster of `trees` trees a seed, fitted on the cluster. `margins` are raw scores that the trees add to.

    Raises InvalidInput where the extra `dask` is not installed, the cluster is not there, or fitting fails.
    """
    if find_spec("distributed") is None:
        raise InvalidInput("dask_url", "needs the extra: pip install 'latebind[dask]'")
    given = {_NAMES.get(name, name): value for name, value in parameters.items() if name not in _LEFT_OUT}
    job = {"scheduler": scheduler, "names": names, "trees": trees, "seeds": seeds, "parameters": given}
    columns = {"features": features, "outcomes": outcomes, "weights": weights, "margins": margins}
    with tempfile.TemporaryDirectory(prefix="latebind-trees-") as kept:
        folder = Path(kept)
        for name, column in columns.items():
            if column is not None:
                np.save(folder / f"{name}.npy", column)
        (folder / "job.json").write_bytes(msgspec.json.encode(job))
        _run(folder)
        return [lightgbm.Booster(model_str=(folder / f"{seed}.txt").read_text()) for seed in seeds]


def _run(folder: Path) -> None:
    """Run the program that fits. It is not given our settings, which hold keys."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    command = [sys.executable, "-m", "workers.afar", str(folder)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise InvalidInput("dask_url", f"names a cluster that did not fit within {LONGEST_SECONDS:.0f} s") from error
    if done.returncode:
        logger(__name__).error("the cluster did not fit", output=done.stderr[-2000:])
        last = (done.stderr.strip().splitlines() or ["it told no reason"])[-1]
        raise InvalidInput("dask_url", f"names a cluster that did not fit: {last[:300]}")
