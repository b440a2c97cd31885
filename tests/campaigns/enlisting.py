"""Models in a shop's registry, without training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from campaigns.models.learning import TrainedModel
from signals.candidates import DEFINITIONS, MODEL_FEATURES
from tests.campaigns.shop import Shop
from tests.render.shoe_shop import model_bytes


def enlisted(shop: Shop, popularity: Mapping[int, float], data: bytes | None = None, **changes: Any) -> str:
    """List a model as trained that likes popular categories, and keep its artefact, or these bytes; its hash."""
    made = model_bytes(popularity) if data is None else data
    digest = shop.blobs.put(made)
    with shop.sessions.begin() as session:
        row = TrainedModel(
            hash=digest, created_at=shop.now, state="trained", features=list(MODEL_FEATURES),
            definitions=dict(DEFINITIONS), rows=1, size=len(made), **({"metrics": {}} | changes),
        )  # fmt: skip
        session.add(row)
    return digest
