"""What a benchmark prints: a table for people and JSON for comparisons, with date and machine."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass
class Row:
    """One figure: ours, the peer's, their ratio, the aim in words and whether it was met (None: no aim)."""

    what: str
    ours: str
    peer: str = ""
    ratio: float | None = None
    aim: str = ""
    met: bool | None = None


@dataclass
class Report:
    """All figures of one benchmark."""

    name: str
    rows: list[Row] = field(default_factory=list)

    def add(
        self, what: str, ours: str, peer: str = "", ratio: float | None = None, aim: str = "", met: bool | None = None
    ) -> None:
        """Add a figure."""
        self.rows.append(Row(what, ours, peer, ratio, aim, met))

    def show(self) -> None:
        """Print the table and keep the JSON under benchmarks/results."""
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        moment = datetime.now(UTC)
        print(f"\n{self.name} · {moment:%Y-%m-%d %H:%M} UTC · {machine}")
        table = [("figure", "ours", "peer", "ratio", "aim", "")]
        for row in self.rows:
            verdict = "" if row.met is None else ("met" if row.met else "missed")
            table.append((row.what, row.ours, row.peer, f"{row.ratio:.2f}" if row.ratio else "", row.aim, verdict))
        widths = [max(len(line[column]) for line in table) for column in range(6)]
        for line in table:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        RESULTS.mkdir(exist_ok=True)
        content = {
            "name": self.name,
            "at": moment.isoformat(),
            "machine": machine,
            "rows": [asdict(r) for r in self.rows],
        }
        (RESULTS / f"{self.name}.json").write_text(json.dumps(content, indent=2) + "\n")
