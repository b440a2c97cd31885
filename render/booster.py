"""LightGBM without its company.

LightGBM imports pandas, scikit-learn and others wherever they are installed, for interfaces that neither an open nor
our training uses. That costs every process 3 seconds of start and 130 MB (measured: 4.1 s and 192 MB with them, 0.9 s
and 62 MB without). So they are hidden while it loads. Modules that are loaded already stay as they are.

`Trees` asks the same library for a prediction without the Python around it, which took longer than the trees did.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_COMPANY: Final = ("pandas", "sklearn", "dask", "pyarrow", "cffi", "matplotlib", "graphviz", "polars", "datatable")


def _alone(name: str) -> Any:
    """Import a module as if its optional company were not installed."""
    hidden = [other for other in _COMPANY if other not in sys.modules]
    # None in sys.modules makes an import fail as if the module were absent.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        return importlib.import_module(name)
    finally:
        for other in hidden:
            if sys.modules.get(other, other) is None:
                del sys.modules[other]


lightgbm: Final = _alone("lightgbm")

# The numbers of LightGBM's c_api.h.
_FLOAT32: Final = 0
_ROW_MAJOR: Final = 1
_NORMAL: Final = 0
_ALL_TREES: Final = -1
_ALONE: Final = b"num_threads=1 predict_disable_shape_check=true"


def _predictor() -> Any:
    """`LGBM_BoosterPredictForMat` of the library that LightGBM has loaded, as a function of our own.

    LightGBM's object for it is left alone: it passes other types. Other threads run during the call, as during its own.
    """
    shared = lightgbm.basic._LIB
    function = ctypes.CDLL(shared._name, handle=shared._handle).LGBM_BoosterPredictForMat
    address, number = ctypes.c_void_p, ctypes.c_int
    function.argtypes = [
        address, address, number, ctypes.c_int32, ctypes.c_int32, number, number, number, number, ctypes.c_char_p,
        address, address,
    ]  # fmt: skip
    return function


_predict: Final = _predictor()


class Trees:
    """A booster's scores as `Booster.predict` gives them, bit for bit. For many threads."""

    __slots__ = ("_booster", "_handle", "columns")

    def __init__(self, booster: Any) -> None:
        """Raises ValueError for a booster with several scores a row."""
        if booster.num_model_per_iteration() != 1:
            raise ValueError("gives several scores a row; one is wanted")
        # The booster owns what its handle points to.
        self._booster = booster
        self._handle = booster._handle
        self.columns: int = booster.num_feature()

    def predict(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """One score a row, in the calling thread, of a C-contiguous float32 matrix (n, columns), n >= 1.

        Raises ValueError for a matrix of another kind, which the library would read beyond its end, and LightGBMError
        for what it refuses itself.
        """
        if matrix.dtype != np.float32 or not matrix.flags.c_contiguous or matrix.shape[1:] != (self.columns,):
            raise ValueError(f"a C-contiguous float32 matrix of {self.columns} columns is wanted")
        rows = len(matrix)
        scores = np.empty(rows, dtype=np.float64)
        written = ctypes.c_int64()
        failed = _predict(
            self._handle, matrix.ctypes.data, _FLOAT32, rows, self.columns, _ROW_MAJOR, _NORMAL, 0, _ALL_TREES, _ALONE,
            ctypes.addressof(written), scores.ctypes.data,
        )  # fmt: skip
        if failed:
            raise lightgbm.basic.LightGBMError(lightgbm.basic._LIB.LGBM_GetLastError().decode())
        return scores
