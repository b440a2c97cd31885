"""What showing an offer changes, as an open uses it: a sum of boosters that says how much likelier a success becomes.

S-, T- and X-learners differ in training (`workers/uplift.py`) and come to the same form here: a few LightGBM boosters
on the model's own features, each with a factor, whose weighted scores add up to the effect. The artefact is
MessagePack of `Artefact`; its name is the SHA-256 of its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import isfinite
from typing import Final, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from base.errors import UNREADABLE, InvalidInput
from render.booster import Trees
from signals.candidates import MODEL_FEATURES

Learner = Literal["s", "t", "x"]
LEARNERS: Final[tuple[Learner, ...]] = get_args(Learner)
FORMAT_VERSION: Final = 1
MAX_ARTEFACT_BYTES: Final = 64 * 1024 * 1024
MAX_TERMS: Final = 8

Matrix = npt.NDArray[np.float32]
Effects = npt.NDArray[np.float64]


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """One booster and its part in the sum. `shown` is the last column's value where it was trained with one more: 1 for
    people who were shown decided content, 0 for those who were not."""

    booster: str
    factor: float
    shown: float | None = None


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """What training hands over: the boosters in order, the columns they read, and figures of held-out people."""

    format: int = FORMAT_VERSION
    learner: Learner
    features: tuple[str, ...]
    terms: tuple[Term, ...]
    metrics: dict[str, float] = {}


_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_decode: Final = msgspec.msgpack.Decoder(Artefact).decode


class Uplift:
    """A loaded artefact. It never changes after loading, so threads may share it."""

    __slots__ = ("_terms", "artefact", "hash")

    def __init__(self, artefact: Artefact, digest: str) -> None:
        self.artefact = artefact
        self.hash = digest
        self._terms = [(_trees(artefact, term), term.factor, term.shown) for term in artefact.terms]

    @classmethod
    def load(cls, data: bytes, features: Sequence[str] = MODEL_FEATURES) -> Uplift:
        """Load an artefact for code that computes exactly these `features`, in this order.

        Raises InvalidInput, naming the field, if the bytes are none, or if it was trained with other features.
        """
        if len(data) > MAX_ARTEFACT_BYTES:
            raise InvalidInput("uplift", f"is {len(data)} bytes; at most {MAX_ARTEFACT_BYTES} are loaded")
        try:
            artefact = _decode(data)
        except UNREADABLE as error:
            raise InvalidInput("uplift", f"is not an uplift artefact: {error}") from error
        _check(artefact, tuple(features))
        return cls(artefact, hashlib.sha256(data).hexdigest())

    @staticmethod
    def build(artefact: Artefact) -> bytes:
        """The bytes of an artefact, the same for the same content. Raises InvalidInput as `load` does."""
        _check(artefact, artefact.features)
        for term in artefact.terms:
            _trees(artefact, term)
        return _encode(artefact)

    def predict(self, matrix: Matrix) -> Effects:
        """The effect of showing, one a row of a C-contiguous float32 matrix (n, features), n >= 1.

        In the unit of the outcome: for a probability from -1 to 1. Runs in the calling thread only.
        """
        effects: Effects = np.zeros(len(matrix), dtype=np.float64)
        for trees, factor, shown in self._terms:
            read = matrix if shown is None else _with(matrix, shown)
            effects += factor * trees.predict(read)
        return effects


def _with(matrix: Matrix, shown: float) -> Matrix:
    return np.ascontiguousarray(np.column_stack([matrix, np.full(len(matrix), shown, dtype=np.float32)]))


def _check(artefact: Artefact, features: tuple[str, ...]) -> None:
    if artefact.format != FORMAT_VERSION:
        raise InvalidInput("uplift.format", f"is {artefact.format}; this release reads {FORMAT_VERSION}")
    if artefact.features != features:
        raise InvalidInput("uplift.features", "are not those this release computes, in their order; train it again")
    if not 1 <= len(artefact.terms) <= MAX_TERMS:
        raise InvalidInput("uplift.terms", f"must be 1 to {MAX_TERMS}")
    for position, term in enumerate(artefact.terms):
        if not isfinite(term.factor) or term.shown not in (None, 0.0, 1.0):
            raise InvalidInput(f"uplift.terms[{position}]", "needs a factor that is a number, and shown as 0, 1 or not")


def _trees(artefact: Artefact, term: Term) -> Trees:
    try:
        trees = Trees(term.booster)
    except ValueError as error:
        raise InvalidInput("uplift.terms", f"hold a booster that {error}") from error
    wanted = len(artefact.features) + (term.shown is not None)
    if trees.columns != wanted:
        raise InvalidInput("uplift.terms", f"hold a booster of {trees.columns} columns where {wanted} are read")
    return trees
