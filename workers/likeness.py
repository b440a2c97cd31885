"""How alike records are that share no identifier: pairs of them weighed by splink, fact by fact.

splink estimates from the records themselves, without a label, how often each kind of likeness (the same birth date, one
digit off, the same year) is met in one person's records and in those of two; the log2 of their ratio is its weight. A
rare name weighs more than a common one. It runs on DuckDB within the bounds below and comes with the extra `identity`.

Which pairs are looked at is bounded: two records are compared when they agree on one of the *hooks*, such as given name
and birth date, and a hook that too many records share is none. What the pairs make of persons is decided in
`workers/clusters.py`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from base.errors import InvalidInput
from workers.clusters import Pairs, bits
from workers.comparisons import FACTS, HOOKS, Fact, root
from workers.facts import Facts

THREADS: Final = 2
MEMORY: Final = "1500MB"
"""DuckDB's share of memory; what does not fit is written to a folder of its own for that time."""
SAMPLE: Final = 5_000_000
"""Random pairs from which it is learnt how unlike two people are."""
LESSON_LEAST: Final = 10
LESSON: Final = 1_000_000
"""Pairs of one lesson on how alike the records of one person are: fewer teach nothing, more nothing new."""
CROWD: Final = 150
"""Records that may share a hook; more of them say nothing of who is who and would be too many pairs."""
LEAST: Final = 200
"""Records below which nothing can be learnt of them."""
ROUNDS: Final = (25, 5, 2)
"""Rounds of a lesson at most, and where that is too many."""
RECALL: Final = 0.7
"""Share of true pairs that the exact rules (_SURE) are supposed to find; splink's own example."""
SEED: Final = 1
FLOOR: Final = -4.0
"""Weight below which a pair is not kept: sixteen times less likely than not."""
_LESSONS: Final = ("called", "born", "post", "street")
"""Columns on whose equality pairs are drawn to learn from, each for the facts that it is no part of."""
_SURE: Final = (("called", "born"), ("called", "post"), ("called", "street"), ("born", "post"))


@dataclass(frozen=True)
class Likeness:
    """The pairs that were found and what says so: the facts of the columns of `pairs`, and the hash of the model."""

    pairs: Pairs
    names: tuple[str, ...]
    model: str


def require() -> None:
    """Raises InvalidInput where the extra `identity` is not installed."""
    if find_spec("splink") is None or find_spec("duckdb") is None:
        raise InvalidInput("identity", "needs the extra: pip install 'latebind[identity]'")


def alike(records: Sequence[Facts]) -> Likeness:
    """Weigh the pairs of records that may be one person's.

    Raises InvalidInput where the extra is missing, or the records are too few or too bare to learn from.
    """
    require()
    if len(records) < LEAST:
        raise InvalidInput("records", f"must be {LEAST} at least: nothing can be learnt from {len(records)}")
    found = next((found for rounds in ROUNDS if (found := _tried(records, rounds)) is not None), None)
    if found is None:
        raise InvalidInput(
            "records",
            "of one person differ in too few ways, so that how much a difference counts cannot be learnt. More "
            "customers whose details were typed more than once mend that; what identifiers say merges as before",
        )
    return found


def _tried(records: Sequence[Facts], rounds: int) -> Likeness | None:
    """The pairs by lessons of at most so many rounds; None where these were too many.

    The chance of a likeness that is never met in one person's records becomes smaller with every round, and may leave
    the range of floating point.
    """
    splink = import_module("splink")
    with TemporaryDirectory(prefix="latebind-likeness-") as folder:
        bounds = {"threads": THREADS, "memory_limit": MEMORY, "temp_directory": folder}
        connection = import_module("duckdb").connect(":memory:", config=bounds)
        try:
            return _weighed(splink, connection, records, rounds)
        except ValueError:
            return None
        finally:
            connection.close()


def _weighed(splink: Any, connection: Any, records: Sequence[Facts], rounds: int) -> Likeness:
    columns = _columns(records)
    wanted = [fact for fact in FACTS if sum(bool(one) for one in columns[fact.column]) >= LEAST]
    hooks = _hooked(columns, records)
    known = {fact.column for fact in wanted}
    sure = [" AND ".join(f"l.{one} = r.{one}" for one in rule) for rule in _SURE if known.issuperset(rule)]
    if not sure or not hooks:
        raise InvalidInput("records", "need birth dates or addresses besides names; too few have them")
    columns |= hooks | {"unique_id": list(range(len(records)))}
    logging.getLogger("splink").setLevel(logging.ERROR)
    table = splink.DuckDBAPI(connection=connection).register(_table(columns))
    lessons = [one for one in _LESSONS if one in known and _agreeing(columns[one]) >= LESSON_LEAST]
    linker = splink.Linker(table, _settings(wanted, list(hooks), rounds), log_level=None, validate_settings=False)
    _learn(linker.training, sure, lessons)
    model = linker.misc.save_model_to_json()
    prior = float(model["probability_two_random_records_match"])
    if not 0 < prior < 1:
        raise InvalidInput("records", "hold no two of one person, or nobody else: there is nothing to learn from")
    found = linker.inference.predict(threshold_match_weight=FLOOR, warning_mode="never").as_pyarrow_table()
    digest = hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()
    return Likeness(_pairs(found, wanted, bits(prior)), tuple(fact.name for fact in wanted), digest)


