"""Fit trees on a Dask cluster: `python -m workers.afar FOLDER`, a program that `workers/cluster.py` starts.

It is one of its own because everywhere else LightGBM is loaded without its company (`render/booster.py`). Rows are
dealt out to the cluster's workers, and LightGBM's own interface to Dask fits there: each worker adds up its rows, they
agree on each split, and all end with the same trees.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import lightgbm
import msgspec
import numpy as np
from dask.array.core import Array, concatenate, from_delayed
from distributed import Client

JOB: Final = "job.json"
COLUMNS: Final = ("features", "outcomes", "weights", "margins")
"""The arrays of a job, each in a file of this name; the last two may be missing."""
MOST_ROWS: Final = 250_000
"""Rows that are dealt out at once."""
CONNECT_SECONDS: Final = 10


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to fit: `trees` for each seed, with LightGBM's parameters by their names in its Python interface."""

    scheduler: str
    names: tuple[str, ...]
    trees: int
    seeds: tuple[int, ...]
    parameters: dict[str, Any]


def result(folder: Path, seed: int) -> Path:
    """Where a seed's booster is written, as LightGBM's text."""
    return folder / f"{seed}.txt"


def main(folder: Path) -> None:
    """Fit the job of a folder and leave the boosters there."""
    job = msgspec.json.decode((folder / JOB).read_bytes(), type=Job)
    with Client(job.scheduler, timeout=CONNECT_SECONDS) as client:
        columns = _dealt(client, folder)
        for seed in job.seeds:
            model = lightgbm.DaskLGBMClassifier(
                client=client, n_estimators=job.trees, random_state=seed, tree_learner="data", **job.parameters
            )
            model.fit(
                columns["features"],
                columns["outcomes"],
                sample_weight=columns.get("weights"),
                init_score=columns.get("margins"),
                feature_name=list(job.names),
            )
            result(folder, seed).write_text(model.booster_.model_to_string())


def _dealt(client: Client, folder: Path) -> dict[str, Array]:
    """The columns as Dask's arrays; what belongs to one row lies with one worker."""
    workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
    if not workers:
        raise SystemExit("the cluster has no workers")
    kept = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in COLUMNS if _is_there(folder, name)}
    count = len(kept["outcomes"])
    parts = max(len(workers), -(-count // MOST_ROWS))
    cuts = [count * number // parts for number in range(parts + 1)]
    found = {}
    for name, column in kept.items():
        lots = []
        for number in range(parts):
            rows = np.array(column[cuts[number] : cuts[number + 1]])
            future = client.scatter(rows, workers=[workers[number % len(workers)]])
            lots.append(from_delayed(future, shape=rows.shape, dtype=rows.dtype))
        found[name] = concatenate(lots)
    return found


def _is_there(folder: Path, name: str) -> bool:
    return (folder / f"{name}.npy").exists()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
