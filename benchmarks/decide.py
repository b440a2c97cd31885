"""The decision alone, without store, server or picture: what the CPU does between what is read and what is agreed.

Three sizes of the model's part, and the eligibility of the largest plan there may be. Times are processor time of the
deciding thread, so that other work on the machine does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from benchmarks import world
from benchmarks.report import Report
from render.arbitration import MAX_SCORED
from render.decide import decide, prefilter
from render.eligibility import Situation
from render.facts import Facts
from render.model import Model
from render.plan import MAX_OFFERS, Plan
from signals.candidates import MODEL_FEATURES, candidate_matrix
from signals.state import ProfileState
from signals.state import decode as decode_state

PEOPLE = 300
ROUNDS = 4
AIM_MS, PREFILTER_MS = 1.0, 3.0


def main() -> None:
    """Run all parts and print the report."""
    report = Report("decide")
    measure(report)
    report.show()


def measure(report: Report) -> None:
    """Add the decision's figures to a report."""
    moment = world.now()
    people = [decode_state(data) for data in world.states(moment, PEOPLE)]
    for candidates, trees in ((20, 100), (50, 300)):
        model = Model.load(world.trained(trees))
        plan = world.plan_of(candidates)
        took = _decisions(plan, people, model, moment)
        size = f"{candidates} candidates × {len(MODEL_FEATURES)} features × {trees} trees"
        p50 = _percentile(took, 0.5)
        report.add(f"decision, {size}", _told(took), aim="p50 ≤ 1 ms", met=p50 <= AIM_MS)
        for name, figure in _parts(plan, people, model, moment):
            report.add(f"  of it {name}", figure)
    took = _decisions(world.plan_of(MAX_OFFERS - 1, mode="rules"), people[:20], None, moment)
    report.add(f"decision by rules over {MAX_OFFERS:,} offers", _told(took))
    model = Model.load(world.trained(100))
    plan = world.plan_of(MAX_OFFERS - 1)
    situations = [Situation(plan, facts, moment) for facts in _facts(people[:20], model, moment)]
    took = _each([lambda at=at: prefilter(at) for at in situations])  # type: ignore[misc]
    p50 = _percentile(took, 0.5)
    report.add(
        f"{MAX_OFFERS:,} offers pre-filtered to the {MAX_SCORED} that are scored", _told(took),
        aim=f"p50 ≤ {PREFILTER_MS:g} ms", met=p50 <= PREFILTER_MS,
    )  # fmt: skip


def _decisions(plan: Plan, people: Sequence[ProfileState], model: Model | None, moment: datetime) -> list[float]:
    """Milliseconds of each decision; the first round is not counted."""
    return _each([lambda f=f: decide(plan, f, moment, 7) for f in _facts(people, model, moment)])  # type: ignore[misc]


def _facts(people: Sequence[ProfileState], model: Model | None, moment: datetime) -> list[Facts]:
    sent_at_ms = int((moment - timedelta(days=1)).timestamp() * 1000)
    return [Facts(state=state, sent_at_ms=sent_at_ms, model=model) for state in people]


def _parts(plan: Plan, people: Sequence[ProfileState], model: Model, moment: datetime) -> list[tuple[str, str]]:
    seen = [model.context(offer.category or 0, offer.kind, None) for offer in plan.offers[:-1]]
    matrices = [candidate_matrix(state, seen, moment) for state in people]
    return [
        ("feature rows", _told(_each([lambda s=s: candidate_matrix(s, seen, moment) for s in people]))),  # type: ignore[misc]
        ("prediction", _told(_each([lambda m=m: model.predict(m) for m in matrices]))),  # type: ignore[misc]
    ]


def _each(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Milliseconds of processor time of each call, each made `ROUNDS` times after one that is not counted."""
    took = []
    for number in range(ROUNDS + 1):
        for call in calls:
            began = time.thread_time_ns()
            call()
            if number:
                took.append((time.thread_time_ns() - began) / 1e6)
    return took


def _percentile(took: Sequence[float], share: float) -> float:
    return sorted(took)[min(len(took) - 1, int(share * len(took)))]


def _told(took: Sequence[float]) -> str:
    return f"p50 {_percentile(took, 0.5):.3f} ms, p99 {_percentile(took, 0.99):.3f} ms"


if __name__ == "__main__":
    main()
