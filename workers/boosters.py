"""LightGBM, to fit boosters with, without its company.

LightGBM imports pandas, scikit-learn and others wherever they are installed, for interfaces that our training does not
use. That costs a process 3 seconds of start and 130 MB (measured: 4.1 s and 192 MB with them, 0.9 s and 62 MB without).
"""

from __future__ import annotations

from typing import Any, Final

from base.alone import alone

_COMPANY: Final = ("pandas", "sklearn", "dask", "pyarrow", "cffi", "matplotlib", "graphviz", "polars", "datatable")

lightgbm: Final[Any] = alone("lightgbm", _COMPANY)
