"""The next-best-offer model as an open uses it: one LightGBM booster, one calibration table, and what it learnt to know
about categories. Training (workers) builds the artefact; render loads it by hash and predicts with one thread.

The artefact is MessagePack of `Artefact`; its name is the SHA-256 of its bytes. scikit-learn stays with training: an
isotonic calibration is two columns of a look-up table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from base.errors import UNREADABLE, InvalidInput
from render.booster import Trees
from render.plan import KINDS
from render.uplift import Effects, Uplift
from signals.candidates import MODEL_FEATURES, CandidateContext, transposed

FORMAT_VERSION: Final = 1
MAX_ARTEFACT_BYTES: Final = 64 * 1024 * 1024
MAX_TABLE: Final = 10_000
"""Steps of a calibration table, and categories of a popularity or complement table."""
MAX_BAGS: Final = 32
MAX_OWN: Final = 5_000
"""Tables that offers or categories have of their own: as many as a plan may have offers."""
MAX_CONTEXTS: Final = 20_000
"""Candidates as a model sees them that are kept: four plans of the largest size; some 200 bytes each."""

Matrix = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float64]
Tables = npt.NDArray[np.intp]


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """What training hands over.

    booster: LightGBM's own model text. features, kinds: the columns and offer kinds it was trained with, in order.
    thresholds, values: raw probability -> calibrated probability, both ascending, straight lines between.
    popularity: category -> share of purchases in the data window, 0 to 1. complements: category bought -> {other: how
    often it followed, 0 to 1}; `Model.context` turns them around. from_ms, to_ms: the data window, Unix milliseconds.
    metrics: figures of the hold-out. evidence: offer -> showings of it that were learnt from. bags: boosters of the
    same features, each fitted to another draw of the people, whose disagreement says how sure the model is.
    trend, starts: by category, as `workers/trade.py` tells them. leanings: category
    -> {category bought: weight}, the way an open reads it. uplift: an artefact of `render.uplift` on the same features,
    that says what showing an offer changes of its chance; empty where that could not be learnt. by_category, by_offer:
    values at the same thresholds for those that have their own; an offer's go before its category's.
    """

    format: int = FORMAT_VERSION
    booster: str
    features: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    thresholds: tuple[float, ...]
    values: tuple[float, ...]
    popularity: dict[int, float] = {}
    complements: dict[int, dict[int, float]] = {}
    from_ms: int = 0
    to_ms: int = 0
    metrics: dict[str, float] = {}
    evidence: dict[int, int] = {}
    bags: tuple[str, ...] = ()
    trend: dict[int, float] = {}
    starts: dict[int, float] = {}
    leanings: dict[int, dict[int, float]] = {}
    uplift: bytes = b""
    by_category: dict[int, tuple[float, ...]] = {}
    by_offer: dict[int, tuple[float, ...]] = {}


_NOTHING: Final[Mapping[int, float]] = {}
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Artefact).decode


class Model:
    """A loaded model. What it says never changes after loading, so threads may share it."""

    __slots__ = (
        "_after", "_bags", "_contexts", "_kinds", "_own", "_tables", "_thresholds", "_trees", "_values", "artefact",
        "hash", "uplift",
    )  # fmt: skip

    def __init__(self, artefact: Artefact, digest: str) -> None:
        self.artefact = artefact
        self.hash = digest
        self._trees = _trees(artefact.booster, artefact)
        self._bags = tuple(_trees(bag, artefact) for bag in artefact.bags)
        self._thresholds = np.asarray(artefact.thresholds, dtype=np.float64)
        self._values = np.asarray(artefact.values, dtype=np.float64)
        own = [*artefact.by_category.items(), *artefact.by_offer.items()]
        self._tables = np.asarray([artefact.values, *(values for _, values in own)], dtype=np.float64)
        # A category's table or an offer's is a row; 0 is the common one.
        rows = iter(range(1, len(own) + 1))
        self._own = (
            dict(zip(artefact.by_category, rows, strict=False)), dict(zip(artefact.by_offer, rows, strict=False)),
        )  # fmt: skip
        self._after = transposed(artefact.complements)
        self._kinds = {kind: number for number, kind in enumerate(artefact.kinds)}
        self._contexts: dict[tuple[int, str, int | None], CandidateContext] = {}
        self.uplift = Uplift.load(artefact.uplift, artefact.features) if artefact.uplift else None

    @classmethod
    def load(cls, data: bytes, features: Sequence[str] = MODEL_FEATURES) -> Model:
        """Load an artefact for code that computes exactly these `features`, in this order.

        Raises InvalidInput, naming the field, if the bytes are none, or if it was trained with other features or kinds.
        """
        if len(data) > MAX_ARTEFACT_BYTES:
            raise InvalidInput("model", f"is {len(data)} bytes; at most {MAX_ARTEFACT_BYTES} are loaded")
        try:
            artefact = _decode(data)
        except UNREADABLE as error:
            raise InvalidInput("model", f"is not a model artefact: {error}") from error
        _check(artefact, tuple(features))
        return cls(artefact, hashlib.sha256(data).hexdigest())

    @staticmethod
    def build(
        booster: str,
        features: Sequence[str],
        thresholds: Sequence[float],
        values: Sequence[float],
        *,
        popularity: Mapping[int, float] | None = None,
        complements: Mapping[int, Mapping[int, float]] | None = None,
        trend: Mapping[int, float] | None = None,
        starts: Mapping[int, float] | None = None,
        leanings: Mapping[int, Mapping[int, float]] | None = None,
        window_ms: tuple[int, int] = (0, 0),
        metrics: Mapping[str, float] | None = None,
        evidence: Mapping[int, int] | None = None,
        bags: Sequence[str] = (),
        uplift: bytes = b"",
        by_category: Mapping[int, Sequence[float]] | None = None,
        by_offer: Mapping[int, Sequence[float]] | None = None,
    ) -> bytes:
        """The bytes of an artefact, the same for the same content. Raises InvalidInput as `load` does."""
        artefact = Artefact(
            booster=booster,
            features=tuple(features),
            kinds=KINDS,
            thresholds=tuple(float(value) for value in thresholds),
            values=tuple(float(value) for value in values),
            popularity=_column(popularity or {}),
            complements={int(key): _column(row) for key, row in sorted((complements or {}).items())},
            trend=_column(trend or {}),
            starts=_column(starts or {}),
            leanings={int(key): _column(row) for key, row in sorted((leanings or {}).items())},
            from_ms=int(window_ms[0]),
            to_ms=int(window_ms[1]),
            metrics={name: float(value) for name, value in sorted((metrics or {}).items())},
            evidence={int(offer): int(count) for offer, count in sorted((evidence or {}).items())},
            bags=tuple(bags),
            uplift=uplift,
            by_category=_tables(by_category or {}),
            by_offer=_tables(by_offer or {}),
        )
        _check(artefact, tuple(features))
        for text in (booster, *bags):
            _trees(text, artefact)
        if uplift:
            Uplift.load(uplift, features)
        return _encode(artefact)

    def tables(self, candidates: Iterable[tuple[int, int]]) -> Tables | None:
        """Which table each candidate, an offer and its category, is calibrated by; None where there is one for all."""
        if len(self._tables) == 1:
            return None
        of_category, of_offer = self._own
        found = [of_offer.get(offer) or of_category.get(category, 0) for offer, category in candidates]
        return np.array(found, dtype=np.intp)

    def predict(self, matrix: Matrix, tables: Tables | None = None) -> Probabilities:
        """Calibrated probabilities, one a row of a C-contiguous float32 matrix (n, features), n >= 1.

        `tables` are those of the rows' candidates; without them all go by the common one. Runs in the calling thread
        only: for a few rows, waking other threads costs more than the trees.
        """
        return self._calibrated(self._trees.predict(matrix), tables)

    def predict_bags(self, matrix: Matrix, tables: Tables | None = None) -> list[Probabilities]:
        """What each bag says of the same rows, calibrated as the model is; empty if the model has none."""
        return [self._calibrated(bag.predict(matrix), tables) for bag in self._bags]

    def _calibrated(self, raw: Probabilities, tables: Tables | None) -> Probabilities:
        if tables is None:
            common: Probabilities = np.interp(raw, self._thresholds, self._values)
            return common
        # All rows at once: they share the thresholds, so one search finds each row's place in its own table.
        place = np.searchsorted(self._thresholds[1:-1], raw, side="right")
        low, high = self._thresholds[place], self._thresholds[place + 1]
        share = np.divide(raw - low, high - low, out=np.zeros_like(raw), where=high > low)
        values: Probabilities = self._tables[tables, place]
        return values + np.clip(share, 0.0, 1.0) * (self._tables[tables, place + 1] - values)

    def predict_effects(self, matrix: Matrix) -> Effects | None:
        """What showing changes of the probability of the same rows, -1 to 1; None where the model has not learnt it."""
        return None if self.uplift is None else np.clip(self.uplift.predict(matrix), -1.0, 1.0)

    def context(self, category: int, kind: str, price_cents: int | None) -> CandidateContext:
        """A candidate as this model sees it: `category` 0 is none, `price_cents` None when no price is shown.

        Training makes its contexts from the same tables: popularity, and `transposed(complements)`. A kind that the
        model was not trained with gets the next free number, which no tree has split on.
        """
        key = (category, kind, price_cents)
        context = self._contexts.get(key)
        if context is None:
            if len(self._contexts) >= MAX_CONTEXTS:
                self._contexts.clear()
            context = self._contexts[key] = CandidateContext(
                category=category,
                kind=self._kinds.get(kind, len(self._kinds)),
                price_cents=price_cents,
                popularity=self.artefact.popularity.get(category, 0.0),
                after=self._after.get(category, _NOTHING),
                trend=self.artefact.trend.get(category),
                starts=self.artefact.starts.get(category),
                leads=self.artefact.leanings.get(category, _NOTHING),
            )
        return context


def _tables(tables: Mapping[int, Sequence[float]]) -> dict[int, tuple[float, ...]]:
    return {int(key): tuple(float(value) for value in tables[key]) for key in sorted(tables)}


def _column(table: Mapping[int, float]) -> dict[int, float]:
    """The same content in the same order, so that it has the same bytes."""
    return {int(key): float(table[key]) for key in sorted(table)}


def _check(artefact: Artefact, features: tuple[str, ...]) -> None:
    if artefact.format != FORMAT_VERSION:
        raise InvalidInput("model.format", f"is {artefact.format}; this release reads {FORMAT_VERSION}")
    if artefact.features != features:
        missing = [name for name in features if name not in artefact.features]
        unknown = [name for name in artefact.features if name not in features]
        detail = f"it lacks {missing} and has {unknown}" if missing or unknown else "their order differs"
        raise InvalidInput("model.features", f"are not those this release computes: {detail}; train it again")
    if artefact.kinds and artefact.kinds != KINDS[: len(artefact.kinds)]:
        raise InvalidInput("model.kinds", "are not the offer kinds of this release, in their order; train it again")
    steps = len(artefact.thresholds)
    if not 1 <= steps <= MAX_TABLE or len(artefact.values) != steps:
        raise InvalidInput("model.thresholds", f"and values must be equally many, 1 to {MAX_TABLE}")
    _check_steps(artefact)
    for name in ("by_category", "by_offer"):
        tables: dict[int, tuple[float, ...]] = getattr(artefact, name)
        if len(tables) > MAX_OWN or any(len(values) != steps or steps < 2 for values in tables.values()):
            raise InvalidInput(f"model.{name}", f"must be at most {MAX_OWN} tables, a value for each threshold")
        for values in tables.values():
            _check_column(name, values)
    if len(artefact.evidence) > MAX_TABLE or any(count < 0 for count in artefact.evidence.values()):
        raise InvalidInput("model.evidence", f"must be counts of at most {MAX_TABLE} offers")
    if len(artefact.bags) > MAX_BAGS:
        raise InvalidInput("model.bags", f"are {len(artefact.bags)}; at most {MAX_BAGS} are loaded")
    for name in ("popularity", "complements", "trend", "starts", "leanings"):
        if len(getattr(artefact, name)) > MAX_TABLE:
            raise InvalidInput(f"model.{name}", f"holds at most {MAX_TABLE} categories")


def _check_steps(artefact: Artefact) -> None:
    for name, column in (("thresholds", artefact.thresholds), ("values", artefact.values)):
        _check_column(name, column)


def _check_column(name: str, column: Sequence[float]) -> None:
    # The comparison is false for NaN too, which must not reach a probability.
    if not all(0.0 <= value <= 1.0 for value in column):
        raise InvalidInput(f"model.{name}", "must be probabilities from 0 to 1")
    if any(later < earlier for earlier, later in pairwise(column)):
        raise InvalidInput(f"model.{name}", "must ascend")


def _trees(text: str, artefact: Artefact) -> Trees:
    try:
        trees = Trees(text)
    except ValueError as error:
        raise InvalidInput("model.booster", str(error)) from error
    if trees.columns != len(artefact.features):
        raise InvalidInput(
            "model.booster", f"has {trees.columns} columns where {len(artefact.features)} features are named"
        )
    return trees
