"""From a signal told to a picture that knows of it: loops of write and read beside others who write and read.

The whole installation runs as in tests/promises. Timed are both together, the answers to signal and open, as whoever
buys and looks at the mail again waits for them. An open in time that does not know of its signal ends the run.
"""

from __future__ import annotations

from statistics import quantiles

from benchmarks.report import Report
from tests.promises.ground import grounded
from tests.promises.loops import write_and_read

READERS, OTHERS, ROUNDS = 4, 2, 250
BUDGET_MS = 1_000.0


def main() -> None:
    """Run it and print the report."""
    report = Report("fresh")
    with grounded("fresh") as ground:
        loops = write_and_read(ground.world, READERS, ROUNDS, OTHERS)
    took = loops.seconds
    shares = quantiles([1_000 * seconds for seconds in took], n=100)
    p50, p99 = shares[49], shares[98]
    report.add(f"signal to open, {len(took):,} of {READERS} readers beside {OTHERS} others: p50", f"{p50:.0f} ms")
    report.add("  p99", f"{p99:.0f} ms", aim=f"≤ {BUDGET_MS:.0f} ms", met=p99 <= BUDGET_MS)
    report.add("  most", f"{1_000 * max(took):.0f} ms")
    report.add("  answered without knowing, the store too slow", f"{loops.too_slow:,}")
    report.show()


if __name__ == "__main__":
    main()
