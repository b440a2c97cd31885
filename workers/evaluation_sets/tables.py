"""Reading the files of a data set: Parquet or CSV, the wanted columns only, with errors that name what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from base.errors import InvalidInput

Table = Any
ENDINGS: Final = (".parquet", ".csv")


def found(data: Path, *stems: str) -> Path:
    """The file that holds a table: `data` itself where it is a file, else the first of these names in the folder."""
    if data.is_file():
        return data
    names = [f"{stem}{ending}" for stem in stems for ending in ENDINGS]
    for name in names:
        if (data / name).is_file():
            return data / name
    raise InvalidInput("data", f"holds none of {', '.join(names)}: {data}")


def read(path: Path, columns: Sequence[str]) -> Table:
    """These columns of a file. Raises InvalidInput that names the file and what it lacks."""
    try:
        if path.suffix == ".parquet":
            missing = [name for name in columns if name not in pq.read_schema(str(path)).names]
            table = None if missing else pq.read_table(str(path), columns=list(columns))
        else:
            table = pa_csv.read_csv(str(path))
            missing = [name for name in columns if name not in table.column_names]
            table = None if missing else table.select(list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidInput("data", f"cannot be read: {path}: {error}") from error
    if table is None:
        raise InvalidInput("data", f"lacks the columns {', '.join(missing)}: {path}")
    return table
