"""Where the processor time of a warm open goes, step by step: one thread, without the server around the app.

Each request is the first open of another profile, as in `benchmarks/open.py`. The functions of the steps are timed in
place, while opens follow one another: called alone and again and again they take half of it, because everything they
touch is then in the core's caches. What timing costs itself is measured and taken off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from time import thread_time_ns
from typing import Any, Final

from benchmarks import world
from benchmarks.report import Report
from render import decide, open, opening, record, scoring
from render.app import create_app
from render.model import Model
from render.parts import Parts

OPENS: Final = 3_000
WARM: Final = 1_000
AGENT: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Thunderbird/153.7.0"


@dataclass
class Step:
    """One function under its name in the table; `depth` says inside of how many others it is."""

    what: str
    owner: Any
    name: str
    depth: int = 0
    spent: int = 0
    calls: int = 0


def main() -> None:
    """Run it and print the report."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    for candidates, trees in ((20, 100), (50, 300)):
        report = Report(f"steps-{candidates}x{trees}")
        with world.world() as place:
            world.publish(place, candidates, trees)
            paths = list(islice(world.opens(place, 2_000, world.now()), WARM + 2 * OPENS))
            app = create_app(place.settings)
            parts: Parts = app.extensions["parts"]
            try:
                _measure(report, app.wsgi_app, parts, paths)
            finally:
                parts.close()
        report.show()


def _measure(report: Report, app: Callable[..., Any], parts: Parts, paths: list[str]) -> None:
    requests = [_environ(path) for path in paths]
    _answer(app, requests[:WARM])
    whole = _answer(app, requests[WARM : WARM + OPENS])
    steps = _steps(parts)
    with ExitStack() as timed:
        for step in steps:
            timed.enter_context(_timed(step))
        _answer(app, requests[WARM + OPENS :])
    own = _own_cost()
    report.add("the app, from its first line to its last", f"{whole:.0f} µs")
    for step in steps:
        inside = sum(one.calls for one in _inside(steps, step))
        spent = step.spent / 1000 / OPENS - (inside + step.calls) / OPENS * own
        report.add(f"{'  ' * (step.depth + 1)}{step.what}", f"{spent:.0f} µs", ratio=spent / whole)


def _steps(parts: Parts) -> list[Step]:
    """What is timed, in the order of an open; a step's own parts follow it."""
    agreement = parts.opening._agreement
    return [
        Step("token: AES-SIV and its fields", open, "_token"),
        Step("request: names, moment, class of the fetch", open, "fetch_of"),
        Step("read: one trip (live, plan and model are held)", parts.lookup, "read"),
        Step("state, shown and used, understood", open, "Read"),
        Step("decide", opening, "decide"),
        Step("three layers of eligibility", decide, "_reasons", 1),
        Step("score: contexts, values, digest, and", decide, "score", 1),
        Step("feature rows", scoring, "candidate_matrix", 2),
        Step("trees and calibration", Model, "predict", 2),
        Step("the picture that is at hand: its key", parts.ladder, "at_hand"),
        Step("decision record", opening, "decision_record"),
        Step("records packed and sealed (AES-GCM)", record, "seal"),
        Step("agree: one trip, a script, 4 KB of records", agreement, "write"),
    ]


def _inside(steps: list[Step], outer: Step) -> list[Step]:
    found = []
    for step in steps[steps.index(outer) + 1 :]:
        if step.depth <= outer.depth:
            break
        found.append(step)
    return found


@contextmanager
def _timed(step: Step) -> Iterator[None]:
    """Put a clock around the step's function."""
    function = getattr(step.owner, step.name)

    def timed(*given: Any, **named: Any) -> Any:
        began = thread_time_ns()
        try:
            return function(*given, **named)
        finally:
            step.spent += thread_time_ns() - began
            step.calls += 1

    setattr(step.owner, step.name, timed)
    try:
        yield
    finally:
        setattr(step.owner, step.name, function)


def _own_cost() -> float:
    """Microseconds that timing itself adds to a step."""

    class Nothing:
        @staticmethod
        def at_all() -> None:
            return None

    step = Step("", Nothing, "at_all")
    with _timed(step):
        for _ in range(10_000):
            Nothing.at_all()
    return step.spent / step.calls / 1000


def _answer(app: Callable[..., Any], requests: list[dict[str, str]]) -> float:
    """Processor microseconds a request."""
    statuses: set[str] = set()
    began = thread_time_ns()
    for request in requests:
        app(request, lambda status, _headers: statuses.add(status))
    spent = thread_time_ns() - began
    if statuses != {"200 OK"}:
        raise SystemExit(f"answers were {statuses}")
    return spent / 1000 / len(requests)


def _environ(path: str) -> dict[str, str]:
    return {"PATH_INFO": path, "REQUEST_METHOD": "GET", "HTTP_USER_AGENT": AGENT, "REMOTE_ADDR": "127.0.0.1"}


if __name__ == "__main__":
    main()
