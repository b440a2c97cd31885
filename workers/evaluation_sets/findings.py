"""What a protocol found: figures with their intervals and bars, as a table for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from workers.evaluation import Interval


@dataclass(frozen=True)
class Finding:
    """One figure. `bar` says in words what it must reach; `met` is None for figures that are only reported."""

    question: str
    measure: str
    value: float
    low: float | None = None
    high: float | None = None
    bar: str = ""
    met: bool | None = None


def reported(question: str, measure: str, found: Interval | float) -> Finding:
    """A figure without a bar."""
    return _finding(question, measure, found, "", None)


def least(question: str, measure: str, found: Interval | float, bar: float, of_low: bool = False) -> Finding:
    """A figure that must not lie below a bar; `of_low`: the lower end of its interval must not."""
    value = found if isinstance(found, float) else found.low if of_low else found.value
    return _finding(question, measure, found, f"{'lower end ' if of_low else ''}≥ {bar:g}", value >= bar)


def most(question: str, measure: str, found: Interval | float, bar: float) -> Finding:
    """A figure that must not lie above a bar."""
    value = found if isinstance(found, float) else found.value
    return _finding(question, measure, found, f"≤ {bar:g}", value <= bar)


def within(question: str, measure: str, found: Interval | float, low: float, high: float) -> Finding:
    """A figure that must lie in a range, ends included."""
    value = found if isinstance(found, float) else found.value
    return _finding(question, measure, found, f"{low:g} to {high:g}", low <= value <= high)


def holds(question: str, measure: str, found: Interval, truth: float) -> Finding:
    """An interval that must hold a value."""
    return _finding(question, measure, found, f"interval holds {truth:g}", found.low <= truth <= found.high)


def table(findings: Sequence[Finding]) -> list[str]:
    """The findings as lines of text, one block a question."""
    lines: list[str] = []
    question = ""
    for one in findings:
        if one.question != question:
            question = one.question
            lines += ["", question]
        interval = "" if one.low is None or one.high is None else f"({one.low:.4f} to {one.high:.4f})"
        verdict = {None: "", True: "met", False: "MISSED"}[one.met]
        lines.append(f"  {one.measure:<58}{one.value:>10.4f} {interval:<22} {one.bar:<22} {verdict}".rstrip())
    return lines[1:]


def document(dataset: str, findings: Sequence[Finding], seconds: float) -> dict[str, Any]:
    """The findings as a JSON object."""
    return {"dataset": dataset, "seconds": round(seconds, 1), "findings": [asdict(one) for one in findings]}


def _finding(question: str, measure: str, found: Interval | float, bar: str, met: bool | None) -> Finding:
    if isinstance(found, float):
        return Finding(question, measure, found, bar=bar, met=met)
    return Finding(question, measure, found.value, found.low, found.high, bar, met)
