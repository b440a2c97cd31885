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


def measured() -> dict[str, Any]:
    """What training keeps of a model's measures, as the model page shows it."""
    reliability = [[1200 - 70 * step, 0.01 + 0.03 * step, 0.012 + 0.028 * step] for step in range(15)]
    gains = [[step / 10, (step / 10) ** 0.45, (step / 10) ** -0.55] for step in range(1, 11)]
    measures = {
        "auc": 0.831, "log_loss": 0.214, "hit": 0.3235, "favourite_hit": 0.3159, "popularity_hit": 0.2135,
        "ece": 0.0061, "mean_predicted": 0.0835, "mean_observed": 0.0778,
    }  # fmt: skip
    rivals = [
        {"name": "model", "hit": 0.3235, "model_minus": None},
        {"name": "own favourite, 84 days", "hit": 0.3159, "model_minus": [0.0076, 0.0019, 0.0131]},
        {"name": "popularity", "hit": 0.2135, "model_minus": [0.11, 0.0995, 0.1206]},
    ]
    shares = [0.34, 0.22, 0.13, 0.09, 0.06, 0.05, 0.04, 0.03, 0.02, 0.02]
    return {
        "measures": measures, "reliability": reliability, "gains": gains, "rivals": rivals,
        "importance": [[name, share] for name, share in zip(MODEL_FEATURES, shares, strict=False)],
        "response": {"used": False, "why": "412 exposures of which 31 were taken are too few to learn from",
                     "reliability": []},
        "candidates": [
            {"category": name, "ece": error, "brier": 0.06, "plain_brier": plain, "own_table": own, "reliability": bars}
            for name, error, plain, own, bars in (
                ("running-shoes", 0.0263, 0.071, True, [[500, 0.05, 0.04], [500, 0.15, 0.17]]),
                ("socks-and-tights", 0.0112, 0.0598, False, [[800, 0.02, 0.03]]),
            )
        ],
        "effects": {
            "used": True, "people_shown": 18220, "people_withheld": 2040, "learner": "x", "qini": [0.004, 0.001, 0.007],
            "why": "learnt from 18,220 people who were shown offers and 2,040 on neutral content (X-learner)",
            "parts": [[9000, 0.031, 0.028, 0.012, 0.044], [9000, 0.008, 0.01, -0.004, 0.024],
                      [9001, -0.002, None, None, None]],
        },
        "from": "2025-10-01T00:00:00+00:00", "to": "2026-03-01T00:00:00+00:00", "profiles": 2469, "seconds": 37.0,
    }  # fmt: skip
