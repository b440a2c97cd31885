"""The figures of docs/fetch-classes.md from the labelled corpora: `python -m tests.fetch_classes` writes them anew.

A case is one user agent in one situation. It goes the way of a real fetch: the request's headers through `classify`,
what is known later (the moment of the send, the hidden link, links at once) through `told`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from render.classify import classify, since_send, told
from render.facts import LANE_OF
from tests import observed_fetches

CORPUS: Final = Path(__file__).parent / "render" / "corpus" / "fetches.json"
PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "fetch-classes.md"
OBSERVED_PAGE: Final = PAGE.with_name("observed-fetches.md")
TRUTHS: Final = ("person", "proxy", "prefetch", "scanner")
TOLD: Final = ("person", "proxy", "undecided", "prefetch", "scanner")
SIDES: Final = {"human": ("person", "proxy"), "machine": ("prefetch", "scanner")}
HANDING_S: Final = 1.0
"""Seconds that a mail of the corpus took from being made, whence the open counts, to being taken by the server."""
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
OBSERVED, END_OBSERVED = "<!-- observed -->\n", "<!-- end of observed -->\n"
_AT_OPEN: Final[tuple[str, ...]] = ("network", "burst_recipients")
_LATER: Final[tuple[str, ...]] = ("trap", "near_trap", "burst_links")


@dataclass(frozen=True)
class Case:
    """One fetch: who it was in truth, what it is told to be, and in which lane the open answered it."""

    client: str
    note: str
    truth: str
    told: str
    lane: str


def cases() -> Iterator[Case]:
    """Every case of the corpus, told."""
    for group in json.loads(CORPUS.read_text(encoding="utf-8")):
        for situation in group["cases"]:
            for agent in group["agents"]:
                headers = {"User-Agent": agent} | group["headers"] | situation.get("headers", {})
                at_open, later = _told(headers, situation)
                yield Case(group["client"], situation["note"], situation["truth"], later, LANE_OF[at_open])


def _told(headers: dict[str, str], situation: dict[str, Any]) -> tuple[str, str]:
    """The class at the open, and in hindsight."""
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    origin = {name: situation[name] for name in _AT_OPEN if name in situation}
    since = situation.get("seconds_since_send", 3600.0)
    verdict = classify(environ, is_test=False, is_staff=False, seconds_since_send=since + HANDING_S, origin=origin)
    at_open = told(verdict.evidence | ({"trap": True} if "trap" in situation else {}))
    later = {name: situation[name] for name in _LATER if name in situation}
    return at_open, told(verdict.evidence | since_send(since) | later)


def rate(part: int, whole: int) -> str:
    """A share to three places, or a dash where there is nothing to share."""
    return f"{part / whole:.3f}" if whole else "–"


def figures(found: list[Case]) -> str:
    """The tables: who was told to be what, precision and recall per class and side, and every error by its case."""
    counts = Counter((case.truth, case.told) for case in found)
    lines = [
        f"{len(found)} cases, {len({(case.client, case.note) for case in found})} situations.", "",
        f"| in truth | {' | '.join(f'told {name}' for name in TOLD)} | recall |", f"|---|{'---|' * (len(TOLD) + 1)}",
    ]  # fmt: skip
    for truth in TRUTHS:
        row = [counts[truth, name] for name in TOLD]
        lines.append(f"| {truth} | {' | '.join(map(str, row))} | {rate(counts[truth, truth], sum(row))} |")
    told_as = [sum(counts[truth, name] for truth in TRUTHS) for name in TOLD]
    precision = [rate(counts[name, name], whole) for name, whole in zip(TOLD, told_as, strict=True)]
    precision[TOLD.index("undecided")] = "–"
    lines += [f"| precision | {' | '.join(precision)} | |", "", "| side | precision | recall | left undecided |"]
    lines.append("|---|---|---|---|")
    for side, members in SIDES.items():
        of_side = [case for case in found if case.truth in members]
        as_side = [case for case in found if case.told in members]
        right = sum(case.truth in members for case in as_side)
        open_ = sum(case.told == "undecided" for case in of_side)
        lines.append(
            f"| {side} | {rate(right, len(as_side))} | {rate(right, len(of_side))} | {rate(open_, len(of_side))} |"
        )
    lines += ["", f"At the open, of a mail made {HANDING_S:g} second before the server took it:", ""]
    lines += ["| side | answered in the live lane | in the machine lane |", "|---|---|---|"]
    for side, members in SIDES.items():
        lanes = Counter(case.lane for case in found if case.truth in members)
        lines.append(f"| {side} | {lanes['live']} | {lanes['machine']} |")
    lines += ["", "| told wrong | situation | in truth | told | cases |", "|---|---|---|---|---|"]
    wrong = Counter(case for case in found if case.truth != case.told and case.told != "undecided")
    lines += [f"| {c.client} | {c.note} | {c.truth} | {c.told} | {n} |" for c, n in sorted(wrong.items(), key=str)]
    return "\n".join(lines) + "\n"


def page() -> str:
    """docs/fetch-classes.md with the figures of now."""
    made = _between(PAGE.read_text(encoding="utf-8"), BEGIN, END, figures(list(cases())))
    return _between(made, OBSERVED, END_OBSERVED, observed_fetches.figures())


def observed_page() -> str:
    """docs/observed-fetches.md with what the cases are told to be now."""
    text = OBSERVED_PAGE.read_text(encoding="utf-8")
    return _between(text, OBSERVED, END_OBSERVED, observed_fetches.listing())


def _between(text: str, begin: str, end: str, what: str) -> str:
    before, _, rest = text.partition(begin)
    return f"{before}{begin}{what}{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    OBSERVED_PAGE.write_text(observed_page(), encoding="utf-8")
