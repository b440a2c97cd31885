"""Real fetches that others and we saw, told by the classifier: `python -m tests.fetch_classes` writes the pages anew.

A case of `tests/render/corpus/observed.json` is one fetch or click that somebody saw and said who was behind it. It has
the agent as it was told (`agent_named`: by product and version only, the rest of the string is the usual one), and
`seconds_since_send` only where a moment was told. `sure` is how the source knows: *measured* here, *found* by looking
into it or by doing it oneself, *held* without saying how.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any, Final

from render.classify import classify, since_send, told

CORPUS: Final = Path(__file__).parent / "render" / "corpus" / "observed.json"
TRUTHS: Final = ("person", "proxy", "prefetch", "scanner")
TOLD: Final = ("person", "proxy", "undecided", "prefetch", "scanner")
SIDES: Final = {"human": ("person", "proxy"), "machine": ("prefetch", "scanner")}
_Z: Final = 1.96
_LATER: Final = ("near_trap", "burst_links")


@dataclass(frozen=True)
class Seen:
    """One fetch that was seen: who it was by its source, and what it is told to be (empty if it leaves no record)."""

    what: str
    truth: str
    told: str
    source: str
    date: str
    sure: str
    seconds: float | None
    is_named: bool


def seen() -> Iterator[Seen]:
    """Every case of the corpus, told."""
    for group in json.loads(CORPUS.read_text(encoding="utf-8")):
        for case in group["cases"]:
            yield Seen(
                case["what"], case["truth"], _told(case), group["source"], group["date"], group["sure"],
                case.get("seconds_since_send"), case.get("agent_named", False),
            )  # fmt: skip


def recorded(cases: Sequence[Seen]) -> list[Seen]:
    """The cases that leave a record: whoever asks with HEAD is answered without one."""
    return [case for case in cases if case.told]


def _told(case: dict[str, Any]) -> str:
    """The class in hindsight on an installation without a file of address ranges."""
    if case.get("method") == "HEAD":
        return ""
    headers = {"User-Agent": case["agent"]} | case.get("headers", {})
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    evidence = classify(environ, is_test=False, is_staff=False, seconds_since_send=None).evidence
    since = since_send(case["seconds_since_send"]) if "seconds_since_send" in case else {}
    return told(evidence | since | {name: case[name] for name in _LATER if name in case})


def wilson(part: int, whole: int) -> tuple[float, float]:
    """The ends of the 95 % interval of a share, by Wilson's score; `whole` is more than 0."""
    share, of = part / whole, _Z * _Z / whole
    middle = share + of / 2
    reach = _Z * sqrt(share * (1 - share) / whole + of / (4 * whole))
    return max(0.0, (middle - reach) / (1 + of)), min(1.0, (middle + reach) / (1 + of))


def rate(part: int, whole: int) -> str:
    """A share with its interval and what it is counted from, or a dash where there is nothing to share."""
    if not whole:
        return "–"
    low, high = wilson(part, whole)
    return f"{part / whole:.2f} ({low:.2f}–{high:.2f}; {part} of {whole})"


def _confusion(cases: Sequence[Seen]) -> list[str]:
    counts = Counter((case.truth, case.told) for case in cases)
    lines = [f"| by its source | {' | '.join(f'told {name}' for name in TOLD)} |", f"|---|{'---|' * len(TOLD)}"]
    lines += [f"| {truth} | {' | '.join(str(counts[truth, name]) for name in TOLD)} |" for truth in TRUTHS]
    lines += ["", "| class or side | precision | recall |", "|---|---|---|"]
    for name, members in ({truth: (truth,) for truth in TRUTHS} | SIDES).items():
        of, told_as = (
            [case for case in cases if case.truth in members],
            [case for case in cases if case.told in members],
        )
        right = sum(case.truth in members for case in told_as)
        lines.append(f"| {name} | {rate(right, len(told_as))} | {rate(right, len(of))} |")
    return lines


def figures() -> str:
    """The tables of docs/fetch-classes.md: all that leave a record, those with a moment, and every error."""
    every = list(seen())
    cases = recorded(every)
    timed = [case for case in cases if case.seconds is not None]
    sources = {case.source for case in every}
    named, held = sum(case.is_named for case in cases), sum(case.sure == "held" for case in cases)
    lines = [
        f"{len(every)} cases from {len(sources)} sources; {len(every) - len(cases)} asked with HEAD "
        f"and leave no record. Of the other {len(cases)}, {len(timed)} have a moment, {named} an agent told by product "
        f"and version only, {held} a class that the source only holds.",
        "", "All that leave a record:", "", *_confusion(cases),
        "", "Of these, the ones with a moment:", "", *_confusion(timed),
        "", "| told wrong or not at all | by its source | told | seconds after the send |", "|---|---|---|---|",
    ]  # fmt: skip
    for case in cases:
        if case.truth != case.told:
            seconds = "–" if case.seconds is None else f"{case.seconds:g}"
            lines.append(f"| {case.what} | {case.truth} | {case.told} | {seconds} |")
    return "\n".join(lines) + "\n"


def listing() -> str:
    """The table of docs/observed-fetches.md: every case with where it comes from."""
    lines = ["| seen | by its source | sure | s after the send | told | from |", "|---|---|---|---|---|---|"]
    for case in seen():
        seconds = "–" if case.seconds is None else f"{case.seconds:g}"
        agent = ", agent by name" if case.is_named else ""
        lines.append(
            f"| {case.what}{agent} | {case.truth} | {case.sure} | {seconds} | {case.told or 'no record'} "
            f"| {_place(case.source)}, {case.date} |"
        )
    return "\n".join(lines) + "\n"


def _place(source: str) -> str:
    return f"<{source}>" if source.startswith("https://") else source
