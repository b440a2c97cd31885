"""`python -m benchmarks [name …]`: run all benchmarks, or those named. `--soak` is for those that take long."""

from __future__ import annotations

import sys

from benchmarks import intake, open, send

BENCHMARKS = {"open": open.main, "send": send.main, "intake": intake.main}


def main(arguments: list[str]) -> int:
    """Run what is asked for; 2 for a name that there is not."""
    if arguments == ["--soak"]:
        print("There is no benchmark yet that takes longer than those of `make bench`.")
        return 0
    unknown = [name for name in arguments if name not in BENCHMARKS]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    for name in arguments or BENCHMARKS:
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
