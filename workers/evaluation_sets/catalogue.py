"""The data sets that `latebind evaluate` knows, each with its protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workers.demo.journey import package_folder
from workers.evaluation_sets import (
    coupons,
    crosssell,
    drifts,
    duplicates,
    feedback,
    hillstrom,
    identities,
    openbandit,
    sessions,
    upworthy,
)
from workers.evaluation_sets.findings import Finding
from workers.evaluation_sets.past import Past
from workers.evaluation_sets.retail import Retail


@dataclass(frozen=True)
class Dataset:
    """What it measures, how, and where its data lie if the user names no place (None: the user must)."""

    about: str
    judged: Callable[[Path], list[Finding]]
    place: Callable[[], Path] | None = None


def _complete_journey(data: Path) -> list[Finding]:
    past = Past(Retail.read(data))
    return [*coupons.judged(past), *crosssell.judged(past)]


DATASETS: Final[dict[str, Dataset]] = {
    "complete-journey": Dataset("offer choice, cross-sell, probabilities", _complete_journey, package_folder),
    "diginetica": Dataset("the worth of fresh clicks", sessions.judged),
    "drift": Dataset("does the drift alarm see what moved", drifts.judged, package_folder),
    "duplicates": Dataset("what duplicates cost, and what is won back", duplicates.judged, package_folder),
    "hillstrom": Dataset("do no harm, find a planted effect", hillstrom.judged),
    "identity": Dataset("who is who among records with errors", identities.judged),
    "open-bandit": Dataset("is the estimator right", openbandit.judged),
    "replay": Dataset("learning from its own feedback", feedback.judged, package_folder),
    "upworthy": Dataset("broken randomisation, exploring", upworthy.judged),
}
