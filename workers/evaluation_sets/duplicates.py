"""What duplicates cost the choice of offers, and what finding them wins back, on Complete Journey.

A share of all orders is filed under a second profile of the same household (`planted.py`); the mail goes to the first.
Three systems choose at the same opens: one that sees the truth, one that leaves duplicates apart, and one that joins
what the product's own rules join: those of stated matches (`signals/matching.py`), then splink's pairs by the rule for
profiles at its shipped threshold (`workers/likely.py`, CERTAIN). First profiles have a customer number, duplicates have
none: of two with numbers a person decides, and nothing is won back by itself.

*Learnt anew*: each system counts, learns and chooses by what it sees. *Same model*: all choose by the model and the
tables of the truth, so that only the states of opens differ; that is less noisy, and cheap enough for more seeds.
"""

from __future__ import annotations

import gc
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from signals.matching import match_keys
from signals.stated import columns
from workers.clusters import CERTAIN, gathered
from workers.evaluation import Whole
from workers.evaluation_sets.arms import D2, D3, HELD, HIT, LOSS, QUESTIONS, RANK, WRONG, Figures, Judge, seen
from workers.evaluation_sets.findings import Finding, reported
from workers.evaluation_sets.identities import Agreement, agreement
from workers.evaluation_sets.opens import rate
from workers.evaluation_sets.past import Past
from workers.evaluation_sets.planted import Filing, Orders, filed, traits
from workers.evaluation_sets.recovery import recovery
from workers.evaluation_sets.retail import Retail
from workers.facts import facts
from workers.likeness import alike, require

MEASURES: Final = {D2: (HIT, RANK, LOSS), D3: (HIT, RANK, LOSS, WRONG)}
STRANGERS: Final = 0.02
STRANGER_SEEDS: Final = 5
Persons = Mapping[int, int]
"""Profile -> the first profile of its person."""


@dataclass(frozen=True)
class Variant:
    """One way of filing orders wrongly, with so many seeds; everything is learnt anew for the first `anew` of them."""

    about: str
    share: float
    seeds: int
    anew: int = 0
    scattered: bool = False
    bare: bool = False


VARIANTS: Final = (
    Variant("10 % of orders, by cards", 0.10, seeds=3, anew=2),
    Variant("5 % of orders, by cards", 0.05, seeds=1),
    Variant("20 % of orders, by cards", 0.20, seeds=1),
    Variant("10 % of orders, one by one", 0.10, seeds=1, scattered=True),
    Variant("10 % of orders, by cards, bare duplicates", 0.10, seeds=2, bare=True),
)


@dataclass(frozen=True)
class Found:
    """Who is one by the rules of stated matches alone, and by these and likeness."""

    stated: Persons
    likely: Persons


def judged(data: Path) -> list[Finding]:
    """All variants, and what joining strangers costs. Raises InvalidInput where the extra `identity` is missing, a file
    or column is, or the year holds no campaign or outcome on either side of the split."""
    require()
    retail = Retail.read(data)
    return compared(Judge(Past(retail)), retail.orders, VARIANTS)


def compared(judge: Judge, orders: Orders, variants: Sequence[Variant]) -> list[Finding]:
    """What each variant loses and wins back."""
    findings: list[Finding] = []
    for variant in variants:
        findings += _variant(judge, orders, variant)
    return [*findings, *_strangers(judge, orders)]


def resolved(filing: Filing) -> Found:
    """The persons that the product's own rules make of profiles. Raises InvalidInput where they are fewer than splink
    can learn from."""
    profiles = sorted(filing.records)
    stated = {profile: traits(filing.records[profile]) for profile in profiles}
    numbered = {profile for profile in profiles if filing.truth[profile] == profile}
    certain = _stated(stated, numbered)
    members: dict[int, list[int]] = defaultdict(list)
    for profile in profiles:
        members[certain[profile]].append(profile)
    roots = sorted(members)
    # A duplicate is the newer profile, and so is what it states.
    known = [facts(columns([stated[profile] for profile in reversed(members[root])])) for root in roots]
    single = [("customer number",) if numbered & set(members[root]) else () for root in roots]
    places = gathered(len(roots), alike(known).pairs, CERTAIN, single=single).tolist()
    of = {root: roots[place] for root, place in zip(roots, places, strict=True)}
    return Found(certain, {profile: of[root] for profile, root in certain.items()})


def _stated(stated: Mapping[int, Mapping[str, Any]], numbered: set[int]) -> dict[int, int]:
    """Who states the same name and address is one, unless both have customer numbers."""
    by_key: dict[tuple[str, str], list[int]] = defaultdict(list)
    for profile, told in stated.items():
        for key in match_keys(told, None, None):
            if key[0] != "name":
                by_key[key].append(profile)
    found = {profile: profile for profile in stated}
    for sharing in by_key.values():
        if len(numbered & set(sharing)) <= 1:
            found |= dict.fromkeys(sharing, min(sharing))
    return found


