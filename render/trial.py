"""Which deliveries a model on trial decides: a share of them, the same ones at every open and in every process."""

from __future__ import annotations

import hashlib
from typing import Final

from base.ids import Delivery
from render.plan import Canary, Live

_SPAN: Final = 1 << 64


def draw(model: str, delivery: Delivery) -> float:
    """A number from 0 up to 1 that looks random, keyed by the model on trial: each trial draws anew."""
    text = f"canary\0{model}\0{delivery.profile}\0{delivery.name}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / _SPAN


def takes_part(canary: Canary, delivery: Delivery) -> bool:
    """Whether the model on trial decides this delivery. A larger share keeps all that a smaller one had."""
    return draw(canary.model, delivery) < canary.share


def models_of(live: Live, delivery: Delivery) -> tuple[str, ...]:
    """The models that may decide this delivery, the one that should first; none where the rules do."""
    wanted = (live.model,) if live.model is not None else ()
    if live.canary is not None and takes_part(live.canary, delivery):
        return (live.canary.model, *wanted)
    return wanted
