"""A fitted booster as an open uses it: LightGBM's library alone, asked without LightGBM's Python.

That Python is for training (`workers/boosters.py`). It loads SciPy, narwhals and half of NumPy's tools, which cost
every process a quarter of a second of its start, and its own prediction takes longer than the trees do.
"""

from __future__ import annotations

import ctypes
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Final

import numpy as np
import numpy.typing as npt

# The numbers of LightGBM's c_api.h.
_FLOAT32: Final = 0
_ROW_MAJOR: Final = 1
_NORMAL: Final = 0
_ALL_TREES: Final = -1
_ALONE: Final = b"num_threads=1 predict_disable_shape_check=true"

_ADDRESS: Final = ctypes.c_void_p
_NUMBER: Final = ctypes.c_int


def _loaded() -> ctypes.CDLL:
    """The library, loaded by the one module of the package LightGBM that finds it, which needs none of the others.

    Other threads run during a call. Raises ModuleNotFoundError, and OSError where the library cannot be loaded.
    """
    package = find_spec("lightgbm")
    place = package and PathFinder.find_spec("libpath", package.submodule_search_locations)
    if place is None or place.loader is None:
        raise ModuleNotFoundError("No module named 'lightgbm'", name="lightgbm")
    module = module_from_spec(place)
    place.loader.exec_module(module)
    library: ctypes.CDLL = module._LIB
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    library.LGBM_BoosterFree.argtypes = [_ADDRESS]
    library.LGBM_BoosterPredictForMat.argtypes = [
        _ADDRESS, _ADDRESS, _NUMBER, ctypes.c_int32, ctypes.c_int32, _NUMBER, _NUMBER, _NUMBER, _NUMBER,
        ctypes.c_char_p, _ADDRESS, _ADDRESS,
    ]  # fmt: skip
    return library


_LIBRARY: Final = _loaded()
_predict: Final = _LIBRARY.LGBM_BoosterPredictForMat
_free: Final = _LIBRARY.LGBM_BoosterFree


def _fault() -> str:
    """What the library said of the last call of this thread that failed."""
    said: bytes = _LIBRARY.LGBM_GetLastError()
    return said.decode(errors="replace")


class Trees:
    """A booster's scores as LightGBM's `Booster.predict` gives them, bit for bit. For many threads."""

    __slots__ = ("_handle", "columns")

    def __init__(self, text: str) -> None:
        """Load LightGBM's own text of a booster. Raises ValueError for what is none, or gives several scores a row."""
        self._handle = _ADDRESS()
        if _LIBRARY.LGBM_BoosterLoadModelFromString(text.encode(), ctypes.byref(_NUMBER()), ctypes.byref(self._handle)):
            raise ValueError(f"is not a LightGBM model: {_fault()}")
        if self._asked("LGBM_BoosterNumModelPerIteration") != 1:
            raise ValueError("gives several scores a row; one is wanted")
        self.columns = self._asked("LGBM_BoosterGetNumFeature")

    def __del__(self) -> None:
        """Give the library's memory back."""
        if self._handle:
            _free(self._handle)

    def predict(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """One score a row, in the calling thread, of a C-contiguous float32 matrix (n, columns), n >= 1.

        Raises ValueError for a matrix of another kind, which the library would read beyond its end, and RuntimeError
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
            raise RuntimeError(_fault())
        return scores

    def _asked(self, function: str) -> int:
        told = _NUMBER()
        if getattr(_LIBRARY, function)(self._handle, ctypes.byref(told)):
            raise ValueError(f"is not a LightGBM model: {_fault()}")
        return told.value
