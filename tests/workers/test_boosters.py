"""LightGBM is loaded for training without what it would drag along."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import workers.boosters
assert "lightgbm" in sys.modules
print(sorted({"pandas", "sklearn", "pyarrow", "dask", "matplotlib"} & sys.modules.keys()))
import pandas, sklearn
print(pandas.DataFrame({"a": [1]}).shape, bool(sklearn.__version__))
"""


def test_it_loads_neither_pandas_nor_scikit_learn_and_leaves_them_importable() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["[]", "(1, 1) True"]