def _settings(wanted: Sequence[Fact], hooks: Sequence[str], rounds: int) -> dict[str, Any]:
    return {
        "link_type": "dedupe_only",
        "comparisons": [_comparison(fact) for fact in wanted],
        "blocking_rules_to_generate_predictions": [{"blocking_rule": f"l.{hook} = r.{hook}"} for hook in hooks],
        "retain_matching_columns": False,
        "retain_intermediate_calculation_columns": True,
        "max_iterations": rounds,
        # A name of its own would make each model another one.
        "linker_uid": "latebind",
    }


def _learn(training: Any, sure: Sequence[str], lessons: Sequence[str]) -> None:
    """Estimate the model's parameters from its records, without labels: `sure` are rules that hardly ever err, in each
    of the `lessons` pairs agree on one column."""
    training.estimate_probability_two_random_records_match(list(sure), recall=RECALL)
    training.estimate_u_using_random_sampling(max_pairs=SAMPLE, seed=SEED)
    for column in lessons:
        training.estimate_parameters_using_expectation_maximisation(f"l.{column} = r.{column}", max_pairs=LESSON)


def _pairs(found: Any, wanted: Sequence[Fact], prior: float) -> Pairs:
    """The pairs of splink's table, in an order of their own: that of its threads differs from run to run."""
    one, other = (found[f"unique_id_{side}"].to_numpy().astype(np.int64) for side in "lr")
    weights = np.full((len(one), len(wanted)), np.nan)
    for place, fact in enumerate(wanted):
        name = _column(fact)
        own = found[f"mw_{name}"].to_numpy()
        rare = found[f"mw_tf_adj_{name}"].to_numpy() if f"mw_tf_adj_{name}" in found.column_names else 0.0
        # Exactly 0 is what a fact weighs that one of the two lacks.
        weights[:, place] = np.where(own == 0.0, np.nan, own + rare)
    order = np.lexsort((other, one))
    return Pairs(one[order], other[order], weights[order], tuple(fact.key for fact in wanted), prior)


def _column(fact: Fact) -> str:
    return fact.name.replace(" ", "_").replace("-", "_")


def _table(columns: dict[str, list[Any]]) -> Any:
    """The columns as an Arrow table, empty texts as missing."""
    arrow = import_module("pyarrow")
    return arrow.table({
        name: [None if value in ("", ()) else value for value in values] if name != "unique_id" else values
        for name, values in columns.items()
    })  # fmt: skip


def _columns(records: Sequence[Facts]) -> dict[str, list[Any]]:
    """The columns that the levels name."""
    columns: dict[str, list[Any]] = {
        name: [getattr(one, name) for one in records]
        for name in (
            "given", "family", "born", "post", "street", "number", "city", "birthplace", "work", "email", "phone",
        )
    }  # fmt: skip
    columns["words"] = [list(one.words) for one in records]
    columns["ways"] = [list(one.ways) for one in records]
    columns["root"] = [root(one) for one in records]
    columns["called"] = [f"{one.given} {one.family}".strip() for one in records]
    return columns


def _hooked(columns: dict[str, list[Any]], records: Sequence[Facts]) -> dict[str, list[str]]:
    """A column for each hook on which at least two records agree, empty where nobody or a crowd does."""
    hooks: dict[str, list[str]] = {}
    for number, hook in enumerate(HOOKS):
        parts = [hook(one) for one in records]
        values = ["\n".join(part) if all(part) else "" for part in parts]
        sizes = Counter(values)
        kept = [value if value and 1 < sizes[value] <= CROWD else "" for value in values]
        if any(kept):
            hooks[f"hook_{number}"] = kept
    return hooks


def _comparison(fact: Fact) -> dict[str, Any]:
    lacking = f"{fact.column}_l IS NULL OR {fact.column}_r IS NULL"
    levels: list[dict[str, Any]] = [{"sql_condition": lacking, "label_for_charts": "lacking", "is_null_level": True}]
    for number, level in enumerate(fact.levels):
        rare = {"tf_adjustment_column": level.rare} if level.rare else {}
        levels.append({"sql_condition": level.condition, "label_for_charts": f"level {number}", **rare})
    levels.append({"sql_condition": "ELSE", "label_for_charts": "unlike"})
    return {"output_column_name": _column(fact), "comparison_levels": levels}


def _agreeing(values: Sequence[str]) -> int:
    """How many pairs of records agree on a column."""
    return sum(size * (size - 1) // 2 for value, size in Counter(values).items() if value)