def _variant(judge: Judge, orders: Orders, variant: Variant) -> list[Finding]:
    anew: dict[str, list[dict[str, Figures]]] = defaultdict(list)
    same: dict[str, list[dict[str, Figures]]] = defaultdict(list)
    moved, matched = [], defaultdict(list)
    for seed in range(1, variant.seeds + 1):
        filing = filed(orders, variant.share, seed=seed, scattered=variant.scattered, bare=variant.bare)
        found = resolved(filing)
        moved.append(filing.moved)
        persons: dict[str, Persons] = {
            "apart": {profile: profile for profile in filing.truth}, "stated": found.stated, "likely": found.likely,
        }  # fmt: skip
        for name, of in persons.items():
            matched[name].append(_agreement(of, filing.truth))
            arm = seen(filing.orders, of, orders)
            same[name].append(judge.same(arm))
            if seed <= variant.anew and name != "stated":
                anew[name].append(judge.anew(arm))
            gc.collect()
    question = f"{variant.about}: who is who, {_seeds(variant.seeds)}"
    findings = [reported(question, "share of orders under a duplicate", _mean(moved))]
    for name, how in (("stated", "by stated matches alone"), ("likely", "by these and likeness")):
        for measure in ("precision", "recall"):
            values = [getattr(one, measure) for one in matched[name]]
            findings.append(reported(question, f"{measure} of joined profiles, {how}", _mean(values)))
    if anew:
        findings += _told(judge, f"{variant.about}, learnt anew, {_seeds(variant.anew)}", anew)
    return [*findings, *_told(judge, f"{variant.about}, same model, {_seeds(variant.seeds)}", same)]


def _told(judge: Judge, about: str, arms: Mapping[str, Sequence[dict[str, Figures]]]) -> Iterator[Finding]:
    for question in QUESTIONS:
        for measure in MEASURES[question]:
            yield from _measure(judge, f"{about}: {question}", question, measure, arms)
    held = np.stack([one[D3][HELD] for one in arms["likely"]]).mean(axis=0)
    yield reported(f"{about}: {D3}", f"{HELD}, resolved", rate(held, judge.owners(D3)))


def _measure(
    judge: Judge, title: str, question: str, measure: str, arms: Mapping[str, Sequence[dict[str, Figures]]]
) -> Iterator[Finding]:
    clean, owners = judge.clean[question][measure], judge.owners(question)
    told = ~np.isnan(clean)
    clean, owners = clean[told], owners[told]
    of = {name: np.stack([one[question][measure][told] for one in seeds]) for name, seeds in arms.items()}
    yield reported(title, f"{measure}: truth", rate(clean, owners))
    yield reported(title, f"{measure}: left apart", rate(of["apart"].mean(axis=0), owners))
    yield reported(title, f"{measure}: resolved", rate(of["likely"].mean(axis=0), owners))
    compared = recovery(clean, of["apart"], of["likely"], owners)
    yield reported(title, f"{measure}: truth minus left apart", compared.loss)
    yield reported(title, f"{measure}: resolved minus left apart", compared.regained)
    if compared.share is None:
        yield reported(title, f"{measure}: no share told, this loss may be none", compared.loss)
        return
    yield reported(title, f"{measure}: share won back", compared.share)
    if "stated" in of:
        alone = recovery(clean, of["apart"], of["stated"], owners).share
        if alone is not None:
            yield reported(title, f"{measure}: share, stated matches alone", alone)


def _strangers(judge: Judge, orders: Orders) -> Iterator[Finding]:
    """What it costs to join households that have nothing to do with each other, which the rules hardly ever do."""
    arms = []
    for seed in range(1, STRANGER_SEEDS + 1):
        count = round(len(orders) * STRANGERS / 2)
        chosen = random.Random(seed).sample(sorted(orders), 2 * count)
        of = {household: household for household in orders}
        of |= {max(pair): min(pair) for pair in zip(chosen[:count], chosen[count:], strict=True)}
        arms.append(judge.same(seen(orders, of, orders)))
    title = f"{STRANGERS:.0%} of households joined with a stranger, same model, {_seeds(STRANGER_SEEDS)}: {D3}"
    owners = judge.owners(D3)
    for measure in (*MEASURES[D3], HELD):
        clean = judge.clean[D3][measure]
        told = ~np.isnan(clean)
        joined = np.stack([one[D3][measure][told] for one in arms])
        loss = recovery(clean[told], joined, joined, owners[told]).loss
        yield reported(title, f"{measure}: truth minus joined", loss)


def _agreement(persons: Persons, truth: Persons) -> Agreement:
    profiles = sorted(truth)
    return agreement(_column(persons, profiles), _column(truth, profiles))


def _column(persons: Persons, profiles: Sequence[int]) -> Whole:
    return np.array([persons[profile] for profile in profiles], dtype=np.int64)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(np.array(values, dtype=np.float64)))


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"
