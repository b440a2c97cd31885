"""`python -m benchmarks [name …]`: run all benchmarks, or those named. `--soak`: those that take long instead."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks import (
    abuse,
    bulk,
    burst,
    cluster,
    decide,
    drawing,
    faults,
    fresh,
    growth,
    history,
    identity,
    intake,
    isolation,
    ledger,
    measuring,
    open,
    pausing,
    people,
    segments,
    send,
    steps,
    training,
)

BENCHMARKS: dict[str, Callable[[], None]] = {
    "decide": decide.main,
    "open": open.main,
    "drawing": drawing.main,
    "steps": steps.main,
    "send": send.main,
    "intake": intake.main,
    "fresh": fresh.main,
    "identity": identity.main,
    "people": people.main,
    "cluster": cluster.main,
}
SOAKS: dict[str, Callable[[], None]] = {
    "burst": burst.main,
    "faults": faults.main,
    "abuse": abuse.main,
    "growth": growth.main,
    "measuring": measuring.main,
    "training": training.main,
    "pausing": pausing.main,
    "ledger": ledger.main,
    "isolation": isolation.main,
    "history": history.main,
    "bulk": bulk.main,
    "segments": segments.main,
}


def main(arguments: list[str]) -> int:
    """Run what is asked for; 2 for a name that there is not."""
    known = BENCHMARKS | SOAKS
    unknown = [name for name in arguments if name not in known and name != "--soak"]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    for name in SOAKS if "--soak" in arguments else arguments or BENCHMARKS:
        known[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
