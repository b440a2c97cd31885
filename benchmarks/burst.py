"""A burst beyond what the process can bear, and the first minutes after a big send at ten times their pace.

Each request is the first open of another delivery, sent when it is due whether or not earlier ones were answered, over
enough connections for the queue to stand in the server. What counts is that every answer is 200 and in time because
cheaper rungs take over, that each is counted, and how soon afterwards opens are decided in full again.
"""

from __future__ import annotations

import math
import os
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from base.clock import monotonic, pause
from benchmarks import load, world
from benchmarks.open import address_of, on_server_core
from benchmarks.report import Report
from tests.serving import Served

CANDIDATES, TREES = 20, 100
PEOPLE = 5_000
CONNECTIONS = 400
"""Readers whose requests are in the server at once, at most; what comes on top waits with them, and the wait counts."""
FEW = 16
SATURATING = 4_000
AGENT = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Thunderbird/153.7.0"}
OVER = 1.3
PACE = 10
MAILS_PER_SECOND = 300
"""What one sender's core signs and hands over (benchmarks/send.py): so fast do a big send's mails arrive."""
MEDIAN_MINUTES, SPREAD = 90.0, 1.9
"""Delay from delivery to open as a log-normal: our assumption; half of the opens come within an hour and a half."""
OPENED = 0.35
CURVE_MINUTES = 10
BACK_SECONDS = 5.0


class Counts(NamedTuple):
    """What /metrics says of the opens so far."""

    full: int
    without_model: int
    last: int
    default: int
    static: int
    shed: int

    def since(self, before: Counts) -> Counts:
        """What came on top."""
        return Counts(*(now - then for now, then in zip(self, before, strict=True)))


@contextmanager
def beside_the_server() -> Iterator[tuple[world.World, Served]]:
    """A world with a plan of CANDIDATES offers and TREES trees, and render on its own core; load comes from another."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    with world.world() as place:
        world.publish(place, CANDIDATES, TREES)
        with on_server_core():
            served = Served.start("render", place.settings, place.folder / "render.log")
        try:
            with world.emptied(place):
                yield place, served
        finally:
            served.stop()


def main(seconds: float = 60.0) -> None:
    """Run both parts and print the report; each sends for at most `seconds`."""
    report = Report("burst")
    with beside_the_server() as (place, served):
        _measure(report, place, served.url, seconds)
    report.show()


def _measure(report: Report, place: world.World, url: str, seconds: float) -> None:
    deadline = place.settings.deadline_ms / 1000
    opens = world.opens(place, PEOPLE, world.now())
    _ask(url, opens, 1_000, connections=FEW)
    calm = _ask(url, opens, SATURATING, connections=FEW)
    saturation = calm.per_second
    report.add("saturation, closed loop", f"{saturation:,.0f} opens/s")

    before = _counts(url)
    burst = _ask(url, opens, round(OVER * saturation * seconds), rate=OVER * saturation, seconds=seconds)
    _judge(report, f"burst at {OVER:.1f} × saturation for {burst.seconds:.0f} s", burst, deadline)
    _rungs(report, "the burst", _counts(url).since(before))
    back = _seconds_until_full(url, opens, saturation / 4)
    report.add(
        "back to full decisions after it", f"{back:.1f} s", aim=f"≤ {BACK_SECONDS:.0f} s", met=back <= BACK_SECONDS
    )

    arrivals = list(_arrivals(seconds))
    before = _counts(url)
    curve = _ask(url, opens, len(arrivals), due=arrivals, seconds=seconds)
    peak = max(sum(1 for at in arrivals if second <= at < second + 1) for second in range(math.ceil(seconds)))
    what = f"arrival curve of {len(arrivals):,} opens at {PACE} × pace, peak {peak:,} opens/s"
    _judge(report, what, curve, deadline)
    _rungs(report, "the curve", _counts(url).since(before))


def _ask(
    url: str,
    opens: Iterator[str],
    count: int,
    *,
    rate: float | None = None,
    due: Sequence[float] | None = None,
    seconds: float = 60.0,
    connections: int = CONNECTIONS,
) -> load.Result:
    host, port = address_of(url)
    requests = [load.get(host, port, next(opens), AGENT) for _ in range(count)]
    return load.run(host, port, requests, connections, seconds + 5, rate, due)


def _judge(report: Report, what: str, result: load.Result, deadline: float) -> None:
    late = sum(1 for latency in result.latencies if latency > deadline) / max(1, len(result.latencies))
    only_200 = set(result.statuses) == {200}
    figures = (
        f"{result.per_second:,.0f} answers/s, p50 {result.percentile(0.5):.0f} ms, p99 {result.percentile(0.99):.0f} ms"
    )
    report.add(what, figures)
    report.add(
        "  answers that were not 200",
        f"{sum(result.statuses.values()) - result.statuses.get(200, 0)}",
        aim="0",
        met=only_200,
    )
    report.add("  past the deadline, from when due", f"{late:.2%}", aim="≤ 0.10%", met=late <= 0.001)


def _rungs(report: Report, what: str, counts: Counts) -> None:
    told = (
        f"{counts.full:,} by the model, {counts.without_model:,} by rules for want of time, {counts.last:,} last, "
        f"{counts.default:,} default, {counts.static:,} static"
    )
    report.add(f"  rungs in {what}", told)


def _seconds_until_full(url: str, opens: Iterator[str], rate: float) -> float:
    """Seconds at a calm rate until a stretch of opens left nothing out."""
    began = monotonic()
    while monotonic() - began < 2 * BACK_SECONDS:
        before, at = _counts(url), monotonic() - began
        _ask(url, opens, round(rate / 4), rate=rate, connections=FEW)
        told = _counts(url).since(before)
        if told.full and not told.shed:
            return at
    return float("inf")


def _arrivals(seconds: float) -> Iterator[float]:
    """When the opens of a big send come, in seconds from its start at the pace of the replay.

    A mail that left at s is opened by t with the chance of the delay's distribution; expected counts are summed up
    second by second and spread evenly, so that the curve is the same at each run.
    """
    step, owed = 1.0, 0.0
    length = min(seconds * PACE, CURVE_MINUTES * 60)
    moment = 0.0
    while moment < length:
        owed += OPENED * MAILS_PER_SECOND * step * _opened_within(moment + step / 2)
        whole = int(owed)
        yield from ((moment + step * (number + 0.5) / whole) / PACE for number in range(whole))
        owed -= whole
        moment += step


def _opened_within(seconds: float) -> float:
    """The share of opens that come within so long of the delivery."""
    return 0.5 * (1 + math.erf(math.log(seconds / 60 / MEDIAN_MINUTES) / SPREAD / math.sqrt(2)))


def _counts(url: str) -> Counts:
    pause(0.05)
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    told = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def count(name: str) -> int:
        return round(told[f"latebind_render_{name}"])

    return Counts(
        full=count('decisions_total{rung="model"}'),
        without_model=count("without_model_total"),
        last=count('answers_total{rung="last"}'),
        default=count('answers_total{rung="default"}'),
        static=count('answers_total{rung="static"}'),
        shed=count('shed_total{step="model"}') + count('shed_total{step="decision"}'),
    )


if __name__ == "__main__":
    main()
