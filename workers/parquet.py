"""Rows of Parquet files, a piece of a row group at a time. Loaded only by who imports such a file: it needs pyarrow.

What is in memory is bounded by the file's row groups, of which only the columns that are asked for are read; a file
with larger ones than MOST_BYTES is refused, and the error says how to write it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow
from pyarrow import parquet

from base.errors import InvalidInput
from signals.tabular import check_columns

ROWS_AT_ONCE: Final = 5_000
MOST_BYTES: Final = 512 * 1024 * 1024


class Table:
    """A Parquet file that is open. Close it when done."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidInput where the file is none."""
        self._name = path.name
        try:
            self._file = parquet.ParquetFile(path, memory_map=True)
        except (pyarrow.ArrowException, OSError) as error:
            raise InvalidInput(path.name, f"is not a Parquet file: {error}") from None

    @property
    def columns(self) -> Sequence[str]:
        """The names of its columns, nested ones by their outermost."""
        names: Sequence[str] = self._file.schema_arrow.names
        return names

    def rows(self, columns: Sequence[str], first: int = 1) -> Iterator[dict[str, Any] | None]:
        """Each row with these columns; None for the rows before `first`, of which no byte is read.

        Raises InvalidInput where a row group is too large, or is damaged.
        """
        check_columns(columns, self.columns)
        begun = 0
        for number in range(self._file.num_row_groups):
            group = self._file.metadata.row_group(number)
            if begun + group.num_rows < first:
                yield from (None for _ in range(group.num_rows))
            else:
                self._check(group, columns, number)
                yield from self._group(number, columns)
            begun += group.num_rows

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _group(self, number: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        try:
            pieces = self._file.iter_batches(
                batch_size=ROWS_AT_ONCE, row_groups=[number], columns=list(columns), use_threads=False
            )
            for piece in pieces:
                yield from piece.to_pylist()
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise InvalidInput(self._name, f"row group {number + 1} cannot be read: {error}") from None

    def _check(self, group: Any, columns: Sequence[str], number: int) -> None:
        wanted = set(columns)
        chunks = (group.column(index) for index in range(group.num_columns))
        size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in wanted)
        if size > MOST_BYTES:
            raise InvalidInput(
                self._name,
                f"row group {number + 1} has {size // 2**20} MB in these columns, more than {MOST_BYTES // 2**20}:"
                " write the file with smaller row groups",
            )
